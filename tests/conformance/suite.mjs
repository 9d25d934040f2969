// Runs of the official suite, and what they found: read from its own files, because its exit code tells of scored scenarios only.

import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { complete } from "./programs.mjs";

const suite = fileURLToPath(new URL("node_modules/@modelcontextprotocol/conformance/", import.meta.url));
const program = `${suite}dist/index.js`;

/** The suite's limit for a client, ms. Each of ours starts a whole installation and stops it again, on a machine that may be busy. */
const CLIENT_WITHIN = 120_000;

export const revisions = ["2025-11-25", "2026-07-28"];

/** What one run found, scenario by scenario. */
class Verdict {
  scenarios = [];
  failures = [];
  warnings = [];
  excused = [];

  constructor(revision) {
    this.revision = revision;
  }

  add(scenario, found) {
    const counts = ["SUCCESS", "FAILURE", "SKIPPED"];
    const nothing = { id: "nothing", status: "FAILURE", errorMessage: "the scenario checked nothing" };
    const checks = found.some((check) => counts.includes(check.status)) ? found : [...found, nothing];
    const of = (status) => checks.filter((check) => check.status === status);
    const line = (check) => `${scenario}: ${check.id}: ${check.errorMessage ?? check.description}`;
    this.scenarios.push({ scenario, passed: of("SUCCESS").length, failed: of("FAILURE").length });
    this.failures.push(...of("FAILURE").map(line));
    this.warnings.push(...of("WARNING").map(line));
  }

  /** None that is required may be left out. */
  hold(required, log) {
    const missing = required.filter((name) => !this.scenarios.some(({ scenario }) => scenario === name));
    this.failures.push(...missing.map((name) => `${name}: was not run; see ${log}`));
  }
}

/**
 * Runs all that `revision` requires against the server at `url`, and what the suite runs beside it without scoring.
 * `excused(scenario)` names the unscored scenarios that may fail.
 */
export async function judgeServer(url, revision, dir, excused) {
  await empty(dir);
  const args = [program, "server", "--url", url, "--requirements", revision, "--output-dir", `${dir}/results`];
  const log = `${dir}/suite.log`;
  const code = await complete(`suite ${revision}`, process.execPath, args, { log, deadline: 240_000 });
  const required = await requirements(revision);
  const verdict = new Verdict(revision);
  for (const [scenario, checks] of await results(`${dir}/results`)) {
    const failed = checks.some((check) => check.status === "FAILURE");
    if (failed && required.unscored.includes(scenario) && excused(scenario)) verdict.excused.push(scenario);
    else verdict.add(scenario, checks);
  }
  verdict.hold(required.server, log);
  if (code !== 0 && verdict.failures.length === 0) verdict.failures.push(`the suite ended with exit code ${code}; see ${log}`);
  return verdict;
}

/**
 * Lets the suite's servers judge the messages of a client, which `command` starts: the suite adds an address. Without the scenarios
 * about authorization, which are about a client that a person sits in front of.
 */
export async function judgeClient(command, revision, dir) {
  await empty(dir);
  const { client } = await requirements(revision);
  const verdict = new Verdict(`${revision} client`);
  for (const scenario of client) {
    const log = `${dir}/${scenario}.log`;
    const how = ["--scenario", scenario, "--spec-version", revision, "--timeout", String(CLIENT_WITHIN)];
    const args = ["--command", command, ...how, "--output-dir", `${dir}/${scenario}`];
    const code = await complete(scenario, process.execPath, [program, "client", ...args], { log, deadline: 2 * CLIENT_WITHIN });
    const before = verdict.failures.length;
    for (const [, checks] of await results(`${dir}/${scenario}`)) verdict.add(scenario, checks);
    const unexplained = code !== 0 && verdict.failures.length === before;
    if (unexplained) verdict.failures.push(`${scenario}: the suite ended with exit code ${code}; ${log} ends with:\n${await ending(log)}`);
  }
  verdict.hold(client, dir);
  return verdict;
}

