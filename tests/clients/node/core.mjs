// Core NATS: what a client does without JetStream. The certificates change in the middle of each.

import { Inbox, packages, PATIENCE, pause, same, upTo, within } from "./stage.mjs";

const { headers: makeHeaders } = packages("@nats-io/transport-node");
const MEBIBYTE = 1024 * 1024;

async function publish(stage) {
  const [publisher, observer] = [await stage.connect(), await stage.connect("observer")];
  const inbox = new Inbox(observer.subscribe("publish.>"));
  await observer.flush();
  const { max_payload, headers, auth_required, tls_required, connect_urls } = publisher.info;
  stage.say("largest payload", max_payload, { headers, auth_required, tls_required, connect_urls });
  for (const number of upTo(50)) publisher.publish("publish.before", String(number));
  await publisher.flush();
  stage.say("before", same(await inbox.numbers(50), upTo(50)));
  const sent = await stage.throughRotation((number) => publisher.publish("publish.during", String(number)));
  stage.say("during", same(await inbox.numbers(sent), upTo(sent)));
  for (const number of upTo(50)) publisher.publish("publish.after", String(number));
  stage.say("after", same(await inbox.numbers(50), upTo(50)), "no more", await inbox.quiet());
}

async function subscribe(stage) {
  const [subscriber, publisher] = [await stage.connect(), await stage.connect("publisher")];
  const subscriptions = ["orders.new", "orders.*", "orders.>"].map((subject) => subscriber.subscribe(subject));
  const [exact, star, rest] = subscriptions.map((subscription) => new Inbox(subscription));
  await subscriber.flush();
  const sent = await stage.throughRotation((number) => publisher.publish("orders.new", String(number)));
  for (const [name, inbox] of Object.entries({ exact, star, rest })) {
    stage.say(name, same(await inbox.numbers(sent), upTo(sent)));
  }
  publisher.publish("orders.new.urgent", "7");
  const message = await rest.next();
  stage.say(message.subject, message.string());
  const late = new Inbox(subscriber.subscribe("late"));
  subscriptions[0].unsubscribe();
  await subscriber.flush();
  publisher.publish("orders.new", "8");
  publisher.publish("late", "9");
  stage.say("late", await late.numbers(1), "star", await star.numbers(1), "no more", await star.quiet());
}

async function queueGroups(stage) {
  const connections = [await stage.connect(), await stage.connect("second")];
  const publisher = await stage.connect("publisher");
  const got = [];
  const callback = (error, message) => got.push(error ?? Number(message.string()));
  for (const [connection, members] of [[connections[0], 2], [connections[1], 1]]) {
    for (let member = 0; member < members; member++) connection.subscribe("work", { queue: "workers", callback });
    await connection.flush();
  }
  const sent = await stage.throughRotation((number) => publisher.publish("work", String(number)));
  for (const number of upTo(sent + 100, sent)) publisher.publish("work", String(number));
  await publisher.flush();
  for (let left = PATIENCE / 10; got.length < sent + 100 && left > 0; left--) await pause(10);
  await pause(100);
  got.sort((one, other) => one - other);
  stage.say("each to one member", same(got, upTo(sent + 100)));
}

async function requestReply(stage) {
  const [server, client] = [await stage.connect("server"), await stage.connect()];
  server.subscribe("ask", { callback: (_, message) => message.respond(`re: ${message.string()}`) });
  await server.flush();
  const answers = [];
  const ask = async (number, options) => {
    const answer = await client.request("ask", String(number), { timeout: PATIENCE, ...options });
    return answer.string();
  };
  const asked = await stage.throughRotation(async (number) => answers.push(await ask(number)));
  stage.say("answered", same(answers, upTo(asked).map((number) => `re: ${number}`)));
  stage.say(await ask("of its own", { noMux: true, reply: "an.inbox" }));
  try {
    await client.request("nobody", "?", { timeout: PATIENCE });
  } catch (error) {
    stage.say("nobody:", String(error));
  }
}

async function headers(stage) {
  const [publisher, subscriber] = [await stage.connect(), await stage.connect("subscriber")];
  const inbox = new Inbox(subscriber.subscribe("headers"));
  await subscriber.flush();
  const sent = await stage.throughRotation((number) => {
    const all = makeHeaders();
    all.set("Number", String(number));
    all.append("X-Two", "a: b");
    all.append("X-Two", "c");
    publisher.publish("headers", "body", { headers: all });
  });
  const got = [];
  for (let left = sent; left > 0; left--) got.push(await inbox.next());
  stage.say("in order", same(got.map((message) => Number(message.headers.get("Number"))), upTo(sent)));
  stage.say(got.at(-1).headers.values("X-Two"), got.at(-1).string());
  const only = makeHeaders();
  only.set("Only", "headers");
  publisher.publish("headers", "", { headers: only });
  const message = await inbox.next();
  stage.say(message.headers.get("Only"), message.data.length);
}

