// The MCP Inspector's command line, unmodified, from the 401 to a call. Every step is a process of its own; what one
// has been given, the next finds in the Inspector's own store. The person goes to the address it prints, and on to its own listener.
// usage: DEV=dev.json DOCUMENTS=… oauth.mjs

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Person } from "../person.mjs";
import { finish, walk } from "../report.mjs";

const launcher = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
const inspector = fileURLToPath(new URL(launcher, import.meta.url));
const dev = JSON.parse(await readFile(process.env.DEV, "utf8"));

/** A port for its listener. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

class Inspector {
  asked = [];

  constructor(home, era, callback) {
    this.home = home;
    this.era = era;
    this.callback = callback;
    this.person = new Person(dev.base_url, dev.user);
    this.store = join(home, ".mcp-inspector/secrets.json");
  }

  /** Runs it once; when it asks for the person, the person goes. */
  async run(...args) {
    const given = ["--cli", dev.mcp_url, "--transport", "http", "--format", "json", "--protocol-era", this.era];
    const callback = ["--callback-url", this.callback];
    const child = spawn(process.execPath, [inspector, ...given, ...callback, ...args], {
      // It looks for no browser of ours, and for no keychain.
      env: { PATH: "", HOME: this.home, MCP_AUTO_OPEN_ENABLED: "true", MCP_INSPECTOR_SECRET_STORE: "file" },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 18_000,
    });
    const output = { stdout: "", stderr: "" };
    const visits = [];
    for (const name of ["stdout", "stderr"]) {
      child[name].setEncoding("utf8").on("data", (data) => {
        output[name] += data;
        const urls = [...output.stderr.matchAll(/Please navigate to: (\S+)\n/g)].map(([, url]) => url);
        for (const url of urls.slice(visits.length)) visits.push(this.#visit(url));
      });
    }
    const code = await new Promise((resolve) => child.on("close", resolve));
    await Promise.all(visits);
    assert.equal(code, 0, `exit code ${code}: ${output.stderr}${output.stdout}`);
    return JSON.parse(output.stdout).result;
  }

  async #visit(url) {
    this.asked.push(new URL(url).searchParams);
    const response = await fetch(await this.person.allow(url), { signal: AbortSignal.timeout(10_000) });
    assert.equal(response.status, 200, "its listener takes the answer");
  }

  /** The access token that it has stored. */
  async token() {
    const [token] = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(await readFile(this.store, "utf8")) ?? assert.fail("it has stored no token");
    return token;
  }

  async call(tool) {
    const result = await this.run("--method", "tools/call", "--tool-name", tool, "--tool-arg", "text=grüße");
    assert.equal(result.content[0].text, "grüße");
  }
}

function steps(client, document) {
  const how = document ? ["--client-metadata-url", document] : [];
  return {
    "log in": async () => {
      const { tools } = await client.run(...how, "--method", "tools/list");
      assert.deepEqual(tools.map((tool) => tool.name).sort(), ["echo", "time", "weather"]);
      const [asked] = client.asked;
      assert.equal(asked.get("code_challenge_method"), "S256");
      assert.equal(asked.get("resource"), dev.mcp_url);
      if (document) assert.equal(asked.get("client_id"), document);
      else assert.match(asked.get("client_id"), /^tl_dcr_/);
    },
    call: async () => {
      await client.call("echo");
      assert.equal(client.asked.length, 1, "it used what it has stored");
    },
    refresh: async () => {
      const before = await client.token();
      const store = await readFile(client.store, "utf8");
      await writeFile(client.store, store.replaceAll(before, "a-token-that-has-had-its-time"));
      await client.call("echo");
      assert.equal(client.asked.length, 1, "nobody was asked again");
      assert.notEqual(await client.token(), before);
    },
    "step-up": "it calls only tools that are listed, and what a token does not reach is not",
    "log in again": async () => {
      const before = await client.token();
      await client.run(...how, "--relogin", "--method", "tools/list");
      assert.equal(client.asked.length, 2);
      assert.notEqual(await client.token(), before);
    },
    revoke: "its command line looks for the server's metadata where only its web page has put it",
  };
}

for (const [name, era, document] of [
  ["inspector, legacy, DCR", "legacy"],
  ["inspector, auto, DCR", "auto"],
  ["inspector, modern, DCR", "modern"],
  ["inspector, auto, CIMD", "auto", `${process.env.DOCUMENTS}/inspector`],
]) {
  const home = await mkdtemp(join(tmpdir(), "trunkline-inspector."));
  const client = new Inspector(home, era, `http://127.0.0.1:${await freePort()}/callback`);
  await walk(name, steps(client, document));
  await rm(home, { recursive: true, force: true });
}
finish();
