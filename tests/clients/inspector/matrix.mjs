// The MCP Inspector's command line, unmodified, in each of its modes. Every step is a process of its own.
// usage: KEY=… matrix.mjs URL

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { finish, walk } from "../report.mjs";

const launcher = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
const inspector = fileURLToPath(new URL(launcher, import.meta.url));
// It keeps what it stores in the home of whoever starts it; not in ours.
const home = await mkdtemp(join(tmpdir(), "trunkline-inspector."));

/** Runs it once; `leave` is after how many milliseconds it is interrupted. */
async function run(era, args, leave) {
  const given = ["--cli", process.argv[2], "--transport", "http", "--format", "json", "--protocol-era", era];
  const bearer = ["--header", `Authorization: Bearer ${process.env.KEY}`];
  const child = spawn(process.execPath, [inspector, ...given, ...bearer, "--method", ...args], {
    env: { PATH: process.env.PATH, HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 20_000,
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"]) child[name].setEncoding("utf8").on("data", (data) => (output[name] += data));
  const interrupt = leave && setTimeout(() => child.kill("SIGINT"), leave);
  const [code, signal] = await new Promise((resolve) => child.on("close", (...how) => resolve(how)));
  clearTimeout(interrupt);
  return { ...output, code, signal };
}

async function answer(era, ...args) {
  const { stdout, stderr, code } = await run(era, args);
  assert.equal(code, 0, `exit code ${code}: ${stderr}${stdout}`);
  return JSON.parse(stdout).result;
}

const cancel = (era) => async () => {
  const started = Date.now();
  const { code, signal, stdout } = await run(era, ["tools/call", "--tool-name", "slow_compute", "--tool-arg", "seconds=30"], 4000);
  const took = Date.now() - started;
  assert.ok(took >= 4000 && took < 10_000, `it ran until it was interrupted, and no longer; it took ${took} ms: ${stdout}`);
  assert.ok(code !== 0 || signal !== null, `it was interrupted, but said ${stdout}`);
  assert.equal((await answer(era, "tools/call", "--tool-name", "test_simple_text")).content[0].text, simple);
};

/** What it cannot do at all, and why. */
const lacks = {
  progress: "its command line prints no notifications",
  elicitation: "its command line declares no capability to be asked",
  cancelLegacy: "interrupted, it does not send the notification",
};
const simple = "This is a simple text response for testing.";

const steps = (era) => ({
  list: async () => {
    const { tools } = await answer(era, "tools/list");
    assert.ok(tools.find((tool) => tool.name === "test_simple_text")?.description);
    assert.deepEqual(tools.find((tool) => tool.name === "test_elicitation")?.inputSchema.required, ["message"]);
  },
  call: async () => {
    const result = await answer(era, "tools/call", "--tool-name", "test_simple_text");
    assert.deepEqual(result.content, [{ type: "text", text: simple }]);
    // Only the newer revision's results say who answers: the mode did what it is named after.
    assert.equal("io.modelcontextprotocol/serverInfo" in (result._meta ?? {}), era !== "legacy");
  },
  progress: lacks.progress,
  cancel: era === "legacy" ? lacks.cancelLegacy : cancel(era),
  elicitation: lacks.elicitation,
  resource: async () => {
    const { contents } = await answer(era, "resources/read", "--uri", "test://static-text");
    const text = "This is the content of the static text resource.";
    assert.deepEqual(contents, [{ uri: "test://static-text", mimeType: "text/plain", text }]);
  },
  prompt: async () => {
    const { messages } = await answer(era, "prompts/get", "--prompt-name", "test_simple_prompt");
    const content = { type: "text", text: "This is a simple prompt for testing." };
    assert.deepEqual(messages, [{ role: "user", content }]);
  },
});

for (const era of ["legacy", "auto", "modern"]) await walk(`inspector, ${era}`, steps(era));
await rm(home, { recursive: true, force: true });
finish();
