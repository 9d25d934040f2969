// Colours and line numbers for a text area with JavaScript: a layer behind the text, which stays an ordinary text area. Without this the form
// works the same, without colours.
const WORDS = new Set(
  ("async await break case catch class const continue debugger default delete do else export extends finally for from function get if import in " +
    "instanceof let new of return set static super switch this throw try typeof var void while with yield").split(" "),
);
const VALUES = new Set(["true", "false", "null", "undefined", "NaN", "Infinity"]);
const TOKEN =
  /(\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|("(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?|`(?:\\[\s\S]|[^`\\])*`?)|(\b(?:0[xob][\da-f_]+n?|\d[\d_]*(?:\.[\d_]+)?(?:e[+-]?\d+)?n?)\b)|([A-Za-z_$][\w$]*)/gi;

const kind = (match) => {
  if (match[1] !== undefined) return "comment";
  if (match[2] !== undefined) return "string";
  if (match[3] !== undefined) return "value";
  if (WORDS.has(match[4])) return "word";
  return VALUES.has(match[4]) ? "value" : "";
};

// Pieces of each line, with their kind.
const lines = (text) => {
  const all = [[]];
  const push = (piece, of) => {
    piece.split("\n").forEach((part, i) => {
      if (i > 0) all.push([]);
      if (part !== "") all.at(-1).push([part, of]);
    });
  };
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    push(text.slice(at, match.index), "");
    push(match[0], kind(match));
    at = match.index + match[0].length;
  }
  push(text.slice(at), "");
  return all;
};

for (const editor of document.querySelectorAll("[data-editor]")) {
  const text = editor.querySelector("textarea");
  const layer = document.createElement("pre");
  layer.className = "editor-layer";
  layer.setAttribute("aria-hidden", "true");
  editor.prepend(layer);
  editor.classList.add("editor-live");
  let wrong = Number(editor.dataset.errorLine ?? 0);

  const paint = () => {
    const painted = lines(text.value).map((pieces, i) => {
      const line = document.createElement("span");
      line.className = i + 1 === wrong ? "editor-line editor-wrong" : "editor-line";
      for (const [piece, of] of pieces) {
        if (of === "") {
          line.append(piece);
          continue;
        }
        const part = document.createElement("span");
        part.className = `code-${of}`;
        part.textContent = piece;
        line.append(part);
      }
      return line;
    });
    layer.replaceChildren(...painted);
    follow();
  };
  const follow = () => {
    layer.scrollTop = text.scrollTop;
    layer.scrollLeft = text.scrollLeft;
  };

  let leaves = false;
  text.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leaves = true;
    else if (event.key === "Tab" && !event.shiftKey && !leaves && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      // Goes through the browser's own editing, so that it can be undone.
      document.execCommand("insertText", false, "  ");
    } else if (event.key !== "Tab" && event.key !== "Shift") leaves = false;
  });
  text.addEventListener("focus", () => { leaves = false; });
  text.addEventListener("input", () => {
    wrong = 0;
    paint();
  });
  text.addEventListener("scroll", follow);
  const hint = document.createElement("p");
  hint.className = "field-hint editor-keys";
  hint.id = "code-keys";
  hint.textContent = "Tab indents. To leave the editor by keyboard, press Esc, then Tab.";
  editor.after(hint);
  text.setAttribute("aria-describedby", `${text.getAttribute("aria-describedby") ?? ""} code-keys`.trim());
  paint();
}
