// The official conformance suite against the platform, for both eras, in every setting:
//   tenant     the conformance tenant of `trunkline dev --conformance`
//   upstream   the reference server, as a source of a tenant
//   replicas   the conformance tenant of two replicas, asked in turn
//   client     the platform as the client of an upstream: the suite adds an address, which becomes a source
//   authorization  the authorization server, with a person who allows what the suite's client asks for
//   reference  the reference server and the reference client themselves, which shows that the suite and the fixtures agree
// usage: main.mjs PROGRAM STATE_DIR OUTPUT_DIR SETTING…

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { announced, platform, stopAll } from "./programs.mjs";
import { Person } from "../clients/person.mjs";
import { judgeAuthorization, judgeClient, judgeServer, revisions } from "./suite.mjs";

const [program, state, output, ...settings] = process.argv.slice(2);
const beside = (name) => fileURLToPath(new URL(name, import.meta.url));
const log = (name) => `${output}/${name}.log`;

/** The tasks extension is optional, and the reference server has none to offer; at home everything has to pass. */
const noTasks = (scenario) => scenario.startsWith("tasks-");
const nothing = () => false;

const reference = async (name) => (await announced(beside("reference-server.mjs"), { PORT: "0" }, log(name))).ready.url;
const guarded = async (name, targets, token) => {
  if (!targets?.every(Boolean) || !token) throw new Error(`dev.json does not have what the setting "${name}" needs`);
  const env = { TARGETS: targets.join(","), TOKEN: token, PORT: "0" };
  return (await announced(beside("bearer-proxy.mjs"), env, log(`${name}-proxy`))).ready.url;
};
const dev = async (name, ...flags) => {
  const args = ["dev", "--port", "0", "--conformance", ...flags];
  return (await platform(program, args, `${state}/${name}`, log(`${name}-platform`))).ready.conformance ?? {};
};

const prepare = {
  tenant: async () => {
    const tenant = await dev("tenant");
    return { url: await guarded("tenant", [tenant.mcp_url], tenant.api_key), excused: nothing };
  },
  upstream: async () => {
    const tenant = await dev("upstream", "--conformance-upstream", await reference("upstream-reference"));
    return { url: await guarded("upstream", [tenant.upstream_mcp_url], tenant.upstream_api_key), excused: noTasks };
  },
  replicas: async () => {
    const tenant = await dev("replicas", "--replicas", "2");
    if (tenant.replicas?.length !== 2) throw new Error("dev.json does not name two replicas");
    return { url: await guarded("replicas", tenant.replicas, tenant.api_key), excused: nothing };
  },
  client: async () => ({ client: `${process.execPath} ${beside("upstream-client.mjs")} ${program}` }),
  authorization: async () => {
    const args = ["dev", "--port", "0"];
    const { ready } = await platform(program, args, `${state}/authorization`, log("authorization-platform"));
    const person = new Person(ready.base_url, ready.user);
    return { authorization: { issuer: ready.issuer, resource: ready.mcp_url, visit: (url) => person.allow(url) } };
  },
  reference: async () => ({
    url: await reference("reference"),
    excused: noTasks,
    client: `${process.execPath} ${beside("reference-client.mjs")}`,
  }),
};

/** What was found before something went wrong is reported too. */
async function runSetting(setting) {
  const verdicts = [];
  try {
    const { url, excused, client, authorization } = await prepare[setting]();
    for (const revision of revisions) {
      const dir = `${output}/${setting}-${revision}`;
      if (url) verdicts.push(await judgeServer(url, revision, dir, excused));
      if (authorization) verdicts.push(await judgeAuthorization(authorization, revision, dir));
      if (client) verdicts.push(await judgeClient(client, revision, `${dir}-client`));
    }
  } catch (error) {
    verdicts.push({ failures: [error.message] });
  } finally {
    await stopAll();
  }
  return verdicts;
}

function report(setting, verdict) {
  if (verdict.scenarios) {
    const sum = (key) => verdict.scenarios.reduce((sum, scenario) => sum + scenario[key], 0);
    const good = verdict.scenarios.filter((scenario) => scenario.failed === 0).length;
    const excused = verdict.excused.length > 0 ? `   (without ${verdict.excused.length} of the tasks extension)` : "";
    const row = [setting, verdict.revision, `${good}/${verdict.scenarios.length}`, `${sum("passed")}/${sum("passed") + sum("failed")}`];
    console.log(columns(row) + excused);
    for (const warning of verdict.warnings) console.log(`    warning: ${warning}`);
  }
  for (const failure of verdict.failures) console.log(`    FAILED in ${setting}: ${failure}`);
}

const columns = ([setting, revision, scenarios, checks]) =>
  setting.padEnd(15) + revision.padEnd(18) + scenarios.padStart(10) + checks.padStart(11);

const unknown = settings.filter((setting) => !(setting in prepare));
if (unknown.length > 0) {
  console.error(`conformance: no setting is named ${unknown.join(", ")}; there are ${Object.keys(prepare).join(", ")}`);
  process.exit(2);
}
await mkdir(output, { recursive: true });
console.log(columns(["setting", "revision", "scenarios", "checks"]));
let failed = false;
for (const setting of settings) {
  for (const verdict of await runSetting(setting)) {
    report(setting, verdict);
    failed ||= verdict.failures.length > 0;
  }
}
process.exitCode = failed ? 1 : 0;
