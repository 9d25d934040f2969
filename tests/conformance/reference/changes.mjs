// The lists that change while the server runs. All servers of the process share one state; whoever holds a list hears of it.

import { says, text } from "./answers.mjs";
import { tool } from "./tools.mjs";

export class Changes {
  #shown = { tool: false, prompt: false };
  #listeners = new Set();

  shows(kind) {
    return this.#shown[kind];
  }

  toggle(kind) {
    this.#shown[kind] = !this.#shown[kind];
    for (const listener of this.#listeners) listener(kind);
  }

  /** Returns how to stop listening. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** Registers the tool and the prompt that come and go; the SDK tells the client of a session when they do. */
export function registerChanging(server, changes) {
  const changing = {
    tool: tool(server, "test_dynamic_tool", "Comes and goes", undefined, () => says("I am here")),
    prompt: server.registerPrompt("test_dynamic_prompt", { description: "Comes and goes" }, () => ({
      messages: [{ role: "user", content: text("I am here") }],
    })),
  };
  const show = (kind) => changing[kind].update({ enabled: changes.shows(kind) });
  show("tool");
  show("prompt");
  return show;
}
