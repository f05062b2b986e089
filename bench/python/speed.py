"""What a call costs, beside the peers: one process, alternating rounds, ratios of medians.

    python speed.py [ROUNDS] [--markdown]

Each row times the same statement with a peer's decorator and with Scrubjay's, round after round in turn, so that what else the
machine does falls on both; time is the thread's own processor time, but the wall's where others
work for the caller (a large array, the disk tier in `disk.py`). A figure is the median of the rounds, the time of an
empty statement taken off; the ratio is the peer's by ours (above 1: Scrubjay is faster). Answers are checked before.
"""

import argparse
import asyncio
import functools
import gc
import statistics
import sys
import time
import timeit

import disk
import joblib
import numpy
import scrubjay
from async_lru import alru_cache
from cachetools.func import lru_cache as cachetools_lru_cache

CALLS = 50_000


class Row:
    """One row: a name, what the peer is, and two functions that return nanoseconds of a call."""

    def __init__(self, name, peer, theirs, ours):
        self.name, self.peer, self.theirs, self.ours = name, peer, theirs, ours

    def measure(self, rounds):
        theirs, ours = [], []
        for _ in range(rounds):
            theirs.append(self.theirs())
            ours.append(self.ours())
        theirs, ours = statistics.median(theirs), statistics.median(ours)
        return theirs, ours, theirs / ours


def timed(statement, answer, **names):
    """Nanoseconds of a statement, the loop around it not counted."""
    assert eval(statement, dict(names)) == answer, statement
    timer, empty = (
        timeit.Timer(statement, timer=time.thread_time, globals=names),
        timeit.Timer("pass", timer=time.thread_time),
    )
    timer.timeit(1000)

    def once():
        return (timer.timeit(CALLS) - empty.timeit(CALLS)) / CALLS * 1e9

    return once


def pair(name, peer, theirs, ours, make, statement, answer, **names):
    """A row whose two sides differ in the decorator only."""
    sides = [
        timed(statement, answer, f=make(decorator), **names)
        for decorator in (theirs, ours)
    ]
    return Row(name, peer, *sides)


def one(decorator):
    @decorator
    def f(a):
        return a

    return f


def two(decorator):
    @decorator
    def f(a, b):
        return a

    return f


def method(decorator):
    class Owner:
        @decorator
        def f(self, a):
            return a

    return Owner()


def drop_in_rows():
    theirs, ours = functools.lru_cache(maxsize=128), scrubjay.lru_cache(maxsize=128)
    peer = "functools.lru_cache"
    yield pair("hit, one int", peer, theirs, ours, one, "f(1)", 1)
    yield pair("hit, one str", peer, theirs, ours, one, "f(s)", "abc", s="abc")
    yield pair("hit, two positional", peer, theirs, ours, two, "f(1, 2)", 1)
    yield pair("hit, positional and keyword", peer, theirs, ours, two, "f(1, b=2)", 1)
    yield pair("hit, method", peer, theirs, ours, method, "f.f(1)", 1)
    yield pair("hit, unbounded", peer, functools.cache, scrubjay.cache, one, "f(1)", 1)
    yield Row(
        "miss, capacity 1024, all misses",
        peer,
        misses(functools.lru_cache),
        misses(scrubjay.lru_cache),
    )
    yield pair(
        "hit, one int",
        "cachetools.func.lru_cache",
        cachetools_lru_cache(128),
        ours,
        one,
        "f(1)",
        1,
    )


def memoize_rows():
    theirs, peer = functools.lru_cache(maxsize=128), "functools.lru_cache"
    bounded = scrubjay.memoize(maxsize=128, ttl=60)
    yield pair("memoize with ttl, hit, one int", peer, theirs, bounded, one, "f(1)", 1)
    yield pair(
        "memoize with ttl, hit, one keyword", peer, theirs, bounded, one, "f(a=1)", 1
    )
    yield pair(
        "memoize with ttl, hit, method", peer, theirs, bounded, method, "f.f(1)", 1
    )
    yield pair(
        "memoize without options, hit, one int",
        peer,
        theirs,
        scrubjay.memoize,
        one,
        "f(1)",
        1,
    )
    yield Row(
        "memoize, miss, capacity 1024",
        peer,
        misses(functools.lru_cache),
        misses(scrubjay.memoize),
    )
    yield Row(
        "async hit, await included",
        "async_lru",
        awaited(alru_cache),
        awaited(scrubjay.memoize),
    )
    yield Row("hash a 10 MB array", "joblib.hash", *arrays())


def misses(decorator):
    function = decorator(maxsize=1024)(lambda a: a)
    state = {"next": 0}

    def once():
        keys = list(range(state["next"], state["next"] + CALLS // 2))
        state["next"] += len(keys)
        begun = time.thread_time()
        for key in keys:
            function(key)
        return (time.thread_time() - begun) / len(keys) * 1e9

    once()
    assert function.cache_info().hits == 0 and function.cache_info().currsize == 1024
    return once


def awaited(decorator):
    @decorator
    async def function(a):
        return a

    async def loop():
        assert await function(1) == 1
        begun = time.thread_time()
        for _ in range(CALLS // 5):
            await function(1)
        return (time.thread_time() - begun) / (CALLS // 5) * 1e9

    event_loop = asyncio.new_event_loop()
    return lambda: event_loop.run_until_complete(loop())


def arrays():
    array = numpy.random.default_rng(1).random(10 * 1024 * 1024 // 8)
    memo = scrubjay.memoize(lambda a: 1)
    assert memo(array) == memo(array.copy()) == 1 and memo.cache_info().misses == 1

    def clock(function):
        def once():
            # The wall's time: large arrays are hashed by several threads.
            begun = time.perf_counter()
            function(array)
            return (time.perf_counter() - begun) * 1e9

        return once

    return clock(joblib.hash), clock(memo)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument(
        "--markdown", action="store_true", help="print a table for docs/benchmarks.md"
    )
    options = parser.parse_args()
    gc.disable()
    rows = [*drop_in_rows(), *memoize_rows(), *disk.rows(Row)]
    form = (
        "| {} | {} | {} | {} | {} |"
        if options.markdown
        else "{:<44} {:<26} {:>12} {:>12} {:>7}"
    )
    print(form.format("", "peer", "peer, ns", "scrubjay, ns", "ratio"))
    if options.markdown:
        print("|---|---|---:|---:|---:|")
    for number, row in enumerate(rows, 1):
        if sys.stderr.isatty():
            print(
                f"\r{number}/{len(rows)} {row.name:<40}",
                end="",
                file=sys.stderr,
                flush=True,
            )
        theirs, ours, ratio = row.measure(options.rounds)
        if sys.stderr.isatty():
            print("\r" + " " * 50 + "\r", end="", file=sys.stderr, flush=True)
        print(
            form.format(
                row.name, row.peer, f"{theirs:,.0f}", f"{ours:,.0f}", f"{ratio:.2f}"
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
