"""Plain calls of `memoize(disk=…)`, which nobody leads: their names, what is kept in memory of them, and what is no hit.

The functions close over nothing, so that all their names on disk have one head.
"""

import asyncio
import dataclasses
import decimal
import itertools
import math
import random
import struct
import threading
import time

import pytest
from scrubjay import ManualClock, _canonical, _codec, _load, memoize, trace
from scrubjay._flight import Flight
from scrubjay._native import PYTHON, encode, key_digest
from waiting import WAIT, wait_until_waiting

RUNS = []


@pytest.fixture
def folder(tmp_path):
    RUNS.clear()
    return tmp_path / "cache"


def double(n, m=0):
    RUNS.append(n)
    return decimal.Decimal(2 * n + m)


def memo_of(folder, **options):
    """A new memory over a folder, with its first miss behind it: so the folder is open, and the names' head is known."""
    memo = memoize(double, disk=folder, **options)
    memo(-1)
    RUNS.clear()
    return memo


def tier_of(memo):
    return memo._parts.loader.disk


def name_of(memo, *args):
    return tier_of(memo).name(memo.locate(*args)[1], args).digest


def write(memo, n, value, **record):
    """Put an entry below a memo, as another process might have."""
    store = tier_of(memo)._opened().store
    record = {"codec": PYTHON, **record}
    payload = record.pop("payload", encode(value, None))
    store.put(name_of(memo, n), payload, function=tier_of(memo).origin.name, **record)


def numbers(random):
    yield from (0, 1, -1, 2**31, 2**62, -(2**62), 2**63 - 1, -(2**63), 2**63, 2**64, -(2**90), 10**400)
    yield from (0.0, -0.0, 0.5, -0.1, 1e16, 2.0**61, 2.0**62, -(2.0**63), 1e300, 5e-324, 2.0**-61, 2.0**-62, 2.0**-63)
    yield from (math.inf, -math.inf, math.nan, True, False)
    for _ in range(300):
        yield random.getrandbits(random.randrange(1, 100)) - random.getrandbits(random.randrange(1, 100))
        yield struct.unpack("d", random.randbytes(8))[0]
        yield random.randrange(-(10**6), 10**6) / 2 ** random.randrange(70)


def texts(random):
    yield from ("", "a", "\0", "ä", "\ud800", "x" * 200, b"", b"\0", b"y" * 200, None)
    for _ in range(100):
        text = "".join(chr(random.randrange(0x3000)) for _ in range(random.randrange(9)))
        yield text
        yield text.encode()


def test_plain_calls_have_the_names_that_python_gives_them(folder):
    memo, source = memo_of(folder), random.Random(7)
    tier = tier_of(memo)
    values = [*numbers(source), *texts(source)]
    fast = 0
    for value, other in itertools.zip_longest(values, values[1:]):
        _, key = memo.locate(value, other)
        parts = [part for name, part in tier._named(key) for part in (name, _canonical.argument(part))]
        slow = key_digest("python", tier._head + _canonical.encoded(parts))
        named = tier._reader.name(key)
        assert named in (slow, None), (value, other)
        assert tier.name(key, ()).digest == slow
        fast += named is not None
    assert fast > 400
    for value in (1, 2**70, "a", b"a", None, True, 0.1, 7.0):
        assert tier._reader.name(memo.locate(value)[1]) is not None


def test_arguments_that_are_more_than_their_type_says_are_not_plain(folder):
    class Number(int):
        pass

    class Text(str):
        __slots__ = ()

    reader, memo = tier_of(memo_of(folder))._reader, memo_of(folder)
    for value in (Number(1), Text("a"), (1,), frozenset(), decimal.Decimal(1), [1], double):
        assert reader.name(memo.locate(value)[1]) is None
    assert reader.name(memo.locate(1)[1]) is not None


def test_a_plain_call_is_found_without_a_run_and_counted_once(folder):
    memo_of(folder)(3)
    for options in ({}, {"maxsize": 0}, {"copy": "deep"}):
        again = memo_of(folder, **options)
        begun = again.stats()
        assert again(3) == again(n=3) == again(3, 0) == 6 and RUNS == []
        stats = again.stats()
        hits = 3 if options == {"maxsize": 0} else 1
        assert (stats.disk_hits - begun.disk_hits, stats.disk_misses - begun.disk_misses) == (hits, 0)
        assert (stats.misses - begun.misses, stats.hits - begun.hits, stats.loads) == (hits, 3 - hits, begun.loads)


