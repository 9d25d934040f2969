// One run of the official suite, and what it found: read from its own files, because its exit code tells of scored scenarios only.

import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { complete } from "./programs.mjs";

const suite = fileURLToPath(new URL("node_modules/@modelcontextprotocol/conformance/", import.meta.url));

export const revisions = ["2025-11-25", "2026-07-28"];

/**
 * Runs all that `revision` requires against the server at `url`, and what the suite runs beside it without scoring.
 * `excused(scenario)` names the unscored scenarios that may fail.
 */
export async function judge(url, revision, dir, excused) {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const args = [`${suite}dist/index.js`, "server", "--url", url, "--requirements", revision, "--output-dir", `${dir}/results`];
  const log = `${dir}/suite.log`;
  const code = await complete(`suite ${revision}`, process.execPath, args, { log, deadline: 240_000 });
  const output = await readFile(log, "utf8");
  const unscored = new Set([...output.matchAll(/^ {2}[✓✗] (\S+) \((?:extension|pending|added-after-release)\)$/gm)].map((m) => m[1]));
  const verdict = { revision, code, log, scenarios: [], failures: [], warnings: [], excused: [] };
  for (const [scenario, checks] of await results(`${dir}/results`)) {
    const count = (status) => checks.filter((check) => check.status === status).length;
    const failed = checks.filter((check) => check.status === "FAILURE");
    const isExcused = unscored.has(scenario) && failed.length > 0 && excused(scenario);
    if (isExcused) verdict.excused.push(scenario);
    else {
      verdict.scenarios.push({ scenario, passed: count("SUCCESS"), failed: failed.length });
      verdict.failures.push(...failed.map((check) => line(scenario, check)));
    }
    verdict.warnings.push(...checks.filter((check) => check.status === "WARNING").map((check) => line(scenario, check)));
  }
  const missing = (await required(revision)).filter((name) => !verdict.scenarios.some(({ scenario }) => scenario === name));
  verdict.failures.push(...missing.map((name) => `${name}: was not run; see ${log}`));
  if (code !== 0 && verdict.failures.length === 0) verdict.failures.push(`the suite ended with exit code ${code}; see ${log}`);
  return verdict;
}

const line = (scenario, check) => `${scenario}: ${check.id}: ${check.errorMessage ?? check.description}`;

/** The checks of each scenario; the suite names a folder `server-<scenario>-<time>`. */
async function results(dir) {
  const folders = (await readdir(dir).catch(() => [])).sort();
  const named = folders.map((folder) => [folder.replace(/^server-/, "").replace(/-\d{4}-\d\d-\d\dT.*$/, ""), folder]);
  return Promise.all(
    named.map(async ([scenario, folder]) => [scenario, JSON.parse(await readFile(`${dir}/${folder}/checks.json`, "utf8"))]),
  );
}

/** The scored scenarios, by the suite's own file: none of them may be left out. */
async function required(revision) {
  const file = await readFile(`${suite}requirements/${revision}.yaml`, "utf8");
  const server = /^server:\n((?: {2}- .*\n)+)/m.exec(file);
  if (!server) throw new Error(`the suite has no list of scenarios for ${revision}`);
  return server[1].trimEnd().split("\n").map((entry) => entry.replace(/^ {2}- /, "").trim());
}
