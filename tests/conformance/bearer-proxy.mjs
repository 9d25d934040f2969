// The official suite can send no bearer. This adds one, and deals its requests out to several replicas, one after the other.
// usage: TARGETS=URL[,URL…] TOKEN=… [PORT=0] node bearer-proxy.mjs
// Prints one line of JSON when ready: {"url": "http://localhost:…/mcp"}; what is asked of /mcp there goes to the path of the target.
//
// Nothing is buffered, and either side's leaving reaches the other: for the newer revision a closed stream is a cancellation.
// Headers pass as they were spelled. The proxy's own address becomes the target's, in Host and in Origin, as each replica expects;
// every foreign one stays, because the suite wants to see it refused.

import { createServer, request as send } from "node:http";

const targets = (process.env.TARGETS ?? "").split(",").filter(Boolean).map((target) => new URL(target));
const token = process.env.TOKEN ?? "";
if (targets.length === 0 || token === "") {
  console.error("bearer-proxy: TARGETS wants addresses of MCP endpoints, separated by commas, and TOKEN their bearer");
  process.exit(2);
}

/** Headers of one hop; Node writes its own. */
const hop = new Set(["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "te", "trailer"]);
let turn = 0;

const proxy = createServer((request, response) => {
  const target = targets[turn++ % targets.length];
  if (!request.url.startsWith("/mcp")) return void response.writeHead(404).end();
  const onward = send({
    // A connection of its own: one kept from an earlier request might be closed just now.
    agent: false,
    host: target.hostname,
    port: target.port,
    method: request.method,
    path: target.pathname + request.url.slice("/mcp".length),
    headers: headers(request, target),
    setHost: false,
  });
  onward.on("response", (answer) => {
    response.writeHead(answer.statusCode, answer.statusMessage, passing(answer.rawHeaders));
    response.flushHeaders();
    answer.pipe(response);
    // An answer that breaks off must not look complete.
    answer.on("aborted", () => response.destroy());
  });
  onward.on("error", (error) => {
    if (response.headersSent) return void response.destroy();
    response.writeHead(502, { "content-type": "text/plain" }).end(`bearer-proxy: ${error.message}\n`);
  });
  response.on("close", () => onward.destroy());
  request.pipe(onward);
});

function headers(request, target) {
  const names = new Set([`localhost:${proxy.address().port}`, `127.0.0.1:${proxy.address().port}`]);
  const changed = passing(request.rawHeaders);
  for (let n = 0; n < changed.length; n += 2) {
    const [name, value] = [changed[n].toLowerCase(), changed[n + 1]];
    if (name === "host" && names.has(value)) changed[n + 1] = target.host;
    if (name === "origin" && value.startsWith("http://") && names.has(value.slice(7))) changed[n + 1] = target.origin;
  }
  if (request.headers.authorization === undefined) changed.push("Authorization", `Bearer ${token}`);
  return changed;
}

/** A flat list of names and values, without those of this hop. */
function passing(raw) {
  return raw.filter((_, n) => !hop.has(raw[n - (n % 2)].toLowerCase()));
}

// A stream may be silent for as long as it likes.
proxy.requestTimeout = 0;
proxy.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  console.log(JSON.stringify({ url: `http://localhost:${proxy.address().port}/mcp` }));
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
