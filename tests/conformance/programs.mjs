// The programs a run starts: each is waited for with a deadline, and ended by its process id, however the run ends.

import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The platform stops its database, so it gets longer than a program would need that has nothing to lose. */
const STOPPING = 30_000;

const running = new Set();

class Program {
  constructor(name, command, args, { env, log, hear }) {
    this.name = name;
    this.lines = [];
    const options = { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] };
    this.child = spawn(command, args, options);
    const file = createWriteStream(log);
    for (const stream of [this.child.stdout, this.child.stderr]) stream.pipe(file, { end: false });
    this.log = log;
    let rest = "";
    this.child.stdout.setEncoding("utf8").on("data", (data) => {
      const lines = (rest + data).split("\n");
      rest = lines.pop();
      for (const line of lines) hear?.(line);
      if (this.lines.length < 1000) this.lines.push(...lines);
    });
    this.ended = new Promise((resolve) => {
      this.child.on("error", (error) => resolve(error.message));
      this.child.on("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    void this.ended.then((how) => {
      this.how = how;
      running.delete(this);
    });
    running.add(this);
  }

  /** Asks `ready` again and again until it answers; an error with the log's name when the program ends first or takes too long. */
  async until(ready, deadline) {
    const started = Date.now();
    for (;;) {
      const answer = await ready();
      if (answer !== undefined) return answer;
      if (this.how !== undefined) throw new Error(`${this.name} ended (${this.how}) before it was ready; see ${this.log}`);
      if (Date.now() - started > deadline) throw new Error(`${this.name} was not ready after ${deadline} ms; see ${this.log}`);
      await sleep(50);
    }
  }

  async stop() {
    if (this.how !== undefined) return;
    this.child.kill("SIGTERM");
    const late = sleep(STOPPING, "late", { ref: false });
    if ((await Promise.race([this.ended, late])) === "late") {
      this.child.kill("SIGKILL");
      await this.ended;
    }
  }
}

/** Starts a program that says it is ready by a line of JSON, and returns it with what the line says. */
export async function announced(script, env, log) {
  const program = new Program(basename(script), process.execPath, [script], { env, log });
  const line = () => program.lines.find((line) => line.startsWith("{"));
  return { program, ready: JSON.parse(await program.until(line, 15_000)) };
}

/** Starts a platform that says it is ready by its `dev.json`, and returns it with what stands there. */
export async function platform(command, args, stateDir, log) {
  const program = new Program("trunkline", command, [...args, "--state-dir", stateDir], { log });
  const file = async () => readFile(`${stateDir}/dev.json`, "utf8").catch(() => undefined);
  return { program, ready: JSON.parse(await program.until(file, 90_000)) };
}

/** Runs a program to its end and returns its exit code; an error when that takes too long. `hear` is told every line it says. */
export async function complete(name, command, args, { env, log, deadline, hear }) {
  const program = new Program(name, command, args, { env, log, hear });
  const late = sleep(deadline, "late", { ref: false });
  if ((await Promise.race([program.ended, late])) === "late") {
    await program.stop();
    throw new Error(`${name} did not end within ${deadline} ms; see ${log}`);
  }
  return program.child.exitCode;
}

/** Ends all that still run, the last started first. */
export async function stopAll() {
  for (const program of [...running].reverse()) await program.stop();
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    void stopAll().then(() => process.exit(1));
  });
}