def test_a_plain_miss_is_counted_once_and_runs_once_for_all_threads(folder):
    memo = memo_of(folder, maxsize=0)
    begun, start = memo.stats(), threading.Barrier(8)

    def ask():
        start.wait()
        assert memo(5) == 10

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    stats = memo.stats()
    assert RUNS == [5] and stats.loads - begun.loads == 1
    assert (stats.misses - begun.misses, stats.disk_misses - begun.disk_misses) == (8, 1)


def test_nobody_else_runs_while_a_result_is_on_its_way_to_the_disk(folder, monkeypatch):
    memo, others = memo_of(folder, maxsize=0), []
    tier, other = tier_of(memo), threading.Thread(target=lambda: others.append(memo(5)))
    queue = tier.loaded

    def loaded(*args, **options):
        monkeypatch.undo()
        other.start()
        wait_until_waiting(1)
        queue(*args, **options)

    monkeypatch.setattr(tier, "loaded", loaded)
    assert memo(5) == 10
    other.join(WAIT)
    assert others == [10] and RUNS == [5]


def test_what_is_stored_between_the_first_look_and_the_lead_is_found(folder, monkeypatch):
    memo = memo_of(folder, maxsize=0)

    def late():
        monkeypatch.undo()
        assert memo(5) == 10
        return Flight()

    monkeypatch.setattr(_load, "Flight", late)
    assert memo(5) == 10 and RUNS == [5]


def test_coroutine_functions_are_answered_from_disk_too(folder):
    async def ask(memo):
        return [await memo(n) for n in (1, 2, 3, 2, 3)]

    assert asyncio.run(ask(memoize(load, disk=folder))) == [1, 2, 3, 2, 3]
    again = memoize(load, disk=folder, maxsize=0)
    assert asyncio.run(ask(again)) == [1, 2, 3, 2, 3] and RUNS == [1, 2, 3]
    assert again.stats().disk_hits == 5


async def load(n):
    RUNS.append(n)
    return n


@pytest.mark.parametrize(
    "invalidate",
    [
        lambda memo: memo.invalidate(3),
        lambda memo: memo.invalidate_tag("doubles"),
        lambda memo: memo.cache_clear(),
        lambda memo: tier_of(memo).hear("key", name_of(memo, 3)),
        lambda memo: tier_of(memo).hear("all", None),
    ],
)
def test_what_is_invalidated_while_it_is_read_is_not_kept_in_memory(folder, monkeypatch, invalidate):
    memo_of(folder, tags=["doubles"])(3)
    again = memo_of(folder, tags=["doubles"])
    memory, key = again.locate(3)

    def restore(state):
        monkeypatch.undo()
        invalidate(again)
        return decimal.Decimal(state)

    monkeypatch.setitem(_codec._RESTORERS, "decimal", restore)
    assert again(3) == 6 and RUNS == []
    assert not memory.contains(key)
    # Nothing came between this time.
    assert again(4) == 8 and memory.contains(again.locate(4)[1])


def test_callers_that_read_at_the_same_time_get_one_object(folder, monkeypatch):
    memo_of(folder)(3)
    again, first = memo_of(folder), []

    def restore(state):
        monkeypatch.undo()
        first.append(again(3))
        return decimal.Decimal(state)

    monkeypatch.setitem(_codec._RESTORERS, "decimal", restore)
    assert again(3) is first[0] is again(3) and RUNS == []


def test_what_was_found_is_invalidated_in_memory_with_the_disk(folder):
    memo_of(folder, tags=["doubles"])(3)
    again = memo_of(folder, tags=["doubles"])
    assert again(3) == 6
    tier_of(again).hear("tag", "doubles")
    assert not again.locate(3)[0].contains(again.locate(3)[1])
    assert again(3) == 6
    tier_of(again).hear("key", name_of(again, 3))
    assert not again.locate(3)[0].contains(again.locate(3)[1]) and RUNS == []


def test_the_rest_of_a_life_goes_on_in_memory(folder):
    memo, now = memo_of(folder, ttl=60), time.time()
    write(memo, 3, "early", written=now, expires=now + 5)
    write(memo, 4, "by today's ttl", written=now - 50)
    write(memo, 5, "by its own end", written=now - 50, expires=now + 1000)
    for n, value, life in ((3, "early", 5), (4, "by today's ttl", 10), (5, "by its own end", 10)):
        assert memo(n) == value
        memory, key = memo.locate(n)
        assert life - 3 < memory.ttl_left(key) <= life
    assert RUNS == []


