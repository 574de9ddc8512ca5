"""Core NATS: what a client does without JetStream. The certificates change in the middle of each."""

import asyncio
import json

import nats
from stage import PATIENCE, all_of, next_of, quiet, settled

MEBIBYTE = 1024 * 1024


async def publish(stage):
    publisher, observer = await stage.connect(), await stage.connect("observer")
    messages = await observer.subscribe("publish.>")
    await settled(observer)
    stage.say("largest payload", publisher.max_payload, "other servers", publisher.discovered_servers)
    for number in range(50):
        await publisher.publish("publish.before", str(number).encode())
    await settled(publisher)
    stage.say("before", await all_of(messages, 50) == list(range(50)))
    sent = await stage.through_rotation(lambda number: publisher.publish("publish.during", str(number).encode()))
    stage.say("during", await all_of(messages, sent) == list(range(sent)))
    for number in range(50):
        await publisher.publish("publish.after", str(number).encode())
    stage.say("after", await all_of(messages, 50) == list(range(50)), "no more", await quiet(messages))


async def subscribe(stage):
    subscriber, publisher = await stage.connect(), await stage.connect("publisher")
    exact = await subscriber.subscribe("orders.new")
    star = await subscriber.subscribe("orders.*")
    rest = await subscriber.subscribe("orders.>")
    await settled(subscriber)

    async def step(number):
        await publisher.publish("orders.new", str(number).encode())

    await step(-1)
    sent = await stage.through_rotation(step)
    for name, messages in (("exact", exact), ("star", star), ("rest", rest)):
        stage.say(name, await all_of(messages, sent + 1) == list(range(-1, sent)))
    await publisher.publish("orders.new.urgent", b"7")
    message = await next_of(rest)
    stage.say(message.subject, message.data)
    late = await subscriber.subscribe("late")
    await exact.unsubscribe()
    await settled(subscriber)
    await publisher.publish("orders.new", b"8")
    await publisher.publish("late", b"9")
    stage.say("late", await all_of(late, 1), "star", await all_of(star, 1), "no more", await quiet(star))


async def queue_groups(stage):
    first, second, publisher = await stage.connect(), await stage.connect("second"), await stage.connect("publisher")
    got = []

    async def work(message):
        got.append(int(message.data))

    for connection, members in ((first, 2), (second, 1)):
        for _ in range(members):
            await connection.subscribe("work", queue="workers", cb=work)
        await settled(connection)

    async def step(number):
        await publisher.publish("work", str(number).encode())

    sent = await stage.through_rotation(step)
    for number in range(sent, sent + 100):
        await step(number)
    await settled(publisher)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while len(got) < sent + 100 and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    stage.say("each to one member", sorted(got) == list(range(sent + 100)))


async def request_reply(stage):
    server, client = await stage.connect("server"), await stage.connect()

    async def answer(message):
        await message.respond(b"re: " + message.data)

    await server.subscribe("ask", cb=answer)
    await settled(server)
    answers = []

    async def step(number):
        answers.append((await client.request("ask", str(number).encode(), timeout=PATIENCE)).data)

    asked = await stage.through_rotation(step)
    stage.say("answered", answers == [b"re: %d" % number for number in range(asked)])
    old = await client.request("ask", b"old style", timeout=PATIENCE, old_style=True)
    stage.say(old.data)
    try:
        await client.request("nobody", b"?", timeout=PATIENCE)
    except nats.errors.NoRespondersError as error:
        stage.say("nobody:", error)


async def headers(stage):
    publisher, subscriber = await stage.connect(), await stage.connect("subscriber")
    messages = await subscriber.subscribe("headers")
    await settled(subscriber)

    async def step(number):
        await publisher.publish("headers", b"body", headers={"Number": str(number), "X-Empty": "", "X-Name": "a: b"})

    sent = await stage.through_rotation(step)
    got = [await next_of(messages) for _ in range(sent)]
    stage.say("in order", [message.headers["Number"] for message in got] == [str(n) for n in range(sent)])
    stage.say({**got[-1].headers, "Number": "last"}, got[-1].data)
    await publisher.publish("headers", b"", headers={"Only": "headers"})
    message = await next_of(messages)
    stage.say(message.headers, message.data)


async def auto_unsubscribe(stage):
    subscriber, publisher = await stage.connect(), await stage.connect("publisher")
    exact, late = await subscriber.subscribe("ten"), await subscriber.subscribe("ten")
    await exact.unsubscribe(limit=10)
    await settled(subscriber)
    for number in range(5):
        await publisher.publish("ten", str(number).encode())
    stage.say("before", await all_of(exact, 5), await all_of(late, 5))
    await stage.rotate()
    await late.unsubscribe(limit=7)
    await settled(subscriber)
    for number in range(5, 20):
        await publisher.publish("ten", str(number).encode())
    stage.say("after", await all_of(exact, 5), await all_of(late, 2))
    third = await subscriber.subscribe("ten")
    await settled(subscriber)
    await publisher.publish("ten", b"20")
    stage.say("a new one", await all_of(third, 1), "no more", await quiet(third))


