// The forms of a page, with what a browser would send of them. For pages that are well formed; buttons are not pressed.

const names = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0" };

/** A text without the escapes of HTML. */
export function unescaped(html) {
  return html.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (name) return names[name] ?? whole;
    return String.fromCodePoint(hex ? Number.parseInt(hex, 16) : Number(decimal));
  });
}

function attributes(tag) {
  const found = {};
  for (const [, name, value] of tag.matchAll(/\s([\w-]+)(?:="([^"]*)")?/g)) found[name] = unescaped(value ?? "");
  return found;
}

function field(tag, rest) {
  const { name, type = "text", value, checked, disabled } = attributes(tag);
  if (!name || disabled !== undefined) return [];
  if (tag.startsWith("<textarea")) return [[name, unescaped(/^([^<]*)/.exec(rest)[1])]];
  if (tag.startsWith("<select")) {
    const options = [...rest.split("</select>")[0].matchAll(/<option[^>]*>/g)].map(([one]) => attributes(one));
    const chosen = options.find((option) => option.selected !== undefined) ?? options[0];
    return chosen ? [[name, chosen.value]] : [];
  }
  if (["submit", "button", "reset", "image", "file"].includes(type)) return [];
  if (["checkbox", "radio"].includes(type)) return checked === undefined ? [] : [[name, value ?? "on"]];
  return [[name, value ?? ""]];
}

/** All forms of a page: where each leads, and the fields in their order. */
export function forms(html) {
  return [...html.matchAll(/<form\b[^>]*>([\s\S]*?)<\/form>/g)].map(([whole, inside]) => {
    const tags = [...inside.matchAll(/<(?:input|select|textarea)\b[^>]*>/g)];
    const fields = tags.flatMap((tag) => field(tag[0], inside.slice(tag.index + tag[0].length)));
    return { action: attributes(/^<form[^>]*>/.exec(whole)[0]).action ?? "", fields };
  });
}
