// OAuth as clients of others do it, unmodified: each finds the authorization server from the 401, registers, sends a person to the
// consent page, gets tokens, calls, refreshes, and asks for more where a tool needs more. The person is played by person.mjs.
// usage: oauth.mjs PROGRAM PYTHON STATE_DIR OUTPUT_DIR [CLIENTS …]

import { execFile } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { createServer } from "node:https";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { complete, platform, stopAll } from "../conformance/programs.mjs";
import { Person } from "./person.mjs";

const [trunkline, python, state, output, ...chosen] = process.argv.slice(2);
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const runs = {
  typescript: [process.execPath, "typescript/oauth.mjs"],
  python: [python, "python/oauth.py"],
  inspector: [process.execPath, "inspector/oauth.mjs"],
  independent: [process.execPath, "typescript/independent.mjs"],
  authlib: [python, "python/independent.py"],
};
/** Where no client listens: the person says where the answer led. */
const redirect = "http://127.0.0.1:9/callback";

/** A certificate for 127.0.0.1, which the platform is told to trust: clients want the address of their document to be https. */
async function certificate(dir) {
  const [key, cert] = [`${dir}/document.key`, `${dir}/document.pem`];
  const names = ["-subj", "/CN=document of a client", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-addext", "basicConstraints=critical,CA:FALSE"];
  const args = ["req", "-x509", "-days", "2", ...kind, ...names, "-keyout", key, "-out", cert];
  await promisify(execFile)("openssl", args, { timeout: 15_000 });
  return { file: cert, key: await readFile(key), cert: await readFile(cert) };
}

/** Serves the documents of clients, of which each has its own. */
async function documents({ key, cert }) {
  const server = createServer({ key, cert }, (request, response) => {
    const body = {
      client_id: `${base}${request.url}`,
      client_name: `Client at ${request.url}`,
      redirect_uris: [redirect],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
    response.writeHead(200, { "content-type": "application/json", "cache-control": "max-age=600" });
    response.end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `https://127.0.0.1:${server.address().port}`;
  return { server, base };
}

/** A tool that changes things, so that there is something to ask for. */
async function addTool(person, tenant) {
  const shown = await person.open(`/t/${tenant}/tools/new`);
  const [, action] = /<form[^>]*method="post" action="(\/t\/[^"]*tools[^"]*)"/.exec(shown.text) ?? [];
  const tool = { name: "note", description: "Takes a note.", effect: "write", kind: "builtin", builtin: "echo" };
  const answer = await person.submit(shown, action, tool);
  if (answer.status !== 303) throw new Error(`the tool could not be made: status ${answer.status}`);
}

async function run(names) {
  const trusted = await certificate(state);
  const { server, base } = await documents(trusted);
  try {
    // The settings of a developer's installation let ten clients an hour register from one address; each group has its own.
    let good = true;
    for (const name of names) good = (await group(name, trusted.file, base)) && good;
    return good;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

async function group(name, file, base) {
  const dir = `${state}/${name}`;
  process.env.SSL_CERT_FILE = file;
  const dev = (await platform(trunkline, ["dev", "--port", "0"], dir, `${output}/${name}-platform.log`)).ready;
  delete process.env.SSL_CERT_FILE;
  await addTool(new Person(dev.base_url, dev.user), dev.tenant);
  const [command, script] = runs[name];
  const log = `${output}/${name}.log`;
  const env = { DEV: `${dir}/dev.json`, REDIRECT: redirect, DOCUMENTS: base };
  const code = await complete(name, command, [beside(script)], { env, log, deadline: 240_000 });
  // Clients say much else, which stays in the log.
  const verdict = / (ok|(MISSED|not offered by the client): .*)$/;
  const lines = (await readFile(log, "utf8")).split("\n").filter((line) => verdict.test(line));
  for (const line of lines) console.log(line);
  if (code !== 0 || lines.length === 0) console.log(`${name} ended with exit code ${code}; see ${log}`);
  await stopAll();
  return code === 0 && lines.length > 0;
}

const names = chosen.length > 0 ? chosen : Object.keys(runs);
const unknown = names.filter((name) => !(name in runs));
if (unknown.length > 0) {
  console.error(`oauth: no clients are named ${unknown.join(", ")}; there are ${Object.keys(runs).join(", ")}`);
  process.exit(2);
}
await mkdir(output, { recursive: true });
try {
  process.exitCode = (await run(names)) ? 0 : 1;
} catch (error) {
  console.error(`oauth: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