/**
 * Lets the suite judge an authorization server, as a client that registers itself. `visit(url)` is the person: goes to the address that the
 * suite prints, and gives the address where the answer led. Here a warning is a failure.
 */
export async function judgeAuthorization({ issuer, resource, visit }, revision, dir) {
  await empty(dir);
  const port = await freePort();
  const redirects = [`http://127.0.0.1:${port}/callback`];
  const asked = { client_name: "Conformance suite", redirect_uris: redirects, token_endpoint_auth_method: "none" };
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked) };
  const registered = await fetch(`${issuer}/register`, { ...init, signal: AbortSignal.timeout(10_000) });
  if (registered.status !== 201) throw new Error(`a registration is answered with ${registered.status}`);
  const { client_id: client } = await registered.json();
  const verdict = new Verdict(`${revision} server`);
  const log = `${dir}/suite.log`;
  const how = ["--url", issuer, "--client-id", client, "--resource", resource, "--port", String(port), "--spec-version", revision];
  const args = [program, "authorization", ...how, "--output-dir", `${dir}/results`];
  let visiting;
  const go = async (url) => fetch(await visit(url), { signal: AbortSignal.timeout(10_000) });
  const hear = (line) => {
    const [url] = /https?:\/\/\S+\/authorize\?\S+/.exec(line) ?? [];
    if (url) visiting ??= go(url).catch((error) => verdict.failures.push(`the person could not answer: ${error.message}`));
  };
  const code = await complete(`suite ${revision}`, process.execPath, args, { log, deadline: 60_000, hear });
  await visiting;
  for (const [folder, checks] of await results(`${dir}/results`)) {
    verdict.add(folder.replace(/^authorization-server-(?=authorization-)/, ""), checks);
  }
  if (code !== 0) verdict.failures.push(`the suite ended with exit code ${code}; see ${log}`);
  verdict.hold(["authorization-server-metadata-endpoint", "authorization-code-grant"], log);
  verdict.failures.push(...verdict.warnings.splice(0));
  return verdict;
}

/** The last lines of a log, for whoever has only what the run printed. */
async function ending(log) {
  const lines = (await readFile(log, "utf8").catch((error) => error.message)).trimEnd().split("\n");
  return lines.slice(-40).map((line) => `        ${line.slice(0, 400)}`).join("\n");
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function empty(dir) {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
}

/** The checks of each scenario; the suite names a folder `[server-]<scenario>-<time>`. */
async function results(dir) {
  const folders = (await readdir(dir).catch(() => [])).sort();
  const named = folders.map((folder) => [folder.replace(/^server-(?=.)/, "").replace(/-\d{4}-\d\d-\d\dT.*$/, ""), folder]);
  return Promise.all(
    named.map(async ([scenario, folder]) => [scenario, JSON.parse(await readFile(`${dir}/${folder}/checks.json`, "utf8"))]),
  );
}

/** The suite's own lists: scored scenarios of servers and clients, and the servers' that are run beside them. */
async function requirements(revision) {
  const lines = (await readFile(`${suite}requirements/${revision}.yaml`, "utf8")).split("\n");
  const lists = {};
  let list;
  for (const line of lines) {
    const entry = /^ {2}- (?:scenario: )?(\S+)$/.exec(line)?.[1];
    list = /^(\w+):$/.exec(line)?.[1] ?? list;
    if (entry) (lists[list] ??= []).push(entry);
  }
  const { server, client, not_scored: unscored } = lists;
  if (!server || !client || !unscored) throw new Error(`the suite has no lists of scenarios for ${revision}`);
  const preserving = unscored.filter((scenario) => scenario === "json-schema-2020-12-preservation");
  return { server, unscored, client: [...client.filter((scenario) => !scenario.startsWith("auth/")), ...preserving] };
}
