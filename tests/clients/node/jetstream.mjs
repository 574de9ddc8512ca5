// JetStream and what is built on it. The certificates change in the middle of each.

import { createHash } from "node:crypto";

import { Inbox, packages, PATIENCE, same, upTo, within } from "./stage.mjs";

const { jetstream, jetstreamManager, AckPolicy } = packages("@nats-io/jetstream");
const { Kvm } = packages("@nats-io/kv");
const { Objm } = packages("@nats-io/obj");

async function stream(stage, name) {
  const client = await stage.connect();
  const manager = await jetstreamManager(client, { timeout: PATIENCE });
  await manager.streams.add({ name, subjects: [`${name}.*`] });
  return { client, manager, js: jetstream(client, { timeout: PATIENCE }) };
}

// The answers say where each message lies: every one once, in order.
async function publishThroughRotation(stage, js, subject) {
  const places = [];
  const sent = await stage.throughRotation(async (number) => {
    places.push((await js.publish(subject, String(number))).seq);
  });
  stage.say("stored", same(places, upTo(sent + 1, 1)));
  return sent;
}

async function jetstreamPush(stage) {
  const { manager, js } = await stream(stage, "push");
  await manager.consumers.add("push", {
    durable_name: "pusher",
    deliver_subject: "deliver.push",
    ack_policy: AckPolicy.Explicit,
  });
  const inbox = new Inbox(await (await js.consumers.getPushConsumer("push", "pusher")).consume());
  const sent = await publishThroughRotation(stage, js, "push.a");
  const got = [];
  const times = new Set();
  for (let left = sent; left > 0; left--) {
    const message = await inbox.next();
    got.push(Number(message.string()));
    times.add(message.info.deliveryCount);
    await message.ackAck({ timeout: PATIENCE });
  }
  const info = await manager.consumers.info("push", "pusher");
  stage.say("got", same(got, upTo(sent)), "deliveries of each", [...times]);
  stage.say("left", info.num_ack_pending, info.num_pending, "again", info.num_redelivered);
}

async function jetstreamPull(stage) {
  const { manager, js } = await stream(stage, "pull");
  await manager.consumers.add("pull", { durable_name: "puller", ack_policy: AckPolicy.Explicit });
  const sent = await publishThroughRotation(stage, js, "pull.a");
  for (const number of upTo(sent + 40, sent)) await js.publish("pull.a", String(number));
  const consumer = await js.consumers.get("pull", "puller");
  const got = [];
  const times = new Set();
  const fetch = async () => {
    if (got.length >= sent + 40) return;
    const message = await consumer.next({ expires: PATIENCE });
    got.push(Number(message.string()));
    times.add(message.info.deliveryCount);
    await message.ackAck({ timeout: PATIENCE });
  };
  await stage.throughRotation(fetch);
  while (got.length < sent + 40) await fetch();
  const info = await manager.consumers.info("pull", "puller");
  stage.say("got", same(got, upTo(sent + 40)), "deliveries of each", [...times]);
  stage.say("left", info.num_ack_pending, info.num_pending, "again", info.num_redelivered);
}

async function orderedConsumer(stage) {
  const { js } = await stream(stage, "ordered");
  for (const number of upTo(100)) await js.publish("ordered.a", String(number));
  const messages = await (await js.consumers.get("ordered")).consume();
  const inbox = new Inbox(messages);
  const got = [];
  const sent = await stage.throughRotation(async (number) => {
    await js.publish("ordered.a", String(100 + number));
    got.push(...(await inbox.numbers(1)));
  });
  got.push(...(await inbox.numbers(100 + sent - got.length)));
  stage.say("in order", same(got, upTo(100 + sent)));
  messages.stop();
}

async function keyValueWatch(stage) {
  const client = await stage.connect();
  const kv = await new Kvm(jetstream(client, { timeout: PATIENCE })).create("prices", { history: 5 });
  await kv.put("apple", "1");
  const watch = await kv.watch();
  const inbox = new Inbox(watch);
  const first = await inbox.next();
  stage.say("first", first.key, first.string(), first.revision);
  const sent = await stage.throughRotation((number) => kv.put("pear", String(number)));
  const got = [];
  for (let left = sent; left > 0; left--) got.push(await inbox.next());
  stage.say("values", same(got.map((entry) => Number(entry.string())), upTo(sent)));
  stage.say("revisions", same(got.map((entry) => entry.revision), upTo(sent + 2, 2)));
  await kv.delete("apple");
  const last = await inbox.next();
  stage.say(last.key, last.operation, last.revision - sent);
  const history = [];
  for await (const entry of await kv.history({ key: "apple" })) history.push(entry.operation);
  stage.say("history", history);
  watch.stop();
}

async function objectStore(stage) {
  const client = await stage.connect();
  const store = await new Objm(jetstream(client, { timeout: PATIENCE })).create("blobs");
  const blob = Buffer.alloc(2 * 1024 * 1024, Buffer.from(upTo(251)));
  const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
  let whole = true;
  await stage.throughRotation(async (number) => {
    const name = `blob-${number % 3}`;
    await store.putBlob({ name, description: "two mebibytes" }, blob);
    whole &&= digest(await within(PATIENCE, store.getBlob(name))) === digest(blob);
  });
  stage.say("came back as it was", whole);
  const info = await store.info("blob-1");
  stage.say(info.name, info.size, info.chunks, info.digest, info.description);
  stage.say("names", (await store.list()).map((entry) => entry.name).sort());
}

export const all = [jetstreamPush, jetstreamPull, orderedConsumer, keyValueWatch, objectStore];
