"""Threads that do everything at once: each answer is right, each bound holds, and every call is counted.

With a GIL, threads switch as often as the interpreter can; without one, they run at the same time.
"""

import asyncio
import copy
import gc
import random
import subprocess
import sys
import sysconfig
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from scrubjay import Cache, lru_cache, memoize
from scrubjay._folder import Opened
from scrubjay._native import Store, encode
from scrubjay.compat import diskcache
from waiting import WAIT

THREADS = 4
STEPS = 1500
MAXSIZE = 16
KEYS = 24


@pytest.fixture(autouse=True)
def threads_that_switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Mapping:
    """A `Cache` with the face of a memoized function."""

    def __init__(self, function):
        self.cache, self.function = Cache(maxsize=MAXSIZE), function
        self.cache_clear, self.invalidate = self.cache.clear, self.cache.invalidate

    def __call__(self, key):
        return self.cache.get_or_compute(key, self.function, key)

    def counts(self):
        stats = self.cache.stats()
        return stats.hits, stats.misses, len(self.cache)


def drop_in(function):
    return lru_cache(maxsize=MAXSIZE)(function)


def memoized(function):
    return memoize(function, maxsize=MAXSIZE)


def counts(cached):
    """Hits, misses and size."""
    if isinstance(cached, Mapping):
        return cached.counts()
    info = cached.cache_info()
    return info.hits, info.misses, info.currsize


FACES = pytest.mark.parametrize("make", [drop_in, memoized, Mapping])


def in_threads(work):
    """Runs `work(number)` in threads that begin together; raises what they raise."""
    together = threading.Barrier(THREADS)

    def begin(number):
        together.wait(WAIT)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [run.result(60) for run in [pool.submit(begin, number) for number in range(THREADS)]]


class Key:
    """Collides with every fourth key, and uses the cache again while it is compared."""

    again = None
    comparisons = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return self.number % 4

    def __eq__(self, other):
        Key.comparisons += 1
        if Key.comparisons % 16 == 0:
            Key.again()
        return type(other) is Key and self.number == other.number


class Value:
    """What is computed. Uses the cache again when it goes."""

    again = None

    def __init__(self, number):
        self.number = number

    def __del__(self):
        if self.number % 8 == 0:
            Value.again()


@FACES
def test_hits_misses_and_evictions_of_many_threads_are_right_and_counted(make):
    cached = make(lambda number: (number, str(number)))

    def work(seed):
        chosen = random.Random(seed)
        for _ in range(STEPS):
            number = chosen.randrange(KEYS)
            assert cached(number) == (number, str(number))
            assert counts(cached)[2] <= MAXSIZE

    in_threads(work)
    hits, misses, size = counts(cached)
    assert hits + misses == THREADS * STEPS and size == MAXSIZE
    assert hits and misses >= KEYS


