// Copies the third-party files that the binary embeds from node_modules, with their licences: what pages use to static/vendor, the engine of
// functions to server/sandbox/vendor, whose build holds its digest against the one that was reviewed.
// Run after `npm ci --ignore-scripts`. Everything is read before anything is written, so a missing file changes nothing.

import { readFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const modules = join(root, "node_modules");
const vendor = join(root, "static", "vendor");
const sandbox = join(root, "server", "sandbox", "vendor");

const FILES = {
  "inter.woff2": "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
  "jetbrains-mono.woff2": "@fontsource-variable/jetbrains-mono/files/jetbrains-mono-latin-wght-normal.woff2",
  "uplot.js": "uplot/dist/uPlot.iife.min.js",
  "uplot.css": "uplot/dist/uPlot.min.css",
  "licenses/inter.txt": "@fontsource-variable/inter/LICENSE",
  "licenses/jetbrains-mono.txt": "@fontsource-variable/jetbrains-mono/LICENSE",
  "licenses/lucide.txt": "lucide-static/LICENSE",
  "licenses/uplot.txt": "uplot/LICENSE",
};

const ENGINE = {
  "quickjs.wasm": "quickjs-wasi/quickjs.wasm",
  "quickjs-wasi.txt": "quickjs-wasi/LICENSE",
};

// The icons that the templates name. Adding one here is all it takes to use it.
const ICONS = [
  "activity", "arrow-down-left", "arrow-left", "arrow-right", "arrow-up-right", "ban", "bot", "braces", "building-2", "cable",
  "check", "chevron-down", "chevron-left", "chevron-right", "chevrons-up-down", "circle-alert", "circle-check", "circle-dashed",
  "circle-x", "clock", "code", "coins", "copy", "download", "external-link", "eye", "filter", "gauge", "globe", "hash", "history",
  "house", "info", "key-round", "layers", "loader-circle", "lock", "log-out", "mail", "menu", "minus", "monitor", "moon", "pause", "pencil",
  "play", "plug", "plus", "power", "refresh-cw", "rotate-cw", "scroll-text", "search", "send", "settings", "shield", "shield-check", "sun",
  "table", "terminal", "timer", "trash-2", "triangle-alert", "user", "users", "wrench", "x", "zap",
];

function read(path) {
  try {
    return readFileSync(join(modules, path));
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
    console.error(`assets: node_modules/${path} is missing; run \`npm ci --ignore-scripts\` and try again`);
    process.exit(1);
  }
}

// One <symbol> per icon; stroke and size come from our style sheet, so the presentation attributes are dropped.
function symbol(name) {
  const svg = read(`lucide-static/icons/${name}.svg`).toString("utf8");
  const body = svg.match(/<svg[^>]*>([\s\S]*)<\/svg>/);
  if (!body) {
    console.error(`assets: lucide-static/icons/${name}.svg is not the single <svg> element that was expected`);
    process.exit(1);
  }
  return `<symbol id="${name}" viewBox="0 0 24 24">${body[1].replace(/\s*\n\s*/g, "").trim()}</symbol>`;
}

const sprite = `<svg xmlns="http://www.w3.org/2000/svg">\n${ICONS.map(symbol).join("\n")}\n</svg>\n`;
const outputs = [["icons.svg", sprite], ...Object.entries(FILES).map(([name, source]) => [name, read(source)])];
const engine = Object.entries(ENGINE).map(([name, source]) => [name, read(source)]);

for (const [folder, files] of [[vendor, outputs], [sandbox, engine]]) {
  rmSync(folder, { recursive: true, force: true });
  for (const [name, content] of files) {
    const target = join(folder, name);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content);
  }
}
console.log(`assets: ${outputs.length} files and ${ICONS.length} icons in static/vendor, ${engine.length} files in server/sandbox/vendor`);
