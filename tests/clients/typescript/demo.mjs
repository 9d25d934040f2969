// The official TypeScript SDKs against a running platform, unmodified: the current one in both eras, and the line before it.
// usage: demo.mjs DEV_JSON

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const dev = JSON.parse(readFileSync(process.argv[2], "utf8"));
const info = { name: "trunkline-tests", version: "1.0.0" };
const transport = (Kind) =>
  new Kind(new URL(dev.mcp_url), { requestInit: { headers: { Authorization: `Bearer ${dev.api_key}` } } });

async function check(name, client, connection) {
  await client.connect(connection);
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  assert.deepEqual(tools, ["echo", "time", "weather"]);
  const call = async (tool, args) => client.callTool({ name: tool, arguments: args });
  const echo = await call("echo", { text: "grüße" });
  assert.equal(echo.content[0].text, "grüße");
  const time = await call("time", { offset_minutes: 60 });
  assert.match(time.content[0].text, /\+01:00$/);
  const weather = await call("weather", { city: "São Paulo/../x" });
  assert.equal(JSON.parse(weather.content[0].text).city, "São Paulo/../x");
  const wrong = await call("weather", { town: "Lisbon" });
  assert.equal(wrong.isError, true);
  await client.close();
  console.log(`${name}: listed and called ${tools.join(", ")}`);
}

const modern = new Client(info, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
await check("typescript sdk v2, 2026-07-28", modern, transport(StreamableHTTPClientTransport));
await check("typescript sdk v2, 2025-11-25", new Client(info), transport(StreamableHTTPClientTransport));
await check("typescript sdk v1, 2025-11-25", new ClientV1(info), transport(TransportV1));
