"""`Cache(disk=…)`: one mapping over memory and a folder."""

import asyncio
import dataclasses
import os
import threading

import pytest
from other_process import run
from scrubjay import Cache, ManualClock, memoize
from waiting import WAIT


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def test_it_is_a_mapping_over_memory_and_disk(folder):
    cache = Cache(disk=folder)
    cache["a"] = 1
    cache.update(b=[2], c={"d": 3})
    again = Cache(disk=folder)
    assert len(again) == 3 and list(again) == ["a", "b", "c"] and dict(again.items()) == dict(cache)
    assert list(again.values()) == [1, [2], {"d": 3}] and again == {"a": 1, "b": [2], "c": {"d": 3}}
    assert again.stats().entries == 0 and again["b"] == [2] and again.stats().entries == 1
    assert "a" in again and "z" not in again and again.get("z", 7) == 7 and again.peek("c") == {"d": 3}
    assert again.pop("a") == 1 and again.pop("a", None) is None and "a" not in cache and cache.get("a") is None
    del again["b"]
    assert list(cache) == ["c"] and again.popitem() == ("c", {"d": 3})
    with pytest.raises(KeyError):
        cache.popitem()
    for missing in (lambda: again["a"], lambda: again.pop("a"), lambda: again.ttl_left("a")):
        with pytest.raises(KeyError):
            missing()
    assert again.setdefault("e", 5) == 5 == cache.setdefault("e", 6)
    again.clear()
    assert not cache and not Cache(disk=folder)


def test_what_leaves_memory_stays_on_disk(folder):
    cache = Cache(maxsize=2, disk=folder)
    cache.warm((number, number * number) for number in range(10))
    assert cache.stats().entries == 2 and len(cache) == 10
    assert [cache[number] for number in range(10)] == [number * number for number in range(10)]
    stats = cache.stats()
    assert stats.evictions >= 8 and stats.disk_hits >= 8 and stats.disk_failures == 0


def test_keys_are_compared_as_in_a_dictionary(folder):
    Cache(disk=folder)[1] = "one"
    cache = Cache(disk=folder)
    assert cache[1.0] == "one" and cache[True] == "one" and "1" not in cache and (1,) not in cache
    cache[True] = "true"
    assert Cache(disk=folder)[1] == "true" and len(cache) == 1


@dataclasses.dataclass(frozen=True)
class User:
    name: str


def test_keys_and_values_may_be_dataclasses(folder):
    Cache(disk=folder)[User("Ann"), 1] = User("Bob")
    assert dict(Cache(disk=folder)) == {(User("Ann"), 1): User("Bob")}


def test_the_last_value_set_is_the_one_that_stays(folder):
    for number in range(50):
        Cache(disk=folder)["k"] = number
        assert Cache(disk=folder)["k"] == number


def test_what_cannot_be_encoded_takes_the_place_of_what_was_there(folder):
    cache = Cache(disk=folder)
    cache["k"] = 1
    with pytest.warns(RuntimeWarning, match="kept in memory only: _thread.lock"):
        cache["k"] = threading.Lock()
    assert Cache(disk=folder).get("k") is None and len(cache) == 1 and list(cache) == ["k"]
    with pytest.warns(RuntimeWarning, match="'key' has no name in another process"):
        cache[object()] = 2
    assert len(cache) == 2 and len(Cache(disk=folder)) == 0
    with pytest.raises(TypeError, match="unhashable"):
        cache[[]]


def test_entries_have_lives_and_tags_of_their_own(folder):
    clock = ManualClock()
    cache = Cache(ttl=10, clock=clock, disk=folder, tags=["all"])
    cache["a"] = 1
    cache.set("b", 2, ttl=20, tags=["t"])
    cache.set("c", 3, ttl=None)
    clock.advance(9)
    again = Cache(clock=clock, disk=folder)
    assert again["a"] == 1 and abs(again.ttl_left("a") - 1) < 0.01 and again.ttl_left("c") is None
    assert abs(again.ttl_left("b") - 11) < 0.01
    clock.advance(1.001)
    assert list(again) == ["b", "c"] and again.get("a") is None and len(again) == 2 and "a" not in again
    assert again.invalidate_tag("t") == 1 and list(cache) == ["c"] and cache.invalidate_tag("all") and not cache
    cache.set("gone", 1, ttl=0)
    assert "gone" not in cache and "gone" not in Cache(clock=clock, disk=folder)


def test_computing_goes_through_the_disk(folder):
    runs = []

    def compute(n):
        runs.append(n)
        return n * n

    async def compute_later(n):
        return compute(n)

    assert Cache(disk=folder).get_or_compute("k", compute, 3) == 9
    cache = Cache(disk=folder)
    assert cache.get_or_compute("k", compute, 4) == 9 and cache["k"] == 9
    assert asyncio.run(cache.get_or_compute_async("m", compute_later, 5)) == 25
    assert asyncio.run(Cache(disk=folder).get_or_compute_async("m", compute_later, 6)) == 25 and runs == [3, 5]
    assert dict(cache) == {"k": 9, "m": 25}


def test_an_insertion_overtakes_a_load(folder):
    cache, begun, go_on = Cache(disk=folder), threading.Event(), threading.Event()

    def compute():
        begun.set()
        assert go_on.wait(WAIT)
        return "old"

    loading = threading.Thread(target=cache.get_or_compute, args=("k", compute))
    loading.start()
    assert begun.wait(WAIT)
    cache["k"] = "new"
    go_on.set()
    loading.join(WAIT)
    assert cache["k"] == "new" and Cache(disk=folder)["k"] == "new"


def test_functions_and_caches_of_one_folder_keep_apart(folder):
    @memoize(disk=folder)
    def f(key):
        return "function"

    cache = Cache(disk=folder)
    cache["a"] = "cache"
    assert f("a") == "function" and cache["a"] == "cache" and list(cache) == ["a"]
    cache.clear()
    assert f.contains("a")


def test_copies_and_frozen_values_come_from_disk_too(folder):
    cache = Cache(disk=folder, copy="deep")
    cache["k"] = {"a": [1]}
    again = Cache(disk=folder, copy="deep")
    again["k"]["a"].append(2)
    assert again["k"] == {"a": [1]}
    assert Cache(disk=folder, copy="freeze")["k"]["a"] == (1,)


def test_threads_that_set_and_get_see_whole_values(folder):
    cache, stopped, seen = Cache(maxsize=1, disk=folder), threading.Event(), set()

    def read():
        while not stopped.is_set():
            seen.add(tuple(cache.get("k") or (None,)))
            cache.get("other")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(300):
        cache["k"] = [number] * 50
        cache["other"] = number
        assert cache["k"] == [number] * 50
    stopped.set()
    for reader in readers:
        reader.join(WAIT)
    assert all(len(set(one)) == 1 for one in seen)


def test_another_process_sees_the_mapping(folder):
    cache = Cache(disk=folder)
    cache["a"] = [1]
    cache._folder.opened().store.flush()
    program = "import sys; from scrubjay import Cache; c = Cache(disk=sys.argv[1]); c['b'] = 2; print(dict(c))"
    assert run(program, folder) == "{'a': [1], 'b': 2}\n"
    assert dict(cache) == {"a": [1], "b": 2} and not [name for name in os.listdir(folder) if "tmp" in name]
