"""What a scenario has: connections whose callbacks are watched, a transcript, and the test that changes the world.

One JSON object a line. To the test: {"say": ...} is the transcript, {"ask": "rotate" | "restart"} waits for a line on
stdin, {"end": ...} ends a scenario. Nothing that differs between two runs (times, random names) may be said.
"""

import asyncio
import json
import sys
import traceback

import nats

PATIENCE = 10
# Steps that are taken while certificates change, even if that is over sooner.
LEAST_STEPS = 20


def tell(**message):
    print(json.dumps(message), flush=True)


class Stage:
    def __init__(self, url, scenario):
        self.url = url
        self.scenario = scenario
        self.connections = []
        # What the client noticed of its connections before the scenario closed them: the first of it.
        self.noticed = []

    def say(self, *words):
        tell(scenario=self.scenario, say=" ".join(str(word) for word in words))

    async def connect(self, name="client", **options):
        leaving = []

        def callback(what):
            async def notice(*cause):
                if not leaving and len(self.noticed) < 20:
                    self.noticed.append(" ".join([what, *map(repr, cause)]))

            return notice

        options = {
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 0.05,
            "connect_timeout": PATIENCE,
            **options,
        }
        connection = await nats.connect(
            self.url,
            name=f"{self.scenario}-{name}",
            disconnected_cb=callback("disconnected"),
            reconnected_cb=callback("reconnected"),
            error_cb=callback("error"),
            closed_cb=callback("closed"),
            **options,
        )
        self.connections.append((connection, leaving))
        return connection

    def leave(self, connection):
        """From now on its end is wanted."""
        for known, leaving in self.connections:
            if known is connection:
                leaving.append(True)

    async def ask(self, what):
        tell(scenario=self.scenario, ask=what)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(None, sys.stdin.readline)
        if answer.strip() != "done":
            raise RuntimeError(f"asked for {what}, got {answer!r}")

    async def rotate(self):
        await self.ask("rotate")

    async def through_rotation(self, step):
        """Takes steps all the while certificates change, and says how many that were."""
        rotation = asyncio.create_task(self.rotate())
        steps = 0
        while steps < LEAST_STEPS or not rotation.done():
            await step(steps)
            steps += 1
            await asyncio.sleep(0.001)
        await rotation
        return steps

    async def end(self):
        for connection, leaving in self.connections:
            leaving.append(True)
            await connection.close()
        tell(scenario=self.scenario, end=self.noticed)


async def settled(connection):
    """The server has taken everything that was sent. nats-py writes the PING of a flush ahead of commands that wait to
    be written; behind the answer nothing waits any more, and the second PING is behind all of them."""
    await connection.flush()
    await connection.flush()


async def next_of(messages, timeout=PATIENCE):
    return await messages.next_msg(timeout=timeout)


async def quiet(messages):
    """Whether nothing more comes."""
    try:
        await messages.next_msg(timeout=0.2)
        return False
    except (nats.errors.TimeoutError, asyncio.TimeoutError):
        return True


async def all_of(messages, count):
    """The next `count` messages, as numbers."""
    return [int((await next_of(messages)).data) for _ in range(count)]


async def run(url, scenarios):
    for scenario in scenarios:
        name = scenario.__name__
        stage = Stage(url, name)
        try:
            await asyncio.wait_for(scenario(stage), 6 * PATIENCE)
        except Exception as error:  # Whatever it is, it belongs into the transcript.
            stage.say("failed:", repr(error))
            # Where it was, for whoever reads the output of the test.
            traceback.print_exc()
        await stage.end()
