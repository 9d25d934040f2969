// What the suite's client scenarios want of a client, on the official SDK: connect, list, and use everything that is listed. It
// calibrates the runner; a client of ours gets the same command line.
// usage: reference-client.mjs URL     (with MCP_BEARER in the environment where the server wants one)
// The suite names the revision in MCP_CONFORMANCE_PROTOCOL_VERSION, and the calls a scenario is about in MCP_CONFORMANCE_CONTEXT.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const url = new URL(process.argv[2]);
const pin = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION;
const wanted = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}").toolCalls;
const versionNegotiation = pin >= "2026-07-28" ? { mode: { pin } } : undefined;
const capabilities = { elicitation: { form: { applyDefaults: true } } };
const client = new Client({ name: "trunkline-reference-client", version: "1.0.0" }, { capabilities, versionNegotiation });

/** The smallest value that fits a property. */
function value(schema) {
  if ("default" in schema) return schema.default;
  if (schema.enum) return schema.enum[0];
  const smallest = { string: "text", number: 1, integer: 1, boolean: true, array: [], object: {} };
  return smallest[[schema.type].flat()[0]] ?? null;
}
const fill = (schema) =>
  Object.fromEntries(Object.entries(schema?.properties ?? {}).map(([name, property]) => [name, value(property)]));

/** Arguments for a tool. One of the suite's wants to be shown the first tool's schema, as it arrived. */
function given(tool, tools) {
  const filled = fill(tool.inputSchema);
  return "schema" in filled ? { ...filled, schema: tools[0].inputSchema } : filled;
}

client.setRequestHandler("elicitation/create", ({ params }) => ({
  action: "accept",
  // Defaults are filled in by the SDK.
  content: Object.fromEntries(
    (params.requestedSchema.required ?? []).map((name) => [name, value(params.requestedSchema.properties[name])]),
  ),
}));
const bearer = process.env.MCP_BEARER;
const requestInit = bearer ? { headers: { authorization: `Bearer ${bearer}` } } : undefined;
await client.connect(new StreamableHTTPClientTransport(url, { requestInit }));

const offered = client.getServerCapabilities() ?? {};
const { tools } = await client.listTools();
const calls = wanted ?? tools.map((tool) => ({ name: tool.name, arguments: given(tool, tools) }));
// A scenario may refuse a call on purpose; what it thinks of the request is what counts.
const tried = (attempt) => attempt.catch((error) => console.error(String(error)));
for (const call of calls) await tried(client.callTool(call));
if (offered.resources) {
  for (const { uri } of (await client.listResources()).resources) await tried(client.readResource({ uri }));
}
if (offered.prompts) {
  for (const prompt of (await client.listPrompts()).prompts) {
    const texts = Object.fromEntries((prompt.arguments ?? []).map(({ name }) => [name, "text"]));
    await tried(client.getPrompt({ name: prompt.name, arguments: texts }));
  }
}
await client.close();
