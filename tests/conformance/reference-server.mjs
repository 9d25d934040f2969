// A reference server on the official SDK with every fixture the scored scenarios want, serving all revisions at one address. It
// calibrates the suite, and is the upstream whose features have to survive the way through the platform.
// usage: PORT=0 node reference-server.mjs
// Prints one line of JSON when ready: {"url": "http://127.0.0.1:…/mcp"}. Listens on the loopback only, and trusts everybody there.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import {
  createMcpHandler,
  isLegacyRequest,
  McpServer,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import { Changes, registerChanging } from "./reference/changes.mjs";
import { registerPrompts, registerResources } from "./reference/documents.mjs";
import { EventLog } from "./reference/events.mjs";
import { memory, registerQuestions } from "./reference/questions.mjs";
import { registerTools } from "./reference/tools.mjs";

/** Sessions that clients have left without saying so are forgotten when there are more than these. */
const MAX_SESSIONS = 256;

const changes = new Changes();

function build() {
  const server = new McpServer(
    { name: "trunkline-reference", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        completions: {},
        logging: {},
      },
      requestState: { verify: memory.verify },
    },
  );
  registerTools(server, changes);
  registerQuestions(server);
  registerResources(server);
  registerPrompts(server);
  return { server, show: registerChanging(server, changes) };
}

const modern = createMcpHandler(() => build().server, { legacy: "reject" });
changes.listen((kind) => (kind === "tool" ? modern.notify.toolsChanged() : modern.notify.promptsChanged()));

const sessions = new Map();

async function begin() {
  const { server, show } = build();
  const silence = changes.listen(show);
  server.server.setRequestHandler("resources/subscribe", () => ({}));
  server.server.setRequestHandler("resources/unsubscribe", () => ({}));
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => remember(id, transport),
    onsessionclosed: (id) => sessions.delete(id),
    eventStore: new EventLog(),
    retryInterval: 100,
  });
  server.server.onclose = silence;
  await server.connect(transport);
  return transport;
}

function remember(id, transport) {
  sessions.set(id, transport);
  if (sessions.size <= MAX_SESSIONS) return;
  const [oldest, forgotten] = sessions.entries().next().value;
  sessions.delete(oldest);
  void forgotten.close();
}

/** The revisions with sessions: a request with an id goes to its session, one without begins a session or is refused there. */
async function legacy(request) {
  const id = request.headers.get("mcp-session-id");
  if (id === null) return (await begin()).handleRequest(request);
  const transport = sessions.get(id);
  if (transport) return transport.handleRequest(request);
  const error = { code: -32001, message: "Session not found" };
  return Response.json({ jsonrpc: "2.0", error, id: null }, { status: 404 });
}

const handle = toNodeHandler({
  fetch: async (request, options) => ((await isLegacyRequest(request)) ? legacy(request) : modern.fetch(request, options)),
});
const hostIsOurs = localhostHostValidation();
const originIsOurs = localhostOriginValidation();

const http = createServer((request, response) => {
  if (!hostIsOurs(request, response) || !originIsOurs(request, response)) return;
  if (new URL(request.url, "http://localhost").pathname === "/mcp") return void handle(request, response);
  response.writeHead(404).end();
});
http.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${http.address().port}/mcp` }));
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
