// Tools and a prompt that ask the client something before they answer. Each is written once: the SDK puts a question into the
// result where the revision has multi-round-trip requests, and sends a request of its own where it has not.

import { createRequestStateCodec, inputRequired, inputResponse } from "@modelcontextprotocol/server";
import { randomBytes } from "node:crypto";
import { form, says } from "./answers.mjs";
import { tool } from "./tools.mjs";

/** Seals what a round remembers, so that the client cannot change it. */
export const memory = createRequestStateCodec({ key: randomBytes(32), ttlSeconds: 600 });

const name = { name: { type: "string" } };
const ask = (message, properties) => inputRequired.elicit({ message, requestedSchema: form(properties) });
const complete = (prompt, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: { type: "text", text: prompt } }], maxTokens });

const elicited = (context, key) => {
  const answer = inputResponse(context.mcpReq.inputResponses, key);
  return answer.kind === "elicit" ? answer : undefined;
};
const sampled = (context, key) => {
  const answer = inputResponse(context.mcpReq.inputResponses, key);
  return answer.kind === "sampling" ? answer.result.content.text : undefined;
};
const roots = (context, key) => {
  const answer = inputResponse(context.mcpReq.inputResponses, key);
  return answer.kind === "roots" ? answer.roots.map((root) => root.uri).join(", ") : undefined;
};
/** The accepted content's text under `field`, or nothing where the answer has none. */
const accepted = (context, key, field) => {
  const value = elicited(context, key)?.content?.[field];
  return typeof value === "string" ? value : undefined;
};

/** A tool that asks the same questions until all of them are answered. */
function asking(server, toolName, description, inputRequests, answer) {
  tool(server, toolName, description, undefined, (given, context) => {
    const said = answer(context, given);
    return said === undefined ? inputRequired({ inputRequests: inputRequests(given) }) : says(said);
  });
}

export function registerQuestions(server) {
  registerElicitation(server);
  const sample = (key, context) => sampled(context, key) && `LLM response: ${sampled(context, key)}`;
  const prompt = { type: "object", properties: { prompt: { type: "string" } }, required: ["prompt"] };
  tool(server, "test_sampling", "Asks the client's model", prompt, (given, context) => {
    const said = sample("sampling", context);
    return said ? says(said) : inputRequired({ inputRequests: { sampling: complete(given.prompt, 100) } });
  });
  asking(
    server,
    "test_input_required_result_sampling",
    "Asks the client's model for a capital",
    () => ({ capital_question: complete("What is the capital of France?", 100) }),
    (context) => sample("capital_question", context),
  );
  asking(
    server,
    "test_missing_capability",
    "Needs a model at the client",
    () => ({ sampling: complete("Say something", 10) }),
    (context) => sample("sampling", context),
  );
  asking(
    server,
    "test_input_required_result_list_roots",
    "Asks for the client's roots",
    () => ({ client_roots: inputRequired.listRoots() }),
    (context) => roots(context, "client_roots") && `Roots: ${roots(context, "client_roots")}`,
  );
  tool(server, "test_input_required_result_capabilities", "Asks only what the client can answer", undefined, able);
  registerRounds(server);
}

