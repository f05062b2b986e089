"""The other side of `disk`: diskcache's FanoutCache(16), told by lines on standard input what to do.

Each line is a command with arguments; each is answered by one line: nanoseconds for one operation, by the clock on the wall
and by the processor time of the process.
`peer.py writer DIR FIRST COUNT SIZE` is one of several processes: it says "ready", and begins when a line comes.
"""

import os
import random
import sys
import time

import diskcache

# The default of 10 ms makes writes fail silently beside another writer.
TIMEOUT = 60


def opened(path):
    return diskcache.FanoutCache(path, shards=16, timeout=TIMEOUT)


def value(key, filler):
    return key.to_bytes(8, "little") + filler


def timed(count, work):
    start, busy = time.perf_counter_ns(), time.process_time_ns()
    work()
    wall, busy = time.perf_counter_ns() - start, time.process_time_ns() - busy
    return f"{wall / count} {busy / count}"


def put(path, first, count, size):
    filler = os.urandom(size - 8)
    cache = opened(path)

    def work():
        for key in range(first, first + count):
            if not cache.set(key, value(key, filler)):
                raise RuntimeError("a value was not stored")

    took = timed(count, work)
    cache.close()
    return took


def get(path, first, count, size):
    keys = list(range(first, first + count))
    random.Random(7).shuffle(keys)
    cache = opened(path)

    def work():
        for key in keys:
            if len(cache.get(key)) != size:
                raise RuntimeError("a value is missing")

    took = timed(count, work)
    cache.close()
    return took


def reopen(path, count):
    def work():
        for _ in range(count):
            opened(path).close()

    return timed(count, work)


COMMANDS = {"put": put, "get": get, "open": reopen}


def answer(line):
    command, path, *numbers = line.rstrip("\n").split("\t")
    return COMMANDS[command](path, *map(int, numbers))


def main():
    if sys.argv[1:2] == ["writer"]:
        path, (first, count, size) = sys.argv[2], map(int, sys.argv[3:])
        print("ready", flush=True)
        sys.stdin.readline()
        print(put(path, first, count, size), flush=True)
        return
    for line in sys.stdin:
        print(answer(line), flush=True)


main()
