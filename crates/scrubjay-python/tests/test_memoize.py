"""What `memoize` takes for one call, and what it keeps of it."""

import asyncio
import functools
import inspect
import itertools
import pickle

import pytest
from scrubjay import ManualClock, cached_property, memoize


def counted(**options):
    """A memoized function of anything, and the list of the calls that ran."""
    runs = []

    @memoize(**options)
    def function(a, b=2, *rest, c=3, **more):
        runs.append((a, b, rest, c, more))
        return len(runs)

    return function, runs


def test_a_call_is_the_same_however_its_arguments_are_passed():
    function, runs = counted()
    results = {
        function(1),
        function(a=1),
        function(1, 2),
        function(1, b=2),
        function(b=2, a=1),
        function(1, 2, c=3),
        function(c=3, a=1),
    }
    assert results == {1} and len(runs) == 1


def test_extra_arguments_are_told_from_named_ones_and_extra_keywords_have_no_order():
    function, runs = counted()
    calls = [
        lambda: function(1, 2, 3),
        lambda: function(1, 2, 4),
        lambda: function(1, 2, c=4),
        lambda: function(1, 2, d=4),
        lambda: function(1, 2, d=4, e=5),
        lambda: function(1, 2, "d", 4),
    ]
    for call in calls + calls:
        call()
    assert len(runs) == len(calls)
    assert function(1, 2, e=5, d=4) == function(1, 2, d=4, e=5)


def test_arguments_of_different_types_are_different_calls():
    function, runs = counted()
    for value in (1, 1.0, True, "1", b"1", (1,), None):
        function(value)
    assert len(runs) == 7


def test_a_call_that_the_function_refuses_raises_its_own_error_and_is_not_counted():
    @memoize
    def function(a, /, b, *, c=1):
        return a

    for call in (
        lambda: function(),
        lambda: function(1, 2, 3),
        lambda: function(1, 2, d=3),
        lambda: function(1, 2, b=3),
        lambda: function(a=1, b=2),
    ):
        with pytest.raises(TypeError, match=r"function\(\)"):
            call()
    assert function.cache_info() == (0, 0, None, 0)


def test_ignored_parameters_are_not_part_of_the_key():
    runs = []

    @memoize(ignore=("client", "options"))
    def function(client, page, *rest, **options):
        runs.append(page)
        return page

    function("x", 1), function("y", 1, verbose=True), function(page=1, client=[])
    assert runs == [1]
    function("x", 1, 2)
    assert runs == [1, 1]


def test_ignore_names_a_parameter_or_is_refused():
    with pytest.raises(ValueError, match=r"'clint'.*\(client, page\)"):

        @memoize(ignore="clint")
        def function(client, page):
            return page


def test_key_decides_alone():
    runs = []

    @memoize(key=lambda user, page: (user["id"], page))
    def function(user, page):
        runs.append(user)
        return page

    function({"id": 1, "name": "Ann"}, 1), function({"id": 1, "name": "Anna"}, page=1)
    assert len(runs) == 1
    function({"id": 2}, 1)
    assert len(runs) == 2


def test_when_keeps_calls_from_being_stored():
    function, runs = counted(when=lambda a, *rest, **more: a < 100)
    function(1), function(1), function(100), function(100)
    assert len(runs) == 3
    assert not function.contains(100)


def test_results_are_the_same_object_and_may_be_none():
    runs = []

    @memoize
    def function(a):
        runs.append(a)
        return None if a else [a]

    assert function(0) is function(0)
    assert function(1) is None and function(1) is None and runs == [0, 1]


def test_the_wrapper_looks_like_the_function():
    @memoize(ttl=60)
    def function(a: int, b: str = "x") -> int:
        """Doc."""
        return a

    assert function.__name__ == "function" and function.__doc__ == "Doc."
    assert str(inspect.signature(function)) == "(a: int, b: str = 'x') -> int"
    assert function.__wrapped__(1) == 1
    assert function.cache_parameters()["ttl"] == 60
    assert function.cache_parameters() is not function.cache_parameters()


@memoize
def at_module_level(a):
    return a


def test_the_wrapper_is_pickled_by_name_and_copied_as_itself():
    import copy

    assert pickle.loads(pickle.dumps(at_module_level)) is at_module_level
    assert copy.copy(at_module_level) is at_module_level is copy.deepcopy(at_module_level)


