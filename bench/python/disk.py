"""The rows of the disk tier, beside diskcache's `FanoutCache` of 16 shards: values of 1 KiB that do not compress.

Time is the wall's, because writes behind the caller's back are another thread's; such writes are timed until all are on disk.
"""

import os
import tempfile
import time

import diskcache
import scrubjay
import scrubjay.compat.diskcache
from scrubjay._native import Store, key_digest

PEER = "diskcache.FanoutCache"
KEYS = 2_000
VALUE = os.urandom(1024)
folders = []


def folder():
    folders.append(tempfile.TemporaryDirectory(prefix="scrubjay-bench-"))
    return folders[-1].name


def per_key(use, keys, finish=lambda: None):
    """Nanoseconds of a use, over all keys."""
    begun = time.perf_counter()
    for key in keys:
        use(key)
    finish()
    return (time.perf_counter() - begun) / len(keys) * 1e9


def hits(get):
    assert all(get(key) == VALUE for key in range(KEYS))
    return lambda: per_key(get, range(KEYS))


def writes(put, finish=lambda: None):
    """Each round writes keys of its own."""
    state = {"next": KEYS}

    def once():
        state["next"] += KEYS
        return per_key(put, range(state["next"] - KEYS, state["next"]), finish)

    once()
    return once


def filled(cache):
    for key in range(KEYS):
        cache.set(key, VALUE)
    return cache


def rows(row):
    """What `row(name, peer, theirs, ours)` makes of each pair."""
    theirs = filled(diskcache.FanoutCache(folder(), shards=16))
    ours = filled(scrubjay.compat.diskcache.FanoutCache(folder(), shards=16, timeout=10))
    store = Store(folder())
    digests = [key_digest("bench", b"%d" % key) for key in range(KEYS * 200)]

    def put(key):
        store.put(digests[key], VALUE)

    def get(key):
        return store.get(digests[key]).payload

    for key in range(KEYS):
        put(key)
    store.flush()
    yield row("disk hit, 1 KiB: compat.diskcache", PEER, hits(theirs.get), hits(ours.get))
    yield row("disk hit, 1 KiB: the store", PEER, hits(theirs.get), hits(get))
    yield row(
        "put, 1 KiB: compat.diskcache, write-through",
        PEER,
        writes(lambda key: theirs.set(key, VALUE)),
        writes(lambda key: ours.set(key, VALUE)),
    )
    yield row(
        "put, 1 KiB: the store, write-back, drained",
        PEER,
        writes(lambda key: theirs.set(key, VALUE)),
        writes(put, store.flush),
    )
    yield from memoize_rows(row, theirs)


def memoize_rows(row, theirs):
    at = folder()
    below = scrubjay.memoize(lambda key: VALUE, disk=at, maxsize=0)
    above = scrubjay.memoize(lambda key: VALUE, disk=folder())
    drain = Store(at).flush
    written = writes(below, drain)
    for key in range(KEYS):
        below(key), above(key)
    drain()
    yield row("disk hit, 1 KiB: memoize, memory off", PEER, hits(theirs.get), hits(below))
    yield row(
        "miss, 1 KiB: memoize, write-back, drained",
        PEER,
        writes(lambda key: theirs.set(key, VALUE)),
        written,
    )
    yield row("hit in memory over a disk tier", PEER, hits(theirs.get), hits(above))
