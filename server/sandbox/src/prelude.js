// What a function finds in its world beside the language itself. Runs once; every call begins with a copy of what it leaves.
// Nothing here is a wall: code that breaks it breaks its own call. Walls are outside of the engine.
(() => {
  "use strict";
  const { __log: log, __request: request, __timer: timer, __random: random, __done: done } = globalThis;
  for (const name of ["__log", "__request", "__timer", "__random", "__done"]) delete globalThis[name];
  const { parse, stringify } = JSON;

  // Whoever waits, by the number that the outside answers with.
  const waiting = new Map();
  let last = 0;

  const shown = (value, depth = 0) => {
    if (typeof value === "string") return value;
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (typeof value !== "object" || value === null || depth > 0) return String(value);
    try {
      return stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  };
  const say = (level) => (...values) => log(level, values.map((value) => shown(value)).join(" "));
  globalThis.console = Object.fromEntries(["log", "info", "warn", "error", "debug"].map((level) => [level, say(level)]));

  globalThis.setTimeout = (then, ms = 0, ...values) => {
    if (typeof then !== "function") throw new TypeError("setTimeout wants a function");
    const id = ++last;
    timer(String(id), String(Math.max(0, Number(ms) || 0)));
    waiting.set(id, () => then(...values));
    return id;
  };
  globalThis.clearTimeout = (id) => void waiting.delete(id);

  class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") {
      const bytes = [];
      for (const character of String(text).toWellFormed()) {
        const code = character.codePointAt(0);
        if (code < 0x80) bytes.push(code);
        else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
        else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
        else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
      }
      return new Uint8Array(bytes);
    }
  }
  class TextDecoder {
    get encoding() { return "utf-8"; }
    decode(input = new Uint8Array()) {
      const bytes = input instanceof ArrayBuffer ? new Uint8Array(input) : new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
      let text = "";
      for (let i = 0; i < bytes.length; ) {
        const first = bytes[i++];
        const more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : -1;
        let code = more === 0 ? first : first & (0x3f >> more);
        let ok = more >= 0;
        for (let n = 0; ok && n < more; n++) {
          if (i < bytes.length && (bytes[i] & 0xc0) === 0x80) code = (code << 6) | (bytes[i++] & 63);
          else ok = false;
        }
        const least = [0, 0x80, 0x800, 0x10000][more];
        if (ok && (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))) ok = false;
        text += ok ? String.fromCodePoint(code) : "\ufffd";
      }
      return text;
    }
  }
  Object.assign(globalThis, { TextEncoder, TextDecoder });

  const query = (text) => encodeURIComponent(text).replace(/%20/g, "+").replace(/[!'()~]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());
  const unquery = (text) => decodeURIComponent(text.replace(/\+/g, " "));
  globalThis.URLSearchParams = class URLSearchParams {
    #pairs = [];
    constructor(from = "") {
      if (typeof from === "string") {
        for (const part of from.replace(/^\?/, "").split("&")) {
          if (part === "") continue;
          const at = part.indexOf("=");
          this.append(unquery(at < 0 ? part : part.slice(0, at)), at < 0 ? "" : unquery(part.slice(at + 1)));
        }
      } else {
        for (const [name, value] of typeof from[Symbol.iterator] === "function" ? from : Object.entries(from)) this.append(name, value);
      }
    }
    append(name, value) { this.#pairs.push([String(name), String(value)]); }
    set(name, value) { this.delete(name); this.append(name, value); }
    delete(name) { this.#pairs = this.#pairs.filter(([other]) => other !== String(name)); }
    get(name) { return this.#pairs.find(([other]) => other === String(name))?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter(([other]) => other === String(name)).map(([, value]) => value); }
    has(name) { return this.get(name) !== null; }
    [Symbol.iterator]() { return this.#pairs[Symbol.iterator](); }
    toString() { return this.#pairs.map(([name, value]) => `${query(name)}=${query(value)}`).join("&"); }
  };

  class Headers {
    #pairs;
    constructor(from = []) {
      const pairs = from instanceof Headers ? [...from] : typeof from[Symbol.iterator] === "function" ? [...from] : Object.entries(from);
      this.#pairs = pairs.map(([name, value]) => [String(name).toLowerCase(), String(value)]);
    }
    get(name) {
      const found = this.#pairs.filter(([other]) => other === String(name).toLowerCase());
      return found.length ? found.map(([, value]) => value).join(", ") : null;
    }
    has(name) { return this.get(name) !== null; }
    append(name, value) { this.#pairs.push([String(name).toLowerCase(), String(value)]); }
    set(name, value) { this.delete(name); this.append(name, value); }
    delete(name) { this.#pairs = this.#pairs.filter(([other]) => other !== String(name).toLowerCase()); }
    forEach(then) { for (const [name, value] of this.#pairs) then(value, name, this); }
    [Symbol.iterator]() { return this.#pairs[Symbol.iterator](); }
  }
  globalThis.Headers = Headers;

  class Response {
    #body;
    constructor(url, { status, headers, body }) {
      this.url = url;
      this.status = status;
      this.ok = status >= 200 && status < 300;
      this.headers = new Headers(headers);
      this.#body = body;
    }
    async bytes() {
      return this.#body.base64 === undefined
        ? new TextEncoder().encode(this.#body.text)
        : Uint8Array.from(atob(this.#body.base64), (character) => character.charCodeAt(0));
    }
    async arrayBuffer() { return (await this.bytes()).buffer; }
    async text() { return this.#body.text ?? new TextDecoder().decode(await this.bytes()); }
    async json() { return parse(await this.text()); }
  }
  globalThis.fetch = async (url, { method = "GET", headers = {}, body = null } = {}) => {
    if (body !== null && body !== undefined && typeof body !== "string" && !(body instanceof URLSearchParams))
      throw new TypeError("fetch: the body has to be a string; JSON.stringify makes one of a value");
    const sent = new Headers(headers);
    if (body instanceof URLSearchParams && !sent.has("content-type")) sent.set("content-type", "application/x-www-form-urlencoded");
    // Made here, so that its stack says where the code has asked.
    const failure = new TypeError("fetch");
    const fail = (why) => {
      failure.message = `fetch: ${why}`;
      throw failure;
    };
    const id = ++last;
    const told = { url: String(url), method: String(method).toUpperCase(), headers: [...sent], body: body == null ? null : String(body) };
    const answer = new Promise((resolve) => waiting.set(id, resolve));
    try {
      request(String(id), stringify(told));
    } catch (refused) {
      waiting.delete(id);
      fail(refused.message);
    }
    const { Ok: came, Err: why } = parse(await answer);
    if (came === undefined) fail(why);
    return new Response(String(url), came);
  };

  const bytes = (count) => Uint8Array.from(random(String(count)).match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  globalThis.crypto = {
    getRandomValues(array) {
      const raw = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      for (let at = 0; at < raw.length; at += 1024) raw.set(bytes(Math.min(1024, raw.length - at)), at);
      return array;
    },
    randomUUID() {
      const hex = random("16");
      const variant = "89ab"[Number.parseInt(hex[16], 16) & 3];
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
    },
  };

  const failed = (reason) => {
    let name = "", message = "", stack = "";
    try {
      if (reason instanceof Error) ({ name, message, stack } = reason);
      else message = `threw ${shown(reason)}`;
    } catch {
      message = "threw something that cannot be read";
    }
    done("threw", [name, message].filter((part) => part !== "").map(String).join(": "), String(stack));
  };
  const finished = (value) => {
    if (value === undefined) return done("text", "", "");
    if (typeof value === "string") return done("text", value, "");
    let text;
    try {
      text = stringify(value);
    } catch (reason) {
      return done("output", `what the function gave cannot be written as JSON: ${shown(reason)}`, "");
    }
    if (text === undefined) return done("output", `the function gave a ${typeof value}, which is no JSON`, "");
    done(typeof value === "object" && value !== null && !Array.isArray(value) ? "object" : "text", text, "");
  };

  return {
    // Randomness of the copy that was made for this call.
    begin() {
      let [a, b, c, d] = new Uint32Array(bytes(16).buffer);
      Math.random = () => {
        const t = (a + b + d) | 0;
        d = (d + 1) | 0;
        a = b ^ (b >>> 9);
        b = (c + (c << 3)) | 0;
        c = ((c << 21) | (c >>> 11)) + t | 0;
        return (t >>> 0) / 4294967296;
      };
    },
    start(loading, input, timeout) {
      const context = Object.freeze({ timeoutMs: Number(timeout) });
      loading.then((module) => {
        if (typeof module.default !== "function")
          throw new TypeError("the code needs a function as its default export: export default async function (input) { … }");
        return module.default(parse(input), context);
      }).then(finished, failed);
    },
    settle(id, text) {
      const then = waiting.get(Number(id));
      waiting.delete(Number(id));
      if (then) then(text);
    },
  };
})();
