"""Coroutine functions: one run for tasks, loops and threads together."""

import asyncio
import collections.abc
import gc
import inspect
import itertools
import sys
import threading

import pytest
from scrubjay import Cache, ManualClock, cached_property, memoize
from waiting import WAIT, wait_until_waiting


def run(coroutine):
    async def within():
        return await asyncio.wait_for(coroutine, WAIT)

    return asyncio.run(within())


class Source:
    """A coroutine function that is held until it is let go."""

    def __init__(self, **options):
        self.runs = 0
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.memo = memoize(self.run, **options)

    async def run(self, a=0):
        self.runs += 1
        self.begun.set()
        await self.release.wait()
        return self.runs


async def settle():
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_tasks_share_one_run():
    async def main():
        source = Source()
        tasks = [asyncio.create_task(source.memo(1)) for _ in range(16)]
        await settle()
        source.release.set()
        assert await asyncio.gather(*tasks) == [1] * 16
        assert source.runs == 1 and source.memo.stats().waits == 15

    run(main())


def test_a_hit_is_a_coroutine_to_whoever_asks():
    @memoize
    async def function(a):
        return (a, a)

    async def main():
        assert await function(1) == (1, 1)
        hit = function(1)
        assert isinstance(hit, collections.abc.Coroutine) and inspect.isawaitable(hit)
        assert await hit == (1, 1)
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await hit
        assert await asyncio.create_task(function(1)) == (1, 1)
        assert await asyncio.wait_for(function(1), WAIT) == (1, 1)
        assert await asyncio.gather(function(1), asyncio.shield(function(1))) == [(1, 1), (1, 1)]
        assert await asyncio.ensure_future(function(1)) == (1, 1)

    run(main())
    assert asyncio.run(function(1)) == (1, 1)
    assert function.cache_info().misses == 1


def test_coroutines_are_named_as_the_function_whether_they_load_or_not():
    @memoize
    async def function():
        return 1

    for _ in range(2):
        coroutine = function()
        assert inspect.iscoroutine(coroutine)
        assert coroutine.__name__ == "function" and coroutine.__qualname__ == function.__qualname__
        assert run(coroutine) == 1


@pytest.mark.parametrize("value", [None, (), (1, 2), StopIteration(3), OSError("kept")])
def test_any_value_survives_being_awaited_in_every_way(value):
    @memoize
    async def function():
        return value

    async def by_iteration():
        class Iterated:
            def __await__(self):
                return (yield from function().__await__())

        return await Iterated()

    assert run(function()) is value
    assert run(function()) is value
    assert run(by_iteration()) is value
    with pytest.raises(StopIteration) as stopped:
        function().send(None)
    assert stopped.value.value is value


def test_an_exception_thrown_into_a_hit_comes_back_out():
    @memoize
    async def function():
        return 1

    run(function())
    for thrown in (OSError("x"), KeyError):
        with pytest.raises(OSError if isinstance(thrown, OSError) else KeyError):
            function().throw(thrown)
    function().close()


def test_frameworks_see_a_coroutine_function():
    @memoize
    async def function():
        return 1

    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(function)
    if sys.version_info < (3, 14):
        assert asyncio.iscoroutinefunction(function)


def test_when_the_leader_is_cancelled_a_waiter_takes_over():
    async def main():
        source = Source()
        leader = asyncio.create_task(source.memo())
        await source.begun.wait()
        waiters = [asyncio.create_task(source.memo()) for _ in range(3)]
        await settle()
        leader.cancel()
        await settle()
        source.release.set()
        assert await asyncio.gather(*waiters) == [2, 2, 2]
        with pytest.raises(asyncio.CancelledError):
            await leader
        assert source.runs == 2

    run(main())


def test_when_every_caller_is_cancelled_the_run_is_and_the_next_call_begins_anew():
    async def main():
        source = Source()
        tasks = [asyncio.create_task(source.memo()) for _ in range(3)]
        await settle()
        for task in tasks[::-1]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        source.release.set()
        assert await source.memo() == 2

    run(main())


def test_a_waiter_that_is_cancelled_leaves_the_run_alone():
    async def main():
        source = Source()
        leader = asyncio.create_task(source.memo())
        await source.begun.wait()
        waiter = asyncio.create_task(source.memo())
        await settle()
        waiter.cancel()
        await settle()
        source.release.set()
        assert await leader == 1 and source.runs == 1

    run(main())


def test_loops_of_several_threads_share_one_run():
    runs, begun, release = [], threading.Event(), threading.Event()

    @memoize
    async def function():
        runs.append(1)
        begun.set()
        await asyncio.get_running_loop().run_in_executor(None, release.wait, WAIT)
        return object()

    results = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(function()))) for _ in range(4)]
    threads[0].start()
    assert begun.wait(WAIT)
    for thread in threads[1:]:
        thread.start()
    wait_until_waiting(3)
    release.set()
    for thread in threads:
        thread.join(WAIT)
    assert len(results) == 4 and len(set(results)) == 1 and len(runs) == 1


def test_a_loop_that_dies_in_the_middle_of_a_run_leaves_no_one_waiting():
    @memoize
    async def function():
        if first:
            await asyncio.get_running_loop().create_future()
        return "done"

    first = True
    loop = asyncio.new_event_loop()
    task = loop.create_task(function())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    first = False
    # Nobody drives the task any more; when it goes, its flight lands.
    task._log_destroy_pending = False
    del task, loop
    gc.collect()
    assert run(function()) == "done"


