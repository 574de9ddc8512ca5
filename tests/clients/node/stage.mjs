// What a scenario has: connections whose status is watched, a transcript, and the test that changes the world.
//
// One JSON object a line. To the test: {"say": ...} is the transcript, {"ask": "rotate" | "restart"} waits for a line
// on stdin, {"end": ...} ends a scenario. Nothing that differs between two runs (times, random names) may be said.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// The packages are not beside this file: scripts/clients says where.
export const packages = createRequire(`${process.env.NATS_CLIENTS}/`);
const { connect } = packages("@nats-io/transport-node");

export const PATIENCE = 10_000;
// Steps that are taken while certificates change, even if that is over sooner.
const LEAST_STEPS = 20;
// What a client tells of a connection that is well.
const HARMLESS = new Set(["update", "ping", "close"]);

const tell = (message) => console.log(JSON.stringify(message));
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("not in time")), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Stage {
  // What the client noticed of its connections before the scenario closed them: the first of it.
  noticed = [];
  #connections = [];

  constructor(url, scenario) {
    this.url = url;
    this.scenario = scenario;
  }

  say(...words) {
    const text = words.map((word) => (typeof word === "string" ? word : JSON.stringify(word)));
    tell({ scenario: this.scenario, say: text.join(" ") });
  }

  async connect(name = "client", options = {}) {
    const connection = await connect({
      servers: this.url,
      name: `${this.scenario}-${name}`,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 50,
      ...options,
    });
    const known = { connection, leaving: false };
    this.#connections.push(known);
    this.#watch(known);
    return connection;
  }

  async #watch(known) {
    for await (const status of known.connection.status()) {
      if (!known.leaving && !HARMLESS.has(status.type) && this.noticed.length < 20) {
        this.noticed.push(`${status.type} ${status.error ?? status.server ?? ""}`);
      }
    }
  }

  // From now on its end is wanted.
  leave(connection) {
    for (const known of this.#connections) {
      known.leaving ||= known.connection === connection;
    }
  }

  async ask(what) {
    tell({ scenario: this.scenario, ask: what });
    const { value } = await answers.next();
    if (value !== "done") throw new Error(`asked for ${what}, got ${value}`);
  }

  rotate() {
    return this.ask("rotate");
  }

  // Takes steps all the while certificates change, and says how many that were.
  async throughRotation(step) {
    let over = false;
    const rotation = this.rotate().finally(() => (over = true));
    let steps = 0;
    while (steps < LEAST_STEPS || !over) {
      await step(steps++);
      await pause(1);
    }
    await rotation;
    return steps;
  }

  async end() {
    for (const known of this.#connections) {
      known.leaving = true;
      await known.connection.close();
    }
    tell({ scenario: this.scenario, end: this.noticed });
  }
}

// The messages of a subscription, taken one by one.
export class Inbox {
  constructor(subscription) {
    this.iterator = subscription[Symbol.asyncIterator]();
  }

  async next() {
    this.pending ??= this.iterator.next();
    const { value, done } = await within(PATIENCE, this.pending);
    this.pending = undefined;
    if (done) throw new Error("the subscription ended");
    return value;
  }

  // The next `count` messages, as numbers.
  async numbers(count) {
    const all = [];
    while (all.length < count) all.push(Number((await this.next()).string()));
    return all;
  }

  // Whether nothing more comes. The end of the subscription is nothing, too.
  async quiet() {
    this.pending ??= this.iterator.next();
    return Promise.race([pause(200).then(() => true), this.pending.then(({ done }) => done === true)]);
  }
}

export const same = (found, expected) => JSON.stringify(found) === JSON.stringify(expected);
export const upTo = (end, start = 0) => Array.from({ length: end - start }, (_, index) => index + start);

export async function run(url, scenarios) {
  for (const scenario of scenarios) {
    const stage = new Stage(url, scenario.name);
    try {
      await within(6 * PATIENCE, scenario(stage));
    } catch (error) {
      // Whatever it is, it belongs into the transcript.
      stage.say("failed:", String(error));
      // Where it was, for whoever reads the output of the test.
      console.error(error);
    }
    await stage.end();
  }
  process.stdin.destroy();
}