@FACES
def test_keys_and_values_may_use_the_cache_while_it_is_changed(make):
    cached = make(lambda key: Value(key.number))
    Key.again, Value.again = (lambda: cached(Key(1))), (lambda: cached.invalidate(Key(2)))
    living = weakref.WeakSet()

    def work(seed):
        chosen = random.Random(seed)
        for step in range(STEPS // 2):
            number = chosen.randrange(KEYS)
            value = cached(Key(number))
            assert value.number == number
            if step % 10 == seed:
                living.add(value)
            del value
            if step % 37 == seed:
                cached.invalidate(Key(chosen.randrange(KEYS)))
            if step % 101 == seed:
                cached.cache_clear()
            if step % 149 == seed:
                gc.collect()
            assert counts(cached)[2] <= MAXSIZE

    try:
        in_threads(work)
    finally:
        Key.again = Value.again = lambda: None
    assert Key.comparisons
    cached.cache_clear()
    gc.collect()
    assert not list(living)


@pytest.mark.parametrize("make", [memoized, Mapping])
def test_no_thread_reads_what_it_has_invalidated(make):
    versions = [0] * KEYS
    changing = [threading.Lock() for _ in range(KEYS)]
    cached = make(lambda number: versions[number])

    def work(seed):
        chosen = random.Random(seed)
        for step in range(STEPS):
            number = chosen.randrange(KEYS)
            # The newest may be written and not yet invalidated.
            seen = versions[number]
            assert cached(number) >= seen - 1
            if step % 3 == 0:
                with changing[number]:
                    versions[number] += 1
                    written = versions[number]
                    cached.invalidate(number)
                assert cached(number) >= written

    in_threads(work)


def test_runs_and_waits_of_many_threads_are_counted():
    @memoize
    def function(number):
        return number

    def work(seed):
        for number in range(STEPS):
            assert function(number) == number

    in_threads(work)
    stats = function.stats()
    assert stats.loads == STEPS
    assert stats.hits + stats.misses == THREADS * STEPS


def test_methods_of_one_instance_share_one_memory_among_threads():
    class Owner:
        @memoize
        def method(self, number):
            runs.append(number)
            return number

    class Slotted:
        __slots__ = ("__weakref__",)

        @memoize
        def method(self, number):
            runs.append(number)
            return number

    for kind in Owner, Slotted:
        for _ in range(50):
            runs, owner = [], kind()
            assert in_threads(lambda _: owner.method(1)) == [1] * THREADS
            assert runs == [1]


def test_methods_of_a_copy_get_one_memory_of_its_own_among_threads():
    class Owner:
        @memoize
        def method(self, number):
            runs.append(number)
            return number

    original, runs = Owner(), []
    original.method(1)
    for _ in range(50):
        runs, owner = [], copy.copy(original)
        assert in_threads(lambda _: owner.method(1)) == [1] * THREADS
        assert runs == [1]


def test_what_many_threads_ask_of_a_disk_is_counted(tmp_path):
    @memoize(disk=tmp_path / "cache")
    def function(number):
        return number

    in_threads(lambda seed: [function(number) for number in range(seed, THREADS * STEPS, THREADS)])
    stats = function.stats()
    assert (stats.disk_misses, stats.disk_writes) == (THREADS * STEPS, THREADS * STEPS)
    calls = diskcache.Cache(tmp_path / "other", statistics=1)
    in_threads(lambda _: [calls.get("absent") for _ in range(STEPS)])
    assert calls.stats() == (0, THREADS * STEPS)


def test_a_folder_has_one_watcher_though_another_thread_comes_while_it_begins(tmp_path):
    class Meeting:
        """A store, at whose first watch another thread begins to use it."""

        def __init__(self):
            self._store, self.watched = Store(tmp_path / "cache"), 0

        def __getattr__(self, name):
            return getattr(self._store, name)

        def watch(self, since):
            self.watched += 1
            if self.watched == 1:
                coming = threading.Thread(target=opened.attach, args=(tiers[1],))
                coming.start()
                coming.join(WAIT)
            return self._store.watch(since)

    store, tiers = Meeting(), [Value(1), Value(1)]
    opened = Opened(store)
    opened.attach(tiers[0])
    opened.close()
    assert store.watched == 1


def test_a_dictionary_that_threads_change_is_encoded_as_it_was_at_some_moment():
    changed, done = dict.fromkeys(range(100)), threading.Event()

    def work(seed):
        if seed:
            while not done.is_set():
                changed[seed] = changed.pop(seed, None)
                changed.pop(-seed, None)
                changed[-seed] = None
            return
        try:
            for _ in range(STEPS):
                encode(changed, None)
        finally:
            done.set()

    in_threads(work)


def test_of_threads_that_await_one_hit_one_gets_it():
    @memoize
    async def function():
        return object()

    value = asyncio.run(function())
    for _ in range(200):
        hit = function()

        def take(_):
            try:
                hit.send(None)
            except StopIteration as stop:
                return stop.value
            except (RuntimeError, ValueError):
                # It was awaited, or another thread is about to.
                return None

        assert sorted(in_threads(take), key=id) == sorted([value, None, None, None], key=id)


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this build has a GIL")
def test_importing_scrubjay_leaves_the_gil_off():
    program = "import sys, scrubjay, scrubjay.compat.diskcache; sys.exit(sys._is_gil_enabled())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
