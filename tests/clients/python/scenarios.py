"""python3 scenarios.py URL (all | SCENARIO...): runs them one after another; see stage.py for what is printed."""

import asyncio
import sys

import core
import jetstream
from stage import run


def main(url, *names):
    if names == ("all",):
        scenarios = core.ALL + jetstream.ALL
    else:
        scenarios = [getattr(core, name) for name in names]
    asyncio.run(run(url, scenarios))


main(*sys.argv[1:])
