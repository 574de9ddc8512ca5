"""JetStream and what is built on it. The certificates change in the middle of each."""

import hashlib

from nats.js.api import ConsumerConfig, ObjectMeta
from stage import PATIENCE, next_of


async def stream(stage, name):
    client = await stage.connect()
    js = client.jetstream(timeout=PATIENCE)
    await js.add_stream(name=name, subjects=[f"{name}.*"])
    return client, js


async def publish_through_rotation(stage, js, subject):
    """The answers say where each message lies: every one once, in order."""
    places = []

    async def step(number):
        places.append((await js.publish(subject, str(number).encode())).seq)

    sent = await stage.through_rotation(step)
    stage.say("stored", places == list(range(1, sent + 1)))
    return sent


async def jetstream_push(stage):
    _, js = await stream(stage, "push")
    messages = await js.subscribe("push.*", durable="pusher", manual_ack=True)
    sent = await publish_through_rotation(stage, js, "push.a")
    got, times = [], set()
    for _ in range(sent):
        message = await next_of(messages)
        got.append(int(message.data))
        times.add(message.metadata.num_delivered)
        await message.ack_sync(timeout=PATIENCE)
    info = await messages.consumer_info()
    stage.say("got", got == list(range(sent)), "deliveries of each", times)
    stage.say("left", info.num_ack_pending, info.num_pending, "again", info.num_redelivered)


async def jetstream_pull(stage):
    _, js = await stream(stage, "pull")
    puller = await js.pull_subscribe("pull.*", durable="puller", config=ConsumerConfig(ack_wait=2 * PATIENCE))
    sent = await publish_through_rotation(stage, js, "pull.a")
    for number in range(sent, sent + 40):
        await js.publish("pull.a", str(number).encode())
    got, times = [], set()

    async def step(number):
        if len(got) < sent + 40:
            for message in await puller.fetch(1, timeout=PATIENCE):
                got.append(int(message.data))
                times.add(message.metadata.num_delivered)
                await message.ack()

    await stage.through_rotation(step)
    while len(got) < sent + 40:
        await step(0)
    info = await puller.consumer_info()
    stage.say("got", got == list(range(sent + 40)), "deliveries of each", times)
    stage.say("left", info.num_pending, "again", info.num_redelivered)


async def ordered_consumer(stage):
    _, js = await stream(stage, "ordered")
    for number in range(100):
        await js.publish("ordered.a", str(number).encode())
    messages = await js.subscribe("ordered.*", ordered_consumer=True)
    got = []

    async def step(number):
        await js.publish("ordered.a", str(100 + number).encode())
        got.append(int((await next_of(messages)).data))

    sent = await stage.through_rotation(step)
    while len(got) < 100 + sent:
        got.append(int((await next_of(messages)).data))
    stage.say("in order", got == list(range(100 + sent)))


async def key_value_watch(stage):
    client = await stage.connect()
    kv = await client.jetstream(timeout=PATIENCE).create_key_value(bucket="prices", history=5)
    await kv.put("apple", b"1")
    watcher = await kv.watchall()
    entry = await watcher.updates(timeout=PATIENCE)
    stage.say("first", entry.key, entry.value, entry.revision, "then", await watcher.updates(timeout=PATIENCE))

    async def step(number):
        await kv.put("pear", str(number).encode())

    sent = await stage.through_rotation(step)
    got = [await watcher.updates(timeout=PATIENCE) for _ in range(sent)]
    stage.say("values", [int(entry.value) for entry in got] == list(range(sent)))
    stage.say("revisions", [entry.revision for entry in got] == list(range(2, sent + 2)))
    await kv.delete("apple")
    entry = await watcher.updates(timeout=PATIENCE)
    stage.say(entry.key, entry.value, entry.operation, entry.revision - sent)
    stage.say("keys", await kv.keys(), "history", [entry.operation for entry in await kv.history("apple")])
    await watcher.stop()


async def object_store(stage):
    client = await stage.connect()
    store = await client.jetstream(timeout=PATIENCE).create_object_store("blobs")
    blob = bytes(range(256)) * 8192
    digests = set()

    async def step(number):
        name = f"blob-{number % 3}"
        await store.put(name, blob, meta=ObjectMeta(description="two mebibytes"))
        digests.add(hashlib.sha256((await store.get(name)).data).hexdigest())

    await stage.through_rotation(step)
    stage.say("came back as it was", digests == {hashlib.sha256(blob).hexdigest()})
    info = await store.get_info("blob-1")
    stage.say(info.name, info.size, info.chunks, info.digest, info.description)
    stage.say("names", sorted(entry.name for entry in await store.list()))


ALL = [jetstream_push, jetstream_pull, ordered_consumer, key_value_watch, object_store]