@pytest.mark.parametrize("end", ["stopped", "closed"])
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_task_whose_loop_does_not_run_keeps_no_one_waiting(end, place, tmp_path):
    @memoize(disk=tmp_path if place == "disk" else None)
    async def function(n):
        if not is_free.is_set():
            await asyncio.get_running_loop().create_future()
        return n

    is_free = threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(function(1))
    while function.stats().misses + function.stats().disk_misses < (2 if place == "disk" else 1):
        loop.run_until_complete(asyncio.sleep(0))
    if end == "closed":
        loop.close()
    is_free.set()
    assert run(function(1)) == 1 and function.stats().loads == 1
    if end == "stopped":
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        loop.close()
    else:
        task._log_destroy_pending = False


@pytest.mark.parametrize("waiter", ["thread", "task"])
def test_whoever_waits_for_a_task_goes_on_when_its_loop_ends(waiter, monkeypatch):
    monkeypatch.setattr("scrubjay._flight._LOOK_AT_LEAST", 0.01)
    cache, results = Cache(), []

    async def never():
        await asyncio.get_running_loop().create_future()

    async def at_once():
        return "task"

    def wait():
        if waiter == "thread":
            results.append(cache.get_or_compute("key", lambda: "thread"))
        else:
            results.append(run(cache.get_or_compute_async("key", at_once)))

    async def begin():
        task = asyncio.create_task(cache.get_or_compute_async("key", never))
        await asyncio.sleep(0)
        thread.start()
        await asyncio.to_thread(wait_until_waiting, 1)
        return task

    thread = threading.Thread(target=wait, daemon=True)
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    thread.join(WAIT)
    assert results == [waiter]
    task._log_destroy_pending = False


def test_a_coroutine_that_awaits_its_own_key_computes():
    depth = []

    @memoize
    async def function(a):
        depth.append(a)
        if len(depth) < 4:
            return 1 + await function(a)
        return 0

    assert run(function(1)) == 3


def test_a_task_that_a_run_awaits_may_ask_for_the_runs_key():
    depth = []

    @memoize
    async def function(a):
        depth.append(a)
        if len(depth) < 2:
            return 1 + await asyncio.create_task(function(a))
        return 0

    assert run(function(1)) == 1


def test_tasks_that_need_each_others_keys_compute():
    runs = []

    @memoize
    async def function(a):
        runs.append(a)
        await asyncio.sleep(0)
        if len(runs) <= 2:
            return a, await function(1 - a)
        return a, None

    async def main():
        return await asyncio.gather(function(0), function(1))

    values = run(main())
    assert [value[0] for value in values] == [0, 1] and len(runs) == 3


def test_errors_are_shared_and_remembered_as_in_plain_functions():
    clock, runs = ManualClock(), []

    @memoize(errors=5, clock=clock)
    async def function():
        runs.append(1)
        raise OSError("down")

    async def main():
        results = await asyncio.gather(*(function() for _ in range(4)), return_exceptions=True)
        assert [str(error) for error in results] == ["down"] * 4

    run(main())
    run(main())
    assert len(runs) == 1
    clock.advance(5)
    run(main())
    assert len(runs) == 2


def test_a_stale_result_is_refreshed_by_a_task():
    async def main():
        clock = ManualClock()
        source = Source(ttl=10, stale=5, clock=clock)
        source.release.set()
        assert await source.memo() == 1
        clock.advance(11)
        assert [await source.memo() for _ in range(3)][0] == 1
        await settle()
        assert await source.memo() == 2
        assert source.memo.stats().refreshes == 1

    run(main())


def test_coroutine_methods_have_a_memory_in_each_instance():
    class Owner:
        def __init__(self, name):
            self.name = name

        @memoize
        async def method(self, a):
            return self.name, a

        @cached_property
        async def value(self):
            return self.name

    async def main():
        ann, bob = Owner("ann"), Owner("bob")
        assert await ann.method(1) == ("ann", 1) and await bob.method(1) == ("bob", 1)
        assert await ann.method(1) == ("ann", 1) and Owner.method.cache_info().hits == 1
        assert await ann.value == "ann" == await ann.value

    run(main())


def test_a_cache_computes_for_threads_and_tasks_together():
    cache, runs, begun, release = Cache(), [], threading.Event(), threading.Event()

    def slow():
        runs.append(1)
        begun.set()
        release.wait(WAIT)
        return "value"

    async def never():
        raise AssertionError("the thread computes")

    async def main():
        loop = asyncio.get_running_loop()
        thread = loop.run_in_executor(None, cache.get_or_compute, "key", slow)
        await loop.run_in_executor(None, begun.wait, WAIT)
        task = asyncio.create_task(cache.get_or_compute_async("key", never))
        await settle()
        release.set()
        assert await task == "value" == await thread

    run(main())
    assert len(runs) == 1


def test_blocking_a_loop_on_its_own_task_is_refused():
    cache = Cache()

    async def slow():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "task"

    async def main():
        task = asyncio.create_task(cache.get_or_compute_async("key", slow))
        await asyncio.sleep(0)
        assert cache.get_or_compute("key", lambda: "thread") == "thread"
        assert await task == "task"

    run(main())


def test_runs_that_the_collector_ends_do_not_disturb_those_who_wait():
    class Pause:
        def __await__(self):
            yield

    class Cycle:
        pass

    @memoize
    async def abandoned(n):
        await Pause()

    def abandon():
        cycle = Cycle()
        cycle.me, cycle.run = cycle, abandoned(next(numbers))
        cycle.run.send(None)

    cache, barrier, numbers, before = Cache(), threading.Barrier(4), itertools.count(), gc.get_threshold()

    def ask():
        for n in range(200):
            barrier.wait(WAIT)
            abandon()
            assert cache.get_or_compute(n, lambda n=n: [Cycle() for _ in range(20)] and n) == n

    gc.set_threshold(1, 1, 1)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    # Had a flight stayed, this would wait for it, which needs a loop.
    for n in range(next(numbers)):
        pending = abandoned(n)
        pending.send(None)
        pending.close()
