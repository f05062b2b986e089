"""`lru_cache` and `cache` are functools': its own tests pass, and what they do not look at is looked at here."""

import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import scrubjay


def test_the_interpreters_own_tests_of_lru_cache_pass():
    suite = Path(__file__).with_name("functools_suite.py")
    done = subprocess.run([sys.executable, suite, "-v"], capture_output=True, text=True, timeout=120)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^(test_\w+) .* \.\.\. ok$", done.stderr, re.MULTILINE)
    expected = [name for name in suite_names() if name not in names and "skipped" not in done.stderr]
    assert not expected and len(names) >= 26, done.stderr


def suite_names():
    from test import test_functools

    return [name for name in dir(test_functools.TestLRU) if name.startswith("test_")]


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("maxsize", [None, 0, 1, 3, 128])
def test_the_same_calls_hit_and_miss_as_with_functools(maxsize, typed):
    calls = [
        ((1,), {}), ((1.0,), {}), ((True,), {}), (("1",), {}), ((1, 2), {}), ((1.0, 2), {}), ((2, 1), {}), ((), {}),
        ((), {"a": 1}), ((1,), {"a": 1}), ((), {"a": 1, "b": 2}), ((), {"b": 2, "a": 1}), ((), {"a": 1.0}),
        ((b"x",), {}), (("x",), {}), (((1,),), {}), (((1.0,),), {}), ((None,), {}), ((-1,), {}), ((-2,), {}),
        ((2**80,), {}), ((float(2**80),), {}), ((frozenset((1,)),), {}), ((int,), {}), ((), {"a": (1,)}),
    ]  # fmt: skip

    def function(*args, **kwargs):
        return repr((args, kwargs))

    theirs = functools.lru_cache(maxsize=maxsize, typed=typed)(function)
    ours = scrubjay.lru_cache(maxsize=maxsize, typed=typed)(function)
    for position, (args, kwargs) in enumerate(calls + calls[::-1] + calls[::2]):
        assert ours(*args, **kwargs) == theirs(*args, **kwargs), (position, args, kwargs)
        assert ours.cache_info() == theirs.cache_info(), (position, args, kwargs)


@pytest.mark.parametrize("maxsize", [1.5, "128", [], (1,)])
def test_a_maxsize_that_is_no_number_is_refused_in_functools_words(maxsize):
    messages = []
    for module in functools, scrubjay:
        with pytest.raises(TypeError) as raised:
            module.lru_cache(maxsize=maxsize)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


def test_only_callables_are_wrapped():
    with pytest.raises(TypeError, match="the first argument must be callable"):
        scrubjay.lru_cache()(None)


def test_the_signature_is_the_functions():
    @scrubjay.cache
    def function(a, b: int = 2, *, c=3):
        return a

    assert str(inspect.signature(function)) == "(a, b: int = 2, *, c=3)"


def test_invalidate_forgets_one_result_and_says_whether_there_was_one():
    calls = []

    @scrubjay.lru_cache(maxsize=8)
    def function(a, b=0):
        calls.append((a, b))
        return a

    function(1), function(2), function(1, b=3)
    assert function.invalidate(1) is True
    assert function.invalidate(1) is False
    assert function.invalidate(1, b=3) is True
    function(1), function(2)
    assert calls == [(1, 0), (2, 0), (1, 3), (1, 0)]


def test_contains_tells_of_hits_without_counting_or_reordering():
    @scrubjay.lru_cache(maxsize=2)
    def function(a):
        return a

    function(1), function(2)
    before = function.cache_info()
    assert function.contains(1) and function.contains(2) and not function.contains(3)
    assert function.cache_info() == before
    function(3)
    assert not function.contains(1) and function.contains(2)


def test_unhashable_arguments_raise_and_leave_nothing_behind():
    @scrubjay.cache
    def function(*args, **kwargs):
        return args

    for call in (lambda: function([]), lambda: function(1, {}), lambda: function(a=[])):
        with pytest.raises(TypeError, match="unhashable"):
            call()
    assert function.cache_info() == (0, 0, None, 0)


def test_an_error_of_eq_reaches_the_caller():
    class Odd:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            raise ZeroDivisionError

    @scrubjay.lru_cache
    def function(a):
        return a

    function(Odd())
    with pytest.raises(ZeroDivisionError):
        function(Odd())


def test_methods_and_class_methods_bind():
    class Owner:
        @scrubjay.lru_cache
        def method(self, a):
            return self, a

        @classmethod
        @scrubjay.cache
        def of_class(cls, a):
            return cls, a

    owner = Owner()
    assert owner.method(1) == (owner, 1) and Owner.method(owner, 1) == (owner, 1)
    assert owner.method.__self__ is owner
    assert Owner.of_class(2) == (Owner, 2) == owner.of_class(2)
    assert Owner.method.cache_info().hits == 1


def test_values_are_kept_alive_no_longer_than_their_entries():
    import weakref

    class Value:
        pass

    @scrubjay.lru_cache(maxsize=1)
    def function(a):
        return Value()

    first = weakref.ref(function(1))
    assert first() is not None
    function(2)
    assert first() is None
    second = weakref.ref(function(2))
    function.cache_clear()
    assert second() is None