async def no_echo(stage):
    silent, other = await stage.connect(no_echo=True), await stage.connect("other")
    messages = await silent.subscribe("echo")
    heard = await other.subscribe("echo")
    await settled(silent)
    await settled(other)

    async def step(number):
        await silent.publish("echo", str(number).encode())
        await other.publish("echo", str(1_000_000 + number).encode())

    sent = await stage.through_rotation(step)
    await settled(other)
    both = sorted(await all_of(heard, 2 * sent))
    own, others = list(range(sent)), list(range(1_000_000, 1_000_000 + sent))
    stage.say("the other hears both", both == own + others)
    stage.say("the silent one only the other", await all_of(messages, sent) == others, await quiet(messages))


async def verbose(stage):
    client = await stage.connect(verbose=True, pedantic=True)
    messages = await client.subscribe("verbose")

    async def step(number):
        await client.publish("verbose", str(number).encode())

    sent = await stage.through_rotation(step)
    await settled(client)
    stage.say("own messages", await all_of(messages, sent) == list(range(sent)), await quiet(messages))


async def drain(stage):
    client, publisher = await stage.connect(), await stage.connect("publisher")
    got, closed = [], asyncio.Event()

    async def slow(message):
        await asyncio.sleep(0.001)
        got.append(int(message.data))

    await client.subscribe("drain", cb=slow)
    part = await client.subscribe("part")
    await settled(client)

    async def step(number):
        await publisher.publish("drain", str(number).encode())

    sent = await stage.through_rotation(step)
    for number in range(sent, sent + 100):
        await step(number)
    await publisher.publish("part", b"1")
    await settled(publisher)
    # The server has sent it all; a round trip and it is here.
    await settled(client)
    stage.say("part", await all_of(part, 1))
    await part.drain()
    stage.leave(client)
    await client.drain()
    stage.say("all before the end", got == list(range(sent + 100)), "closed", client.is_closed)
    closed.set()


async def one_mebibyte(stage):
    publisher, subscriber = await stage.connect(), await stage.connect("subscriber")
    messages = await subscriber.subscribe("large", pending_bytes_limit=-1)
    await settled(subscriber)

    async def step(number):
        await publisher.publish("large", bytes([number % 251]) * MEBIBYTE)
        message = await next_of(messages)
        right.append(message.data == bytes([number % 251]) * MEBIBYTE)

    right = []
    await stage.through_rotation(step)
    stage.say("all whole", all(right))
    try:
        await publisher.publish("large", bytes(MEBIBYTE + 1))
    except nats.errors.MaxPayloadError as error:
        stage.say("one more byte:", error)


async def server_restarts(stage):
    """What may differ through the relay: its client notices nothing, a direct one reconnects."""
    client, publisher = await stage.connect(), await stage.connect("publisher")
    messages = await client.subscribe("restart.>")
    limited = await client.subscribe("restart.limited")
    await limited.unsubscribe(limit=3)
    await settled(client)
    await publisher.publish("restart.limited", b"1")
    stage.say("before", await all_of(messages, 1), await all_of(limited, 1))
    await stage.ask("restart")
    for connection in (client, publisher):
        await until(lambda: round_trip(connection))
    await stage.rotate()
    for number in range(2, 6):
        await publisher.publish("restart.limited", str(number).encode())
    stage.say("after", await all_of(messages, 4), await all_of(limited, 2), "no more", await quiet(messages))


async def round_trip(connection):
    if not connection.is_connected:
        return False
    await connection.flush(timeout=1)
    return True


async def until(holds):
    deadline = asyncio.get_running_loop().time() + 2 * PATIENCE
    while asyncio.get_running_loop().time() < deadline:
        try:
            if await holds():
                return
        except (nats.errors.Error, asyncio.TimeoutError, OSError):
            pass
        await asyncio.sleep(0.05)
    raise TimeoutError("not in time")


async def steady(stage):
    """A service that runs for a while: several rotations, nothing to be noticed."""
    service, client = await stage.connect("service"), await stage.connect()

    async def answer(message):
        await message.respond(message.data)

    await service.subscribe("steady", queue="service", cb=answer)
    await settled(service)
    right = []

    async def step(number):
        answer = await client.request("steady", str(number).encode(), timeout=PATIENCE)
        right.append(int(answer.data) == number)

    for _ in range(3):
        await stage.through_rotation(step)
    stage.say(json.dumps({"every request answered": all(right), "connected": client.is_connected}))


ALL = [
    publish,
    subscribe,
    queue_groups,
    request_reply,
    headers,
    auto_unsubscribe,
    no_echo,
    verbose,
    drain,
    one_mebibyte,
]
