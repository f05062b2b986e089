"""How long results are kept: time to live, staleness, remembered errors. Time stands still until a test moves it."""

import datetime
import threading

import pytest
from scrubjay import Cache, ManualClock, memoize


class Source:
    """Something to memoize: counts its runs, and raises as long as it is told to."""

    def __init__(self, **options):
        self.clock = ManualClock()
        self.runs = 0
        self.error = None
        self.memo = memoize(self.run, clock=self.clock, **options)

    def run(self, a=0):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return self.runs


def test_a_result_is_expired_at_exactly_its_time_to_live():
    source = Source(ttl=10)
    assert source.memo() == 1
    source.clock.advance(9.999999)
    assert source.memo() == 1 and len(source.memo._parts.memory) == 1
    source.clock.advance(0.000001)
    assert source.memo.cache_info().currsize == 0 and not source.memo.contains()
    assert source.memo() == 2


def test_a_time_to_live_is_seconds_a_timedelta_or_a_function_of_the_result():
    source = Source(ttl=datetime.timedelta(minutes=1))
    source.memo()
    source.clock.advance(59)
    assert source.memo() == 1
    source = Source(ttl=lambda result: 10 * result)
    source.memo()
    source.clock.advance(10)
    assert source.memo() == 2
    source.clock.advance(19)
    assert source.memo() == 2


def test_a_time_to_live_of_zero_stores_nothing_that_is_ever_seen():
    source = Source(ttl=0)
    assert (source.memo(), source.memo()) == (1, 2)


def test_jitter_shortens_lives_within_its_part():
    clock = ManualClock()
    cache = Cache(ttl=100, jitter=0.5, clock=clock)
    for key in range(200):
        cache[key] = key
    clock.advance(49.9)
    assert len(cache) == 200
    clock.advance(25)
    assert 40 < len(cache) < 160
    clock.advance(25.2)
    assert len(cache) == 0


def test_expired_results_are_dropped_without_a_maintenance_call():
    import weakref

    class Value:
        pass

    clock = ManualClock()
    memo = memoize(lambda a: Value(), ttl=1, clock=clock)
    first = weakref.ref(memo(1))
    clock.advance(1)
    memo(2)
    assert first() is None
    assert memo.stats().expirations == 1


def finish_refreshes():
    for thread in threading.enumerate():
        if thread.name == "scrubjay-refresh":
            thread.join(20)


def test_a_stale_result_is_handed_out_while_one_caller_refreshes_it():
    clock, runs, release = ManualClock(), [], threading.Event()

    @memoize(ttl=10, stale=5, clock=clock)
    def function():
        runs.append(1)
        if len(runs) > 1:
            assert release.wait(20)
        return len(runs)

    assert function() == 1
    clock.advance(12)
    assert [function() for _ in range(5)] == [1] * 5
    assert function.stats().refreshes == 1
    release.set()
    finish_refreshes()
    assert function() == 2 and len(runs) == 2


def test_after_its_staleness_a_result_is_loaded_by_the_caller():
    source = Source(ttl=10, stale=5)
    source.memo()
    source.clock.advance(15)
    assert source.memo() == 2


def test_a_refresh_that_fails_leaves_the_stale_result_until_it_is_over():
    source = Source(ttl=10, stale=5)
    source.memo()
    source.error = OSError("down")
    source.clock.advance(11)
    assert source.memo() == 1
    finish_refreshes()
    assert source.memo() == 1
    source.clock.advance(4)
    with pytest.raises(OSError, match="down"):
        source.memo()


def test_errors_are_not_remembered_unless_asked():
    source = Source()
    source.error = OSError()
    for _ in range(2):
        with pytest.raises(OSError):
            source.memo()
    assert source.runs == 2 and source.memo.stats().errors == 2


def test_errors_are_remembered_for_as_long_as_asked():
    source = Source(errors=5)
    source.error = OSError("down")
    for _ in range(3):
        with pytest.raises(OSError, match="down"):
            source.memo()
    assert source.runs == 1
    assert not source.memo.contains()
    source.error = None
    source.clock.advance(5)
    assert source.memo() == 2


def test_a_remembered_error_does_not_grow_with_every_caller():
    source = Source(errors=5)
    source.error = OSError()
    depths = []
    for _ in range(3):
        try:
            source.memo()
        except OSError as error:
            depth, traceback = 0, error.__traceback__
            while traceback is not None:
                depth, traceback = depth + 1, traceback.tb_next
            depths.append(depth)
            assert error.__context__ is None
    assert depths[1] == depths[2]


def test_what_is_no_error_of_the_function_is_not_remembered():
    source = Source(errors=5)
    source.error = KeyboardInterrupt()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            source.memo()
    assert source.runs == 2


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_manual_clock_is_moved_forward_only(seconds):
    clock = ManualClock()
    with pytest.raises(ValueError, match="moved forward"):
        clock.advance(seconds)
    assert clock.now() == 0


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_a_manual_clock_that_is_at_its_end_stays_there(seconds):
    clock = ManualClock()
    cache = Cache(ttl=5, clock=clock)
    cache["key"] = 1
    clock.advance(1)
    clock.advance(seconds)
    clock.advance(seconds)
    assert "key" not in cache