@pytest.mark.parametrize(
    "record",
    [
        {"expires": -1},
        {"expires": -1, "stale_until": 1000},
        {"written": -61},
        {"written": 10, "expires": 1000},
    ],
    ids=["expired", "stale, which is not asked for", "older than today's ttl", "written in the future"],
)
@pytest.mark.parametrize("maxsize", [0, 10])
def test_what_is_not_fresh_is_computed_again(folder, record, maxsize):
    memo, now = memo_of(folder, ttl=60, maxsize=maxsize), time.time()
    write(memo, 3, "old", **{name: now + seconds for name, seconds in record.items()})
    begun = memo.stats()
    assert memo(3) == 6 and RUNS == [3]
    assert memo.stats().disk_misses - begun.disk_misses == 1
    assert memo(3) == 6 and RUNS == [3]


def test_a_stale_entry_is_served_and_refreshed(folder):
    memo, now = memo_of(folder, ttl=60, stale=600), time.time()
    write(memo, 3, "stale", written=now - 61, expires=now - 1, stale_until=now + 500)
    assert memo(3) == "stale"
    [thread.join() for thread in threading.enumerate() if thread.name == "scrubjay-refresh"]
    assert memo(3) == 6 and RUNS == [3] and memo.stats().refreshes == 1


@pytest.mark.parametrize(
    "record",
    [{"payload": b"\1junk"}, {"codec": 9}, {"payload": encode(complex(1), None)[:-1]}],
    ids=["junk", "another codec", "cut short"],
)
def test_what_cannot_be_decoded_is_one_miss_and_one_failure(folder, record):
    memo = memo_of(folder, maxsize=0)
    write(memo, 3, None, **record)
    begun = memo.stats()
    with pytest.warns(RuntimeWarning, match="taken as a miss") as said:
        assert memo(3) == 6
    stats = memo.stats()
    assert len(said) == 1 and RUNS == [3]
    assert (stats.disk_misses - begun.disk_misses, stats.disk_failures, stats.disk_hits) == (1, 1, begun.disk_hits)


def test_an_interrupt_while_a_value_comes_back_reaches_the_caller(folder, monkeypatch):
    memo_of(folder)(3)
    again = memo_of(folder)

    def restore(state):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(_codec._RESTORERS, "decimal", restore)
        with pytest.raises(KeyboardInterrupt):
            again(3)
    assert again(3) == 6 and RUNS == []


def test_a_store_that_cannot_be_invalidated_is_not_believed(folder):
    memo_of(folder)(3)
    again = memo_of(folder)
    store = tier_of(again)._opened().store
    assert not store.is_distrusted
    store.distrust()
    assert store.is_distrusted and again(3) == 6 and RUNS == [3]


def test_options_that_change_what_is_kept_are_asked(folder):
    memo_of(folder)(3)
    weights = []
    weighed = memo_of(folder, weigh=lambda value: weights.append(value) or 1)
    never = memo_of(folder, when=lambda n, m=0: n < 0)
    timed = memo_of(folder, clock=ManualClock(), maxsize=0)
    weights.clear()
    assert weighed(3) == 6 and weights == [6]
    assert never(3) == 6 and RUNS == [3]
    assert timed(3) == 6 and RUNS == [3]


def test_a_remembered_error_stays_although_the_disk_has_a_value(folder):
    def fail(n):
        raise LookupError(n)

    memo = memoize(fail, disk=folder, errors=60)
    with pytest.raises(LookupError):
        memo(3)
    write(memo, 3, "value")
    with pytest.raises(LookupError):
        memo(3)


def test_traces_tell_what_came_from_disk(folder):
    memo_of(folder)(3)
    again = memo_of(folder)
    with trace() as calls:
        again(3), again(4)
    assert [call.outcome for call in calls.calls] == ["disk", "miss"]


@dataclasses.dataclass
class Owner:
    unit: str


def test_a_function_that_becomes_a_method_is_named_by_its_instance(folder):
    memo = memo_of(folder)
    memo.__set_name__(Owner, "double")
    assert name_of(memo, Owner("a"), 3) == name_of(memo, Owner("a"), 3) != name_of(memo, Owner("b"), 3)
