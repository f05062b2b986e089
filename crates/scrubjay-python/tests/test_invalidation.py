"""What is invalidated is gone, and a run that began before is never stored."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from scrubjay import Cache, memoize
from waiting import WAIT, Gate, wait_until_waiting


def test_a_key_a_tag_and_everything_can_be_invalidated():
    memo = memoize(lambda user, page: (user, page), tags=lambda user, page: [f"user:{user}", f"page:{page}"])
    for user in (1, 2):
        for page in (1, 2):
            memo(user, page)
    assert memo.invalidate(1, 1) is True and memo.invalidate(1, 1) is False
    assert memo.invalidate_tag("user:2") == 2 and memo.invalidate_tag("user:2") == 0
    assert memo.cache_info().currsize == 1
    memo.cache_clear()
    assert memo.cache_info() == (0, 0, None, 0)


def test_what_is_no_call_cannot_be_invalidated_or_looked_for():
    memo = memoize(lambda user, page=1: (user, page))
    memo(1)
    for ask in memo.invalidate, memo.contains:
        for call in (lambda: ask(), lambda: ask(1, 2, 3), lambda: ask(usr=1), lambda: ask(1, user=1)):
            with pytest.raises(TypeError):
                call()
    assert memo.contains(1)


def test_tags_that_a_function_returns_are_strings_in_an_iterable():
    for tags in ("user", None, 3, [3]):
        with pytest.raises(TypeError, match="tag"):
            memoize(lambda user: user, tags=lambda _user: tags)(1)


def test_a_tag_forgets_entries_that_were_replaced_or_evicted():
    cache = Cache(maxsize=2)
    cache.set("a", 1, tags=["t"])
    cache.set("a", 2, tags=["u"])
    assert cache.invalidate_tag("t") == 0 and cache["a"] == 2
    cache.set("b", 1, tags=["v", "v"])
    cache["c"] = 1
    assert cache.invalidate_tag("u") == 0
    assert cache.invalidate_tag("v") == 1 and list(cache) == ["c"]


INVALIDATIONS = {
    "key": lambda memo: memo.invalidate(1),
    "tag": lambda memo: memo.invalidate_tag("t"),
    "all": lambda memo: memo.cache_clear(),
}


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_a_run_that_began_before_an_invalidation_is_not_stored(what):
    gate, runs = Gate(), []

    @memoize(tags=["t"])
    def function(a):
        runs.append(a)
        if len(runs) == 1:
            gate.pass_through()
        return len(runs)

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(function, 1)
        assert gate.begun.wait(WAIT)
        INVALIDATIONS[what](function)
        gate.opened.set()
        leader.result(WAIT)
    assert not function.contains(1)
    assert function(1) == 2 and function.contains(1)


@pytest.mark.parametrize("what", INVALIDATIONS)
def test_who_asks_after_an_invalidation_gets_a_value_computed_after_it(what):
    gate, versions, source = Gate(), [], ["old"]

    @memoize(tags=["t"])
    def function(a):
        seen = source[0]
        versions.append(seen)
        if len(versions) == 1:
            gate.pass_through()
        return seen

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(function, 1)
        assert gate.begun.wait(WAIT)
        source[0] = "new"
        INVALIDATIONS[what](function)
        late = pool.submit(function, 1)
        if what == "tag":
            # Which tags the run will bring is not known yet, so the late caller waits for it, and asks again.
            wait_until_waiting(1)
        gate.opened.set()
        assert late.result(WAIT) == "new"
        assert leader.result(WAIT) == "old"
    assert function(1) == "new"


def test_a_tag_invalidated_during_a_run_keeps_other_tags_out_of_it():
    gate = Gate()
    memo = memoize(lambda: gate.pass_through() or 1, tags=["mine"])
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(memo)
        assert gate.begun.wait(WAIT)
        memo.invalidate_tag("another")
        gate.opened.set()
        leader.result(WAIT)
    assert memo.contains()


def test_a_slow_run_does_not_overwrite_a_newer_value():
    gate, cache = Gate(), Cache()
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(cache.get_or_compute, "k", lambda: gate.pass_through() or "slow")
        assert gate.begun.wait(WAIT)
        cache["k"] = "newer"
        gate.opened.set()
        assert leader.result(WAIT) == "slow"
    assert cache["k"] == "newer"


def test_entries_and_invalidations_from_many_threads_leave_consistent_counts():
    cache, stop = Cache(maxsize=50, weigh=lambda value: value), threading.Event()

    def churn(seed):
        import random

        rng = random.Random(seed)
        for _ in range(3000):
            key = rng.randrange(80)
            action = rng.randrange(6)
            if action == 0:
                cache.set(key, rng.randrange(5), tags=[f"t{key % 7}"])
            elif action == 1:
                cache.invalidate_tag(f"t{rng.randrange(7)}")
            elif action == 2:
                cache.invalidate(key)
            elif action == 3 and rng.randrange(50) == 0:
                cache.clear()
            else:
                cache.get_or_compute(key, lambda: 3)
            assert cache.stats().weight <= 50

    threads = [threading.Thread(target=churn, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    stop.set()
    values = list(cache.values())
    assert cache.stats().entries == len(values) == len(cache)
    assert cache.stats().weight == sum(values)