function registerElicitation(server) {
  const described = (answer) => `action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;
  const message = { type: "object", properties: { message: { type: "string" } }, required: ["message"] };
  tool(server, "test_elicitation", "Asks the user", message, (given, context) => {
    const answer = elicited(context, "response");
    if (answer) return says(`User response: ${described(answer)}`);
    const fields = {
      username: { type: "string", description: "User's response" },
      email: { type: "string", description: "User's email address" },
    };
    return inputRequired({ inputRequests: { response: ask(given.message, fields) } });
  });
  for (const [toolName, properties] of [
    ["test_elicitation_sep1034_defaults", defaults],
    ["test_elicitation_sep1330_enums", enums],
  ]) {
    asking(
      server,
      toolName,
      "Asks the user with every kind of field",
      () => ({
        fields: inputRequired.elicit({
          message: "Please fill in the form",
          requestedSchema: { type: "object", properties, required: [] },
        }),
      }),
      (context) => elicited(context, "fields") && `Elicitation completed: ${described(elicited(context, "fields"))}`,
    );
  }
  for (const toolName of ["test_input_required_result_elicitation", "test_streaming_elicitation"]) {
    asking(
      server,
      toolName,
      "Asks the user for a name",
      () => ({ user_name: ask("What is your name?", name) }),
      (context) => accepted(context, "user_name", "name") && `Hello, ${accepted(context, "user_name", "name")}!`,
    );
  }
  server.registerPrompt("test_input_required_result_prompt", { description: "Asks for its context" }, (context) => {
    const given = accepted(context, "user_context", "context");
    if (given === undefined) {
      const question = ask("What context should the prompt use?", { context: { type: "string" } });
      return inputRequired({ inputRequests: { user_context: question } });
    }
    return { messages: [{ role: "user", content: { type: "text", text: `Use this context: ${given}` } }] };
  });
}

const defaults = {
  name: { type: "string", description: "Name", default: "John Doe" },
  age: { type: "integer", description: "Age", default: 30 },
  score: { type: "number", description: "Score", default: 95.5 },
  status: { type: "string", description: "Status", enum: ["active", "inactive", "pending"], default: "active" },
  verified: { type: "boolean", description: "Verified", default: true },
};

const titled = (kind) => ["First", "Second", "Third"].map((nth, n) => ({ const: `value${n + 1}`, title: `${nth} ${kind}` }));
const options = ["option1", "option2", "option3"];
const enums = {
  untitledSingle: { type: "string", enum: options },
  titledSingle: { type: "string", oneOf: titled("Option") },
  legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
  untitledMulti: { type: "array", items: { type: "string", enum: options } },
  titledMulti: { type: "array", items: { anyOf: titled("Choice") } },
};

/** In the older revisions the capabilities belong to the session, in the newer one to the request. */
function able(_, context) {
  const capabilities = context.mcpReq.envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? {};
  const answered = Object.keys(context.mcpReq.inputResponses ?? {});
  if (answered.length > 0) return says(`Answered: ${answered.join(", ")}`);
  const inputRequests = {};
  if (capabilities.sampling) inputRequests.sampling = complete("Say something", 10);
  if (capabilities.elicitation) inputRequests.elicitation = ask("What is your name?", name);
  if (capabilities.roots) inputRequests.roots = inputRequired.listRoots();
  return Object.keys(inputRequests).length > 0 ? inputRequired({ inputRequests }) : says("The client can answer nothing");
}

function registerRounds(server) {
  const confirm = async (given) =>
    inputRequired({
      inputRequests: { confirm: ask("Please confirm", { ok: { type: "boolean" } }) },
      requestState: await memory.mint(given),
    });
  for (const toolName of ["test_input_required_result_request_state", "test_input_required_result_tampered_state"]) {
    tool(server, toolName, "Remembers by a sealed state that it asked", undefined, (_, context) => {
      const remembered = context.mcpReq.requestState()?.tool === toolName;
      return remembered && elicited(context, "confirm") ? says("state-ok") : confirm({ tool: toolName });
    });
  }
  tool(server, "test_input_required_result_multiple_inputs", "Asks three things at once", undefined, async (_, context) => {
    const answers = [
      accepted(context, "user_name", "name"),
      sampled(context, "greeting"),
      roots(context, "client_roots"),
    ];
    if (answers.every((answer) => answer !== undefined)) return says(answers.join("; "));
    return inputRequired({
      inputRequests: {
        user_name: ask("What is your name?", name),
        greeting: complete("Generate a greeting", 50),
        client_roots: inputRequired.listRoots(),
      },
      requestState: await memory.mint({ round: 1 }),
    });
  });
  tool(server, "test_input_required_result_multi_round", "Asks twice, one after the other", undefined, rounds);
}

async function rounds(_, context) {
  const state = context.mcpReq.requestState() ?? { round: 0 };
  const first = state.round === 1 ? accepted(context, "step1", "name") : state.name;
  const second = accepted(context, "step2", "color");
  if (state.round === 2 && second !== undefined) return says(`${first} likes ${second}`);
  const asked =
    first === undefined
      ? { key: "step1", question: ask("Step 1: What is your name?", name), state: { round: 1 } }
      : {
          key: "step2",
          question: ask("Step 2: What is your favorite color?", { color: { type: "string" } }),
          state: { round: 2, name: first },
        };
  return inputRequired({ inputRequests: { [asked.key]: asked.question }, requestState: await memory.mint(asked.state) });
}
