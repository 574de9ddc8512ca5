// node scenarios.mjs URL (all | SCENARIO...): runs them one after another; see stage.mjs for what is printed.

import * as core from "./core.mjs";
import * as jetstream from "./jetstream.mjs";
import { run } from "./stage.mjs";

const [url, ...names] = process.argv.slice(2);
const chosen = names[0] === "all"
  ? [...core.all, ...jetstream.all]
  : names.map((name) => core.alone.find((scenario) => scenario.name === name));
await run(url, chosen);
