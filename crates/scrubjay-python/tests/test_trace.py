"""`trace()`: the tree of memoized calls."""

import asyncio
import contextvars
import functools
import io
import re

import pytest
from scrubjay import cache, lru_cache, memoize, trace


@memoize
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@pytest.fixture(autouse=True)
def empty():
    fib.cache_clear()


def test_the_tree_tells_hits_from_misses():
    out = io.StringIO()
    with trace(file=out):
        fib(3)
        fib(3)
    shape = [re.sub(r" +(hit|miss).*", r" \1", line) for line in out.getvalue().splitlines()]
    assert shape == [
        "fib(3) miss",
        "├─ fib(2) miss",
        "│  ├─ fib(1) miss",
        "│  └─ fib(0) miss",
        "└─ fib(1) hit",
        "fib(3) hit",
    ]


@pytest.mark.parametrize("decorator", [cache, lru_cache(maxsize=8), lru_cache(maxsize=0)])
def test_calls_of_lru_cache_are_in_the_tree(decorator):
    @decorator
    def double(n):
        return 2 * n

    @memoize
    def outer(n):
        return double(n) + double(n=n) + double(n)

    with trace(file=None) as calls:
        outer(1)
    again = "miss" if decorator(len).cache_info().maxsize == 0 else "hit"
    (call,) = calls.calls
    assert [(inner.outcome, inner.label.rpartition(".")[2]) for inner in call.calls] == [
        ("miss", "double(1)"),
        ("miss", "double(n=1)"),
        (again, "double(1)"),
    ]
    assert double.cache_info()[:2] == ((0, 3) if again == "miss" else (1, 2))
    assert double(1) == 2


def test_methods_errors_and_functions_without_a_name_of_lru_cache_are_told():
    class Owner:
        @lru_cache
        def method(self, a):
            raise ZeroDivisionError

        def __repr__(self):
            return "<owner>"

    unnamed = cache(functools.partial(int, base=2))
    with trace(file=None) as calls:
        assert unnamed("11") == 3
        with pytest.raises(ZeroDivisionError):
            Owner().method(1)
    first, second = str(calls).splitlines()
    assert re.match(r"functools\.par.*\('11'\) +miss", first)
    assert re.search(r"Owner\.method\(<owner>, 1\) +miss .* raised ZeroDivisionError", second)


def test_outcomes_line_up():
    with trace(file=None) as calls:
        fib(4)
    positions = {re.search(r"(hit|miss)", line).start() for line in str(calls).splitlines()}
    assert len(positions) == 1
    assert calls.calls[0].seconds >= calls.calls[0].calls[0].seconds


def test_errors_and_arguments_are_named():
    @memoize
    def fail(a, *, b):
        raise ZeroDivisionError

    with trace(file=None) as calls, pytest.raises(ZeroDivisionError):
        fail("x" * 100, b=[1])
    assert re.search(r"fail\('x+\.\.\.x+', b=\[1\]\) +miss .* raised ZeroDivisionError", str(calls))


def test_without_calls_it_says_so_and_nothing_is_recorded_outside():
    fib(3)
    with trace(file=None) as calls:
        pass
    fib(3)
    assert str(calls) == "no memoized calls"


def test_tasks_record_into_the_trace_of_their_context():
    @memoize
    async def double(a):
        await asyncio.sleep(0)
        return 2 * a

    @memoize
    async def total(n):
        return sum(await asyncio.gather(*(double(a % 2) for a in range(n))))

    async def main():
        with trace(file=None) as calls:
            assert await total(3) == 2
            assert await total(3) == 2
        return calls

    calls = asyncio.run(main()).calls
    assert [call.outcome for call in calls] == ["miss", "hit"]
    assert sorted(call.outcome for call in calls[0].calls) == ["miss", "miss", "wait"]


def test_calls_of_another_context_are_not_recorded():
    with trace(file=None) as calls:
        contextvars.Context().run(fib, 3)
    assert calls.calls == [] and fib.cache_info().misses == 4
