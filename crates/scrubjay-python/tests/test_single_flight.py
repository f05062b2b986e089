"""Once: concurrent callers of one key share one run. No hang: a run that would wait for itself computes."""

import contextvars
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from scrubjay import Cache, memoize
from scrubjay._native import Flight
from waiting import WAIT, Gate, wait_until_waiting


def test_sixteen_threads_run_the_function_once():
    gate, runs = Gate(), []

    @memoize
    def function(a):
        runs.append(a)
        gate.pass_through()
        return object()

    with ThreadPoolExecutor(16) as pool:
        results = [pool.submit(function, 1) for _ in range(16)]
        wait_until_waiting(15)
        gate.opened.set()
        assert len({result.result(WAIT) for result in results}) == 1
    assert runs == [1]
    stats = function.stats()
    assert (stats.loads, stats.waits, stats.misses) == (1, 15, 16)


def test_other_keys_do_not_wait():
    gate = Gate()

    @memoize
    def function(a):
        if a == 1:
            gate.pass_through()
        return a

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(function, 1)
        assert gate.begun.wait(WAIT)
        assert function(2) == 2
        gate.opened.set()
        assert slow.result(WAIT) == 1


def test_waiters_share_the_error_of_a_run_that_raises():
    gate, runs = Gate(), []

    @memoize
    def function():
        runs.append(1)
        gate.pass_through()
        raise OSError("down")

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(function) for _ in range(4)]
        wait_until_waiting(3)
        gate.opened.set()
        for result in results:
            with pytest.raises(OSError, match="down"):
                result.result(WAIT)
    assert len(runs) == 1


def test_when_a_leader_is_interrupted_a_waiter_takes_over():
    gate, runs = Gate(), []

    @memoize
    def function():
        runs.append(1)
        if len(runs) == 1:
            gate.pass_through()
            raise KeyboardInterrupt
        return "done"

    with ThreadPoolExecutor(3) as pool:
        leader = pool.submit(function)
        assert gate.begun.wait(WAIT)
        waiters = [pool.submit(function) for _ in range(2)]
        wait_until_waiting(2)
        gate.opened.set()
        with pytest.raises(KeyboardInterrupt):
            leader.result(WAIT)
        assert [waiter.result(WAIT) for waiter in waiters] == ["done", "done"]
    assert len(runs) == 2


def test_a_run_that_calls_itself_with_its_own_key_computes():
    depth = []

    @memoize
    def function(a):
        depth.append(a)
        return function(a) + 1 if len(depth) < 5 else 0

    assert function(1) == 4
    assert function(1) == 4 and len(depth) == 5


def test_endless_recursion_ends_in_a_recursion_error():
    @memoize
    def function(a):
        return function(a)

    with pytest.raises(RecursionError):
        function(1)


def test_two_runs_that_need_each_other_across_threads_compute():
    barrier = threading.Barrier(2)
    runs = []

    @memoize
    def function(a):
        runs.append(a)
        if len(runs) <= 2:
            barrier.wait(WAIT)
            return (a, function(1 - a))
        return (a, None)

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(function, a) for a in (0, 1)]
        values = [result.result(WAIT) for result in results]
    assert [value[0] for value in values] == [0, 1]
    assert len(runs) == 3


def test_a_ring_of_runs_over_many_threads_computes():
    size = 6
    barrier = threading.Barrier(size)
    first = threading.local()

    @memoize
    def function(a):
        if not getattr(first, "passed", False):
            first.passed = True
            barrier.wait(WAIT)
            return 1 + function((a + 1) % size)
        return 1

    with ThreadPoolExecutor(size) as pool:
        results = [pool.submit(function, a) for a in range(size)]
        assert all(result.result(WAIT) >= 2 for result in results)


def test_cycles_through_two_functions_and_a_cache_compute():
    barrier = threading.Barrier(2)
    cache = Cache()
    met = []

    @memoize
    def left():
        if len(met) < 2:
            met.append(1)
            barrier.wait(WAIT)
        return cache.get_or_compute("key", right)

    def right():
        if len(met) < 2:
            met.append(1)
            barrier.wait(WAIT)
            return left()
        return "end"

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(left), pool.submit(cache.get_or_compute, "key", right)]
        assert {result.result(WAIT) for result in results} == {"end"}


def test_what_a_run_left_behind_waits_like_anyone_else():
    """A thread that a run began, and that outlives it, is inside of a run that nobody waits for any more."""
    gate, left, runs = Gate(), [], []

    @memoize
    def outer():
        left.append(contextvars.copy_context())

    @memoize
    def function():
        runs.append(1)
        gate.pass_through()
        return 1

    outer()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(function)
        assert gate.begun.wait(WAIT)
        waiter = pool.submit(left[0].run, function)
        wait_until_waiting(1)
        gate.opened.set()
        assert (leader.result(WAIT), waiter.result(WAIT)) == (1, 1)
    assert runs == [1]


def test_a_wait_for_a_run_that_is_over_closes_no_cycle():
    over, running = Flight(), Flight()
    assert over.join((running,), lambda: None)
    # Whoever waited is woken, and has not come to leave yet.
    over.land()
    assert running.join((over,), lambda: None)
    running.land()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="threads inherit no context")
def test_where_threads_inherit_their_context_a_cycle_through_a_bare_thread_computes():
    program = """
        import threading
        from scrubjay import memoize

        @memoize
        def function(depth):
            if runs:
                return "inner"
            runs.append(1)
            results = []
            thread = threading.Thread(target=lambda: results.append(function(depth)))
            thread.start()
            thread.join()
            return results[0]

        runs = []
        assert function(1) == "inner"
    """
    command = [sys.executable, "-X", "thread_inherit_context=1", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr


def test_a_waiter_that_is_interrupted_leaves_the_others_alone():
    gate, interrupted = Gate(), threading.Event()

    @memoize
    def function():
        gate.pass_through()
        return 1

    def interrupt(number, frame):
        if not interrupted.is_set():
            interrupted.set()
            raise TimeoutError

    def interrupt_the_main_thread():
        wait_until_waiting(2)
        # A signal that comes just before the thread blocks is handled after it, so one may not be enough.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        while not interrupted.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(3) as pool:
            leader = pool.submit(function)
            assert gate.begun.wait(WAIT)
            waiter = pool.submit(function)
            wait_until_waiting(1)
            pool.submit(interrupt_the_main_thread)
            with pytest.raises(TimeoutError):
                function()
            gate.opened.set()
            assert (leader.result(WAIT), waiter.result(WAIT), function()) == (1, 1, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("step", ["depart", "arrive"])
def test_an_interrupt_between_two_steps_leaves_no_flight_behind(monkeypatch, step):
    from scrubjay import _flight

    original = getattr(_flight.Flight, step)

    def interrupted(flight):
        monkeypatch.setattr(_flight.Flight, step, original)
        raise KeyboardInterrupt

    memo = memoize(lambda a: a)
    monkeypatch.setattr(_flight.Flight, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        memo(1)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(memo, 1).result(WAIT) == 1
    assert memo.contains(1)


def test_runs_that_end_at_the_limit_of_recursion_leave_no_flight_behind():
    endless = True

    @memoize
    def function(n):
        return function(n + 1) if endless else n

    with pytest.raises(RecursionError):
        function(0)
    endless = False
    numbers = range(3000)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: [function(n) for n in numbers]).result(WAIT) == list(numbers)
    assert function.stats().waits == 0 and function.cache_info().currsize == 3000
