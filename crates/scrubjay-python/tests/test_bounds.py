"""How much is kept: counts, weights, and who leaves."""

import sys

import pytest
from scrubjay import Cache, memoize


def test_the_result_used_longest_ago_leaves():
    memo = memoize(lambda a: a, maxsize=2)
    memo(1), memo(2), memo(1), memo(3)
    assert memo.contains(1) and memo.contains(3) and not memo.contains(2)
    assert memo.cache_info() == (1, 3, 2, 2)


def test_maxsize_zero_keeps_nothing():
    memo = memoize(lambda a: a, maxsize=0)
    assert (memo(1), memo(1)) == (1, 1)
    assert memo.cache_info() == (0, 2, 0, 0)


def test_weights_never_exceed_the_capacity():
    cache = Cache(maxsize=100, weigh=len)
    for number in range(1000):
        cache[number % 37] = "x" * (number % 61)
        assert cache.stats().weight <= 100
    assert cache.stats().weight == sum(map(len, cache.values()))


def test_an_entry_heavier_than_the_capacity_is_not_admitted_and_evicts_nothing():
    cache = Cache(maxsize=10, weigh=len)
    cache["a"] = "12345"
    assert cache.set("b", "x" * 11) is False
    assert dict(cache) == {"a": "12345"}
    assert cache.set("a", "x" * 11) is False
    assert "a" not in cache
    memo = memoize(lambda a: "x" * a, maxsize=10, weigh=len)
    assert len(memo(11)) == 11 and not memo.contains(11)
    assert memo.stats().rejections == 1


def test_bytes_count_key_value_and_overhead():
    cache = Cache(weigh="bytes")
    cache["k"] = "v"
    small = cache.stats().weight
    assert small > sys.getsizeof("k") + sys.getsizeof("v")
    cache["l"] = bytes(10_000)
    assert 10_000 < cache.stats().weight - small < 10_500
    cache["k" * 5_000] = None
    assert cache.stats().weight - small > 15_000


def test_bytes_reach_into_containers_and_instances_and_count_nothing_twice():
    class Plain:
        def __init__(self, data):
            self.data = data

    class Slotted:
        __slots__ = ("data",)

        def __init__(self, data):
            self.data = data

    data = bytes(10_000)
    for value in ([data], {"x": (data, data)}, Plain(data), Slotted([data, data])):
        cache = Cache(weigh="bytes")
        cache["k"] = value
        assert 10_000 < cache.stats().weight < 11_500, value


def test_bytes_ask_no_sizeof_of_the_users():
    class Liar:
        def __sizeof__(self):
            raise RuntimeError

    cache = Cache(weigh="bytes")
    cache["k"] = [Liar(), int, sys]
    assert cache.stats().weight < 2_000


def test_the_capacity_can_be_changed():
    cache = Cache(maxsize=4)
    cache.warm({number: number for number in range(4)})
    cache.set_capacity(2)
    assert list(cache) == [2, 3]
    cache.set_capacity(None)
    cache.warm({number: number for number in range(100)})
    assert len(cache) == 100


@pytest.mark.parametrize("weight", [-1, 1.5, "3", None, True])
def test_a_weigher_that_returns_no_weight_is_told_so(weight):
    cache = Cache(weigh=lambda value: weight)
    with pytest.raises(ValueError, match="integer of at least 0"):
        cache["k"] = 1
    memo = memoize(lambda: 1, weigh=lambda value: weight)
    with pytest.raises(ValueError, match="integer of at least 0"):
        memo()
    assert memo.cache_info().currsize == 0
