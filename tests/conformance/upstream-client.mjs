// The platform as a client: the address that the suite adds becomes a source of a tenant of its own, and everything the source offers is
// used through that tenant's endpoint. What the suite then judges are the platform's own messages to the upstream.
// usage: upstream-client.mjs PROGRAM URL     (the suite adds the URL)

import { mkdtemp, rm, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { complete, platform, stopAll } from "./programs.mjs";

const [program, url] = process.argv.slice(2);
const state = await mkdtemp(join(tmpdir(), "trunkline-upstream-client."));
// The services run as another user, who may not enter otherwise.
await chmod(state, 0o711);
try {
  const args = ["dev", "--port", "0", "--conformance", "--conformance-upstream", url];
  const { ready } = await platform(program, args, join(state, "dev"), join(state, "platform.log"));
  const { upstream_mcp_url: endpoint, upstream_api_key: key } = ready.conformance ?? {};
  if (!endpoint || !key) throw new Error("dev.json names no tenant with the upstream");
  const client = fileURLToPath(new URL("reference-client.mjs", import.meta.url));
  const env = { MCP_BEARER: key };
  process.exitCode = await complete("client", process.execPath, [client, endpoint], { env, log: join(state, "client.log"), deadline: 60_000 });
} finally {
  await stopAll();
  await rm(state, { recursive: true, force: true });
}
