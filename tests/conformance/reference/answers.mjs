// What the fixtures answer with: the smallest real image and sound, and the shapes that tools and prompts share.

/** A PNG of one red pixel. */
export const image =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

/** A WAV header with no samples after it. */
export const sound = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

export const text = (value) => ({ type: "text", text: value });
export const says = (value) => ({ content: [text(value)] });

/** An object schema whose members are all required. */
export const form = (properties) => ({ type: "object", properties, required: Object.keys(properties) });

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
