// Unmodified clients of others against the platform.
//   demo       what `trunkline dev` offers everybody, through the SDKs
//   tenant     everything a client does, on the conformance tenant
//   upstream   the same on the reference server, as a source of a tenant
//   reference  the same on the reference server itself, which shows that clients and fixtures agree
// usage: main.mjs PROGRAM PYTHON STATE_DIR OUTPUT_DIR SETTING…

import { mkdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { announced, complete, platform, stopAll } from "../conformance/programs.mjs";

const [trunkline, python, state, output, ...settings] = process.argv.slice(2);
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const known = ["demo", "tenant", "upstream", "reference"];
const needs = (...names) => names.some((name) => settings.includes(name));

/** Runs all matrices at once; what each prints is shown when it has ended. Returns the lines, and whether nothing was missed. */
async function all(setting, runs) {
  const ended = await Promise.all(
    runs.map(async ([command, args, env]) => {
      const name = args[0].replace(/^.*\/([^/]*)\/[^/]*$/, "$1");
      const log = `${output}/${setting}-${name}.log`;
      const code = await complete(name, command, args, { env, log, deadline: 180_000 });
      return { name, code, lines: (await readFile(log, "utf8")).trimEnd().split("\n") };
    }),
  );
  for (const { name, code, lines } of ended) {
    for (const line of lines) console.log(`${setting.padEnd(11)}${line}`);
    if (code !== 0) console.log(`${setting.padEnd(11)}${name} ended with exit code ${code}`);
  }
  return { lines: ended.flatMap(({ lines }) => lines), good: ended.every(({ code }) => code === 0) };
}

async function matrix(setting, url, key) {
  if (!url || !key) throw new Error(`dev.json does not have what the setting "${setting}" needs`);
  const env = { KEY: key };
  return all(setting, [
    [process.execPath, [beside("typescript/matrix.mjs"), url], env],
    [python, [beside("python/matrix.py"), url], env],
    [process.execPath, [beside("inspector/matrix.mjs"), url], env],
  ]);
}

/** Every call that a client cancelled must have been cancelled at the reference server too, whatever lay between. */
async function cancelled(setting, reference, before, lines) {
  const wanted = lines.filter((line) => / cancel +ok$/.test(line)).length;
  const seen = () => reference.program.lines.filter((line) => line.includes("cancelled")).length - before;
  for (let tries = 0; tries < 50 && seen() < wanted; tries++) await new Promise((resolve) => setTimeout(resolve, 100));
  const good = seen() === wanted;
  const verdict = good ? "ok" : "MISSED";
  console.log(`${setting.padEnd(11)}${wanted} calls cancelled by clients, ${seen()} of them at the server: ${verdict}`);
  return good;
}

async function run() {
  const reference = needs("upstream", "reference")
    ? await announced(beside("../conformance/reference-server.mjs"), { PORT: "0" }, `${output}/reference.log`)
    : undefined;
  const flags = needs("tenant", "upstream") ? ["--conformance"] : [];
  if (needs("upstream")) flags.push("--conformance-upstream", reference.ready.url);
  const dev = needs("demo", "tenant", "upstream")
    ? (await platform(trunkline, ["dev", "--port", "0", ...flags], state, `${output}/platform.log`)).ready
    : undefined;
  let good = true;
  const judged = async (setting, url, key, server) => {
    const before = server?.program.lines.filter((line) => line.includes("cancelled")).length;
    const result = await matrix(setting, url, key);
    good &&= result.good;
    if (server && !(await cancelled(setting, server, before, result.lines))) good = false;
  };
  for (const setting of settings) {
    if (setting === "demo") {
      const file = `${state}/dev.json`;
      const runs = [
        [process.execPath, [beside("typescript/demo.mjs"), file]],
        [python, [beside("python/demo.py"), file]],
      ];
      good = (await all(setting, runs)).good && good;
    }
    const conformance = dev?.conformance ?? {};
    if (setting === "tenant") await judged(setting, conformance.mcp_url, conformance.api_key);
    if (setting === "upstream") {
      await judged(setting, conformance.upstream_mcp_url, conformance.upstream_api_key, reference);
    }
    if (setting === "reference") await judged(setting, reference.ready.url, "none is asked for", reference);
  }
  return good;
}

const unknown = settings.filter((setting) => !known.includes(setting));
if (unknown.length > 0) {
  console.error(`clients: no setting is named ${unknown.join(", ")}; there are ${known.join(", ")}`);
  process.exit(2);
}
await mkdir(output, { recursive: true });
try {
  process.exitCode = (await run()) ? 0 : 1;
} catch (error) {
  console.error(`clients: ${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
