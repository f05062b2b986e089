"""`Cache.save` and `load`: whole or not at all."""

import io
import os
import pickle
import stat
import threading

import pytest
from scrubjay import Cache, ManualClock


def cache_of(**entries):
    cache = Cache()
    cache.warm(entries)
    return cache


def bytes_of(cache):
    file = io.BytesIO()
    cache.save(file)
    return file.getvalue()


def test_what_was_saved_is_loaded(tmp_path):
    cache = Cache(ttl=60, tags=["all"])
    cache.warm({"a": 1, ("b", 2): [1.5, None], b"c": {"d": {1, 2}}})
    assert cache.save(tmp_path / "snapshot") == 3
    loaded = Cache()
    assert loaded.load(str(tmp_path / "snapshot")) == 3
    assert dict(loaded) == dict(cache) and list(loaded) == list(cache)
    assert loaded.invalidate_tag("all") == 3
    assert Cache().load(io.BytesIO(bytes_of(cache))) == 3
    assert Cache().save(tmp_path / "empty") == 0 and Cache().load(tmp_path / "empty") == 0


def test_lives_go_on_from_the_load(tmp_path):
    clock = ManualClock()
    cache = Cache(ttl=10, clock=clock)
    cache["a"] = 1
    cache.set("b", 2, ttl=None)
    cache.set("c", 3, ttl=2)
    clock.advance(4)
    cache.save(tmp_path / "snapshot")
    clock.advance(1000)
    loaded = Cache(clock=clock)
    assert loaded.load(tmp_path / "snapshot") == 2
    assert loaded.ttl_left("a") == 6 and loaded.ttl_left("b") is None and "c" not in loaded
    clock.advance(6)
    assert list(loaded) == ["b"]


def test_what_has_no_room_is_not_loaded(tmp_path):
    cache_of(a="1", b="22", c="333").save(tmp_path / "snapshot")
    small = Cache(maxsize=2, weigh=len)
    assert small.load(tmp_path / "snapshot") == 2 and list(small) == ["b"]


def test_every_flip_and_every_cut_is_one_clear_error_and_changes_nothing():
    whole = bytes_of(cache_of(a=1, b="two", c=[3]))
    for position in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            refuses(bytes(flipped))
    for length in range(len(whole)):
        refuses(whole[:length])
    refuses(whole + b"x")
    refuses(whole + whole)


def refuses(content):
    cache = cache_of(kept=1)
    with pytest.raises(ValueError, match="the snapshot was not loaded, and nothing changed: "):
        cache.load(io.BytesIO(content))
    assert dict(cache) == {"kept": 1}


def test_foreign_files_are_refused(tmp_path):
    class Poison:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "poisoned"),)

    for content in (
        b"",
        b"hello",
        pickle.dumps(Poison()),
        b"scrubjay" + bytes(100),
        bytes(1000),
        b"scrubpy\0" + b"\xff" * 99,
    ):
        refuses(content)
    assert not (tmp_path / "poisoned").exists()


def test_a_length_that_is_a_lie_takes_no_memory():
    import tracemalloc

    content = b"scrubpy\0" + (1).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little") + b"\3" + bytes(1000)
    tracemalloc.start()
    try:
        refuses(content)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_file_has_the_old_content_or_the_new(tmp_path):
    path = tmp_path / "snapshot"
    cache_of(a=1).save(path)
    before = path.read_bytes()
    broken = cache_of(b=2)
    broken["lock"] = threading.Lock()
    with pytest.raises(TypeError, match="nothing was saved, because the entry 'lock' cannot be: _thread.lock"):
        broken.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["snapshot"]
    with pytest.raises(OSError):
        cache_of(a=1).save(tmp_path / "none" / "snapshot")
    with pytest.raises(OSError):
        Cache().load(tmp_path / "none")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_writer_that_fails_raises_its_error():
    class Full(io.RawIOBase):
        def write(self, content):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        cache_of(a=1).save(Full())


def test_pickled_entries_are_signed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    cache = Cache(disk=tmp_path / "cache", allow_pickle=True)
    cache["k"] = Thing()
    content = bytes_of(cache)
    loaded = Cache(disk=tmp_path / "other", allow_pickle=True)
    assert loaded.load(io.BytesIO(content)) == 1 and type(loaded["k"]) is Thing
    refuses(content)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "somebody else"))
    with pytest.raises(ValueError, match="not signed with this user's key"):
        Cache(disk=tmp_path / "other", allow_pickle=True).load(io.BytesIO(content))


class Thing:
    pass


def test_a_cache_over_a_folder_saves_its_memory_and_loads_into_both(tmp_path):
    cache = Cache(disk=tmp_path / "one", tags=["t"])
    cache["a"] = 1
    content = bytes_of(cache)
    other = Cache(disk=tmp_path / "other")
    assert other.load(io.BytesIO(content)) == 1
    again = Cache(disk=tmp_path / "other")
    assert again["a"] == 1 and other.invalidate_tag("t") == 1 and "a" not in again
