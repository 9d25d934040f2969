// What the matrix prints: one line per client and step.

let missed = false;

/** Runs the steps of one client. A step that is not a function is the reason why the client does not offer it. */
export async function walk(client, steps) {
  for (const [step, run] of Object.entries(steps)) {
    const name = `${client.padEnd(28)}${step.padEnd(13)}`;
    if (typeof run === "string") {
      console.log(`${name}not offered by the client: ${run}`);
      continue;
    }
    try {
      await within(20_000, run());
      console.log(`${name}ok`);
    } catch (error) {
      missed = true;
      console.log(`${name}MISSED: ${String(error?.message ?? error).split("\n").join(" ")}`);
    }
  }
}

/** To be called last: the exit code says whether a step was missed. */
export function finish() {
  process.exit(missed ? 1 : 0);
}

async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
