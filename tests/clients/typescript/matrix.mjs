// The official TypeScript SDKs, unmodified, through everything a client does: the current one in each of its modes, and the line
// before it. The server has the fixtures of the conformance suite.
// usage: KEY=… matrix.mjs URL

import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { finish, walk } from "../report.mjs";

const url = new URL(process.argv[2]);
const info = { name: "trunkline-tests", version: "1.0.0" };
const capabilities = { elicitation: { form: {} } };
const requestInit = { headers: { Authorization: `Bearer ${process.env.KEY}` } };

/** Answers every question with the same name, and remembers what was asked. */
function answering(questions) {
  return async (request) => {
    questions.push(request.params.message);
    const fields = Object.keys(request.params.requestedSchema.properties);
    return { action: "accept", content: Object.fromEntries(fields.map((field) => [field, "Ada"])) };
  };
}

/** The current SDK; without a mode it takes the older revision. */
function current(versionNegotiation) {
  const client = new Client(info, { capabilities, versionNegotiation });
  const questions = [];
  client.setRequestHandler("elicitation/create", answering(questions));
  return {
    client,
    questions,
    transport: new StreamableHTTPClientTransport(url, { requestInit }),
    revision: () => client.getNegotiatedProtocolVersion(),
    call: (name, given, options) => client.callTool({ name, arguments: given }, options),
  };
}

function before() {
  const client = new ClientV1(info, { capabilities });
  const questions = [];
  client.setRequestHandler(ElicitRequestSchema, answering(questions));
  const transport = new TransportV1(url, { requestInit });
  return {
    client,
    questions,
    transport,
    revision: () => transport.protocolVersion,
    call: (name, given, options) => client.callTool({ name, arguments: given }, undefined, options),
  };
}

const simple = "This is a simple text response for testing.";

function steps({ client, questions, transport, revision, call }, expected) {
  const says = async (name, given, options) => (await call(name, given, options)).content[0].text;
  return {
    connect: async () => {
      await client.connect(transport);
      assert.equal(revision(), expected);
    },
    list: async () => {
      const { tools } = await client.listTools();
      const found = tools.find((tool) => tool.name === "test_elicitation");
      assert.ok(found?.description, "test_elicitation is listed with a description");
      assert.deepEqual(found.inputSchema.required, ["message"]);
      assert.ok(tools.some((tool) => tool.name === "test_simple_text"));
    },
    call: async () => assert.equal(await says("test_simple_text", {}), simple),
    progress: async () => {
      const seen = [];
      await call("test_tool_with_progress", {}, { onprogress: ({ progress, total }) => seen.push([progress, total]) });
      assert.deepEqual(seen, [[0, 100], [50, 100], [100, 100]]);
    },
    cancel: async () => {
      const leaving = new AbortController();
      const started = Date.now();
      setTimeout(() => leaving.abort("no longer wanted"), 500);
      await assert.rejects(call("slow_compute", { seconds: 30 }, { signal: leaving.signal }), /no longer wanted|abort/i);
      assert.ok(Date.now() - started < 5000, "the call ended when it was cancelled");
      assert.equal(await says("test_simple_text", {}), simple);
    },
    elicitation: async () => {
      if (expected === "2026-07-28") {
        assert.equal(await says("test_input_required_result_elicitation", {}), "Hello, Ada!");
        assert.deepEqual(questions, ["What is your name?"]);
      } else {
        assert.match(await says("test_elicitation", { message: "Who are you?" }), /^User response: .*accept.*Ada/);
        assert.deepEqual(questions, ["Who are you?"]);
      }
    },
    resource: async () => {
      const { contents } = await client.readResource({ uri: "test://static-text" });
      const text = "This is the content of the static text resource.";
      assert.deepEqual(contents, [{ uri: "test://static-text", mimeType: "text/plain", text }]);
    },
    prompt: async () => {
      const { messages } = await client.getPrompt({ name: "test_simple_prompt" });
      const content = { type: "text", text: "This is a simple prompt for testing." };
      assert.deepEqual(messages, [{ role: "user", content }]);
    },
    close: () => client.close(),
  };
}

await walk("typescript v1", steps(before(), "2025-11-25"));
await walk("typescript v2, legacy", steps(current(), "2025-11-25"));
await walk("typescript v2, auto", steps(current({ mode: "auto" }), "2026-07-28"));
await walk("typescript v2, 2026-07-28", steps(current({ mode: { pin: "2026-07-28" } }), "2026-07-28"));
finish();