def test_callables_without_a_signature_are_known_by_what_they_are_passed():
    memo = memoize(functools.partial(max))
    assert memo(1, 2) == 2 == memo(1, 2)
    assert memo.cache_info()[:2] == (1, 1)
    with pytest.raises(ValueError, match="ignore="):
        memoize(max, ignore="a")


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_generator_functions_are_refused(function):
    with pytest.raises(TypeError, match=r"generator can be consumed once.*Return a list or tuple instead"):
        memoize(function)


def test_results_that_can_be_consumed_once_are_handed_out_and_not_kept():
    memo = memoize(lambda: (number for number in (1, 2)))
    with pytest.warns(RuntimeWarning, match="a generator is not kept"):
        first = memo()
    assert list(first) == [1, 2] == list(memo())

    for make in (
        lambda: map(abs, [1, 2]),
        lambda: iter([1, 2]),
        lambda: {1: 0, 2: 0}.items().__iter__(),
        lambda: zip([1]),
    ):
        memo = memoize(make)
        with pytest.warns(RuntimeWarning, match=r"<lambda>: a \w+ is not kept.*return a list"):
            first = memo()
        assert list(first) == list(memo()) != []
    memo = memoize(lambda: itertools.chain([1], [2]))
    with pytest.warns(RuntimeWarning, match="a chain is not kept"):
        assert list(memo()) == list(memo()) == [1, 2]
    memo = memoize(lambda: itertools.count())
    assert next(memo()) == 0 and next(memo()) == 1

    async def coroutine():
        return 3

    memo = memoize(lambda: coroutine())
    with pytest.warns(RuntimeWarning, match="a coroutine is not kept.*memoize the coroutine function itself"):
        first = memo()
    assert asyncio.run(first) == 3 == asyncio.run(memo())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maxsize": 1.5}, "maxsize= is an integer or None, not float"),
        ({"maxsize": True}, "maxsize= is an integer or None, not bool"),
        ({"ttl": "1h"}, "ttl= is a number of seconds or a timedelta, not str"),
        ({"ttl": -1}, "ttl= is a time to live and cannot be -1"),
        ({"ttl": float("nan")}, "ttl= is a time to live and cannot be nan"),
        ({"errors": True}, "errors= is a number of seconds"),
        ({"stale": 1}, "stale= .*needs ttl="),
        ({"jitter": 0.1}, "jitter= .*needs ttl="),
        ({"ttl": 1, "jitter": 2}, "jitter= is a number from 0 to 1, not 2"),
        ({"tags": "user"}, "not a single string"),
        ({"tags": [1]}, "a tag is a string, not int"),
        ({"weigh": 3}, 'weigh= is "bytes" or a function'),
        ({"copy": "both"}, 'copy= is "none", "shallow", "deep" or "freeze"'),
        ({"key": 3}, "key= is a function of the arguments, not int"),
        ({"when": True}, "when= is a function of the arguments, not bool"),
        ({"maxsiz": 3}, "maxsiz"),
        ({"tags": None}, "tags= is an iterable of strings, .* not None"),
        ({"ignore": 0}, "ignore= is the name of a parameter or an iterable of names, not 0"),
        ({"clock": 3}, "clock= is a scrubjay.ManualClock, not int"),
        ({"code": "off"}, "code= .* needs disk="),
    ],
)
def test_nonsense_is_refused_where_it_is_written(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        memoize(**options)


def test_only_callables_are_memoized():
    with pytest.raises(TypeError, match="memoize needs a function, not int"):
        memoize(3)


def test_stats_tell_what_happened():
    function, _ = counted(maxsize=1)
    function(1), function(1), function(2)
    stats = function.stats()
    assert (stats.hits, stats.misses, stats.loads, stats.evictions, stats.entries) == (1, 2, 2, 1, 1)
    assert stats.hit_ratio == pytest.approx(1 / 3) and stats.time_saved >= 0
    assert "hits        1 (33.3%)" in str(stats)
    function.cache_clear()
    assert function.stats()[:6] == (0, 0, 0, 0, 0, 0)


def test_a_warning_is_at_the_line_that_called():
    memo = memoize(lambda: iter([]))
    with pytest.warns(RuntimeWarning) as given:
        memo()
    assert given[0].filename == __file__


def test_a_property_is_refused_options_that_are_none():
    with pytest.raises(TypeError, match="expires"):
        cached_property(expires=3)


def test_numbers_of_other_libraries_are_numbers():
    numpy = pytest.importorskip("numpy")
    clock = ManualClock()
    memo = memoize(maxsize=numpy.int64(3), ttl=numpy.float32(2), weigh=lambda _value: numpy.int64(3), clock=clock)(abs)
    assert memo(1) == 1 and memo.contains(1) and memo.stats().weight == 3
    clock.advance(2)
    assert not memo.contains(1)
