"""`Cache`: a mapping."""

import collections
import copy as copying
import pickle
from collections.abc import MutableMapping

import pytest
from scrubjay import Cache, ManualClock


def test_it_is_a_mutable_mapping():
    cache = Cache()
    assert isinstance(cache, MutableMapping)
    cache["a"] = 1
    cache.update(b=2, c=3)
    assert cache["a"] == 1 and len(cache) == 3 and "a" in cache and "z" not in cache
    assert list(cache) == ["b", "c", "a"] and list(cache.items()) == [("b", 2), ("c", 3), ("a", 1)]
    assert list(cache.keys()) == ["b", "c", "a"] and list(cache.values()) == [2, 3, 1]
    assert cache == {"a": 1, "b": 2, "c": 3}
    assert cache.get("z") is None and cache.get("z", 5) == 5
    assert cache.pop("a") == 1 and cache.pop("a", 7) == 7
    assert cache.setdefault("d", 4) == 4 == cache.setdefault("d", 5)
    assert cache.popitem() == ("b", 2)
    del cache["c"]
    cache.clear()
    assert not cache
    for missing in (lambda: cache["a"], lambda: cache.pop("a"), lambda: cache.__delitem__("a"), cache.popitem):
        with pytest.raises(KeyError):
            missing()
    assert repr(Cache(maxsize=1000)) == "<scrubjay.Cache: 0 entries, weight 0 of 1,000>"


def test_keys_are_compared_as_in_a_dictionary():
    cache = Cache()
    cache[1] = "one"
    assert cache[1.0] == "one" and cache[True] == "one" and (1,) not in cache
    with pytest.raises(TypeError, match="unhashable"):
        cache[[]]
    assert cache.stats().misses == 0


def test_entries_have_lives_of_their_own():
    clock = ManualClock()
    cache = Cache(ttl=10, clock=clock)
    cache["a"] = 1
    cache.set("b", 2, ttl=20)
    cache.set("c", 3, ttl=None)
    assert cache.ttl_left("a") == 10 and cache.ttl_left("c") is None
    clock.advance(10)
    assert list(cache) == ["b", "c"] and cache.get("a") is None
    with pytest.raises(KeyError):
        cache.ttl_left("a")
    clock.advance(10)
    assert len(cache) == 1


def test_peeking_counts_nothing_and_keeps_the_order():
    cache = Cache(maxsize=2)
    cache["a"], cache["b"] = 1, 2
    assert cache.peek("a") == 1 and cache.peek("z", 0) == 0 and "a" in cache
    cache["c"] = 3
    assert "a" not in cache and cache.stats()[:2] == (0, 0)


def test_computing_stores_under_the_key_and_passes_arguments_on():
    cache, runs = Cache(maxsize=10), []

    def compute(a, b):
        runs.append((a, b))
        return a + b

    assert cache.get_or_compute("k", compute, 1, b=2) == 3 == cache.get_or_compute("k", compute, 5, b=5)
    assert runs == [(1, 2)] and cache["k"] == 3
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("z", lambda: 1 / 0)
    assert "z" not in cache


def test_warming_stores_what_there_is_room_for():
    cache = Cache(maxsize=10, weigh=len)
    assert cache.warm({"a": "123", "b": "x" * 11, "c": "456"}) == 2
    assert cache.warm([("d", "7")]) == 1
    assert list(cache) == ["a", "c", "d"]


def test_tags_are_given_where_an_entry_is_stored():
    cache = Cache(tags=["all"])
    cache.set("a", 1, tags=["t"])
    cache["b"] = 2
    assert cache.invalidate_tag("t") == 1 and cache.invalidate_tag("all") == 1
    with pytest.raises(TypeError, match="iterable of strings"):
        Cache(tags=lambda: [])


@pytest.mark.parametrize("copy", ["shallow", "deep"])
def test_copies_keep_callers_from_changing_what_is_kept(copy):
    cache = Cache(copy=copy)
    mine = [1]
    cache["k"] = mine
    mine.append(2)
    cache["k"].append(3)
    list(cache.values())[0].append(4)
    cache.get_or_compute("k", list).append(5)
    assert cache["k"] == [1]


def test_deep_copies_go_all_the_way_and_the_first_caller_keeps_its_own():
    cache = Cache(copy="deep")
    first = cache.get_or_compute("k", lambda: {"a": [1]})
    first["a"].append(2)
    cache["k"]["a"].append(3)
    assert cache["k"] == {"a": [1]}


def test_frozen_values_are_the_same_for_everyone_and_cannot_be_changed():
    cache = Cache(copy="freeze")
    frozen = cache.get_or_compute("k", lambda: {"a": [1, {2}], "b": bytearray(b"x")})
    assert frozen == {"a": (1, frozenset({2})), "b": b"x"} and cache["k"] is frozen
    with pytest.raises(TypeError):
        frozen["a"] = 1


def test_the_mappings_and_named_tuples_of_the_library_are_frozen_too():
    pair = collections.namedtuple("pair", "a b")
    ordered, counted = collections.OrderedDict(b=[1], a=2), collections.Counter("aab")
    made = [ordered, counted, collections.defaultdict(list, a=[1]), pair([1], 2)]
    cache = Cache(copy="freeze")
    first, second, third, fourth = cache.get_or_compute("k", lambda: made)
    assert first == collections.OrderedDict(b=(1,), a=2) and list(first) == ["b", "a"]
    assert second == counted and second["c"] == 0 and third == {"a": (1,)}
    assert fourth == pair((1,), 2) and type(fourth) is pair
    for frozen in first, second, third:
        with pytest.raises(TypeError):
            frozen["x"] = 1
        with pytest.raises(AttributeError):
            frozen.clear()
    with pytest.raises(KeyError):
        third["b"]


def test_a_value_that_cannot_be_copied_is_handed_out_and_not_kept():
    import threading

    cache = Cache(copy="deep")
    with pytest.warns(RuntimeWarning, match=r"type _thread.lock are not kept.*cannot be copied"):
        lock = cache.get_or_compute("k", threading.Lock)
    assert lock is not None and "k" not in cache


def test_a_mapping_is_taken_in_with_an_operator():
    cache = same = Cache(ttl=5)
    cache |= {"a": 1}
    cache |= [("b", 2)]
    assert cache is same and dict(cache) == {"a": 1, "b": 2} and cache.ttl_left("a") is not None


def test_a_cache_is_neither_copied_nor_pickled_and_says_what_can_be_done():
    for carry in copying.copy, copying.deepcopy, pickle.dumps:
        with pytest.raises(TypeError, match=r"dict\(cache\).*save\(\) and load\(\).*disk="):
            carry(Cache())


def test_a_key_without_a_value_has_no_life_left():
    with pytest.raises(KeyError, match="'ann'"):
        Cache().ttl_left("ann")


def test_weights_can_be_added_up():
    cache = Cache(weigh=lambda value: value)
    with pytest.raises(ValueError, match="at most"):
        cache["a"] = 1 << 63
    assert len(cache) == 0