async function autoUnsubscribe(stage) {
  const [subscriber, publisher] = [await stage.connect(), await stage.connect("publisher")];
  const exact = new Inbox(subscriber.subscribe("ten", { max: 10 }));
  const subscription = subscriber.subscribe("ten");
  const late = new Inbox(subscription);
  await subscriber.flush();
  for (const number of upTo(5)) publisher.publish("ten", String(number));
  stage.say("before", await exact.numbers(5), await late.numbers(5));
  await stage.rotate();
  subscription.unsubscribe(7);
  await subscriber.flush();
  for (const number of upTo(20, 5)) publisher.publish("ten", String(number));
  stage.say("after", await exact.numbers(5), await late.numbers(2));
  const third = new Inbox(subscriber.subscribe("ten"));
  await subscriber.flush();
  publisher.publish("ten", "20");
  stage.say("a new one", await third.numbers(1), "no more", await exact.quiet(), await late.quiet());
}

async function noEcho(stage) {
  const [silent, other] = [await stage.connect("client", { noEcho: true }), await stage.connect("other")];
  const [inbox, heard] = [silent, other].map((connection) => new Inbox(connection.subscribe("echo")));
  await silent.flush();
  await other.flush();
  const sent = await stage.throughRotation((number) => {
    silent.publish("echo", String(number));
    other.publish("echo", String(1_000_000 + number));
  });
  const both = (await heard.numbers(2 * sent)).sort((one, another) => one - another);
  const others = upTo(1_000_000 + sent, 1_000_000);
  stage.say("the other hears both", same(both, [...upTo(sent), ...others]));
  stage.say("the silent one only the other", same(await inbox.numbers(sent), others), await inbox.quiet());
}

async function verbose(stage) {
  const client = await stage.connect("client", { verbose: true, pedantic: true });
  const inbox = new Inbox(client.subscribe("verbose"));
  const sent = await stage.throughRotation((number) => client.publish("verbose", String(number)));
  await client.flush();
  stage.say("own messages", same(await inbox.numbers(sent), upTo(sent)), await inbox.quiet());
}

async function drain(stage) {
  const [client, publisher] = [await stage.connect(), await stage.connect("publisher")];
  const got = [];
  client.subscribe("drain", { callback: (error, message) => got.push(error ?? Number(message.string())) });
  const part = client.subscribe("part");
  const inbox = new Inbox(part);
  await client.flush();
  const sent = await stage.throughRotation((number) => publisher.publish("drain", String(number)));
  for (const number of upTo(sent + 100, sent)) publisher.publish("drain", String(number));
  publisher.publish("part", "1");
  await publisher.flush();
  // The server has sent it all; a round trip and it is here.
  await client.flush();
  stage.say("part", await inbox.numbers(1));
  await part.drain();
  stage.leave(client);
  await client.drain();
  stage.say("all before the end", same(got, upTo(sent + 100)), "closed", client.isClosed());
}

async function oneMebibyte(stage) {
  const [publisher, subscriber] = [await stage.connect(), await stage.connect("subscriber")];
  const inbox = new Inbox(subscriber.subscribe("large"));
  await subscriber.flush();
  let whole = true;
  await stage.throughRotation(async (number) => {
    const payload = Buffer.alloc(MEBIBYTE, number % 251);
    publisher.publish("large", payload);
    whole &&= Buffer.compare((await inbox.next()).data, payload) === 0;
  });
  stage.say("all whole", whole);
  try {
    publisher.publish("large", new Uint8Array(MEBIBYTE + 1));
  } catch (error) {
    stage.say("one more byte:", String(error));
  }
}

// What may differ through the relay: its client notices nothing, a direct one reconnects.
async function serverRestarts(stage) {
  const [client, publisher] = [await stage.connect(), await stage.connect("publisher")];
  const inbox = new Inbox(client.subscribe("restart.>"));
  const limited = new Inbox(client.subscribe("restart.limited", { max: 3 }));
  await client.flush();
  publisher.publish("restart.limited", "1");
  stage.say("before", await inbox.numbers(1), await limited.numbers(1));
  await stage.ask("restart");
  for (const connection of [client, publisher]) await within(2 * PATIENCE, roundTrip(connection));
  await stage.rotate();
  for (const number of upTo(6, 2)) publisher.publish("restart.limited", String(number));
  stage.say("after", await inbox.numbers(4), await limited.numbers(2), "no more", await inbox.quiet());
}

async function roundTrip(connection) {
  for (;;) {
    try {
      return await within(1000, connection.flush());
    } catch {
      await pause(50);
    }
  }
}

// A service that runs for a while: several rotations, nothing to be noticed.
async function steady(stage) {
  const [service, client] = [await stage.connect("service"), await stage.connect()];
  service.subscribe("steady", { queue: "service", callback: (_, message) => message.respond(message.data) });
  await service.flush();
  let right = true;
  for (let rotation = 0; rotation < 3; rotation++) {
    await stage.throughRotation(async (number) => {
      const answer = await client.request("steady", String(number), { timeout: PATIENCE });
      right &&= Number(answer.string()) === number;
    });
  }
  stage.say("every request answered", right, "connected", !client.isClosed());
}

export const all = [
  publish,
  subscribe,
  queueGroups,
  requestReply,
  headers,
  autoUnsubscribe,
  noEcho,
  verbose,
  drain,
  oneMebibyte,
];
export const alone = [serverRestarts, steady];
