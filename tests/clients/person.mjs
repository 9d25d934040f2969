// A person with a browser that runs no scripts: follows links within the platform, fills in the forms that stand on its pages, posts them.

import { forms, unescaped } from "./forms.mjs";

const MOST_STEPS = 10;

export class Person {
  #cookies = new Map();

  /** `url` is the platform's origin; `user` has the e-mail address and the password. */
  constructor(url, user) {
    this.url = url;
    this.user = user;
  }

  async #send(url, init = {}) {
    const target = new URL(url, this.url);
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(target, {
      ...init,
      redirect: "manual",
      headers: { ...init.headers, ...(cookie && { cookie }) },
      signal: AbortSignal.timeout(15_000),
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value === "" || /max-age=0(;|$)/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    const text = await response.text();
    // A page may lead on by itself, like a redirect.
    const refresh = /<meta http-equiv="refresh" content="0; url=([^"]*)">/.exec(text)?.[1];
    const location = response.headers.get("location") ?? (refresh === undefined ? undefined : unescaped(refresh));
    return { url: target, status: response.status, location, text };
  }

  get(url) {
    return this.#send(url);
  }

  /** Posts the form of a page that leads to `action`, with what stands in it; `changes` replaces fields (a list is several values). */
  async submit(shown, action, changes) {
    const form = forms(shown.text).find((form) => new URL(form.action, shown.url).pathname === action);
    if (!form) throw new Error(`the page at ${shown.url.pathname} (status ${shown.status}) has no form to ${action}`);
    const fields = form.fields.filter(([name]) => !(name in changes));
    for (const [name, value] of Object.entries(changes)) for (const one of [value].flat()) fields.push([name, one]);
    const init = { method: "POST", headers: { origin: this.url }, body: new URLSearchParams(fields) };
    return this.#send(new URL(form.action, shown.url), init);
  }

  /** Opens a page, logging in if it asks for that. */
  async open(url) {
    let shown = await this.get(url);
    if (!shown.location?.startsWith("/login")) return shown;
    shown = await this.submit(await this.get(shown.location), "/login", { email: this.user.email, password: this.user.password });
    if (!shown.location) throw new Error(`logging in is answered with ${shown.status}`);
    return this.get(shown.location);
  }

  /**
   * What a browser does with an authorization request: the consent page is answered, and this is where it leads.
   * What the page says is kept in `page`.
   */
  async allow(url, changes = {}) {
    let shown = await this.open(url);
    this.page = "";
    for (let step = 0; step < MOST_STEPS; step++) {
      if (shown.location) {
        const next = new URL(shown.location, this.url);
        if (next.origin !== new URL(this.url).origin) return next;
        shown = await this.get(next);
      } else if (shown.status === 200 && !this.page) {
        this.page = shown.text;
        shown = await this.submit(shown, "/oauth/authorize", { decision: "allow", ...changes });
      } else {
        const title = /<h1[^>]*>([^<]*)/.exec(shown.text)?.[1] ?? "";
        throw new Error(`${shown.url.pathname} is answered with ${shown.status} ${title}`);
      }
    }
    throw new Error("the authorization leads in circles");
  }
}
