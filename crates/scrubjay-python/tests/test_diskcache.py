"""The substitutes for diskcache: what they keep, for whom, and what they refuse."""

import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
import threading

import pytest
import scrubjay.compat.diskcache as diskcache


@pytest.fixture
def cache(tmp_path):
    return diskcache.Cache(tmp_path / "cache")


def run(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("key", [0, 1.5, "a", b"a", None, (1, "b", None), ("nested", ("c", 2.0))])
def test_keys_of_every_kind_come_back(cache, key):
    cache[key] = {"value": [key]}
    assert cache[key] == {"value": [key]} and list(cache) == [key]
    assert key in diskcache.Cache(cache.directory)


def test_a_value_that_is_refused_is_told_how_it_could_be_stored(cache):
    for key, value in ("key", object()), (("key", object()), 1):
        with pytest.raises(TypeError, match="object is not a type that can be stored; .*allow_pickle=True"):
            cache[key] = value


def test_numbers_are_one_key_where_they_are_one_to_sqlite(cache):
    cache[1], cache[2.0], cache[True], cache[1.5] = "int", "float", "bool", "half"
    assert (cache[1.0], cache[2], cache[True], len(cache)) == ("int", "float", "bool", 4)
    assert cache.incr(3.0) == 1 and cache.incr(3) == 2 and cache.delete(1.0) and 1 not in cache
    cache[float("inf")] = "infinite"
    assert cache[float("inf")] == "infinite"


@pytest.mark.parametrize("length", [3 << 15, 3 << 10])
def test_cull_brings_values_of_every_size_within_the_limit(cache, length):
    for key in range(40):
        # Such that nothing is gained by compressing it.
        cache[key] = os.urandom(length)
    cache.reset("size_limit", 20 * length)
    assert cache.volume() > 20 * length
    assert 20 <= cache.cull() <= 24 and cache.volume() <= 20 * length
    assert min(cache) == 40 - len(cache)


@pytest.mark.parametrize("tag", [None, "blue", 7, 1.5, b"raw", "int:7", "str:x", "a:b"])
def test_tags_come_back_as_they_were_and_evict(cache, tag):
    cache.set("k", 1, tag=tag)
    cache.set("other", 1, tag="other")
    assert cache.get("k", tag=True) == (1, tag)
    if tag is not None:
        assert cache.evict(tag) == 1 and list(cache) == ["other"]


def test_what_only_pickle_knows_is_refused_unless_it_is_allowed(cache, tmp_path):
    with pytest.raises(TypeError, match="Refused"):
        cache["k"] = Refused()
    assert len(cache) == 0
    allowed = diskcache.Cache(tmp_path / "pickled", allow_pickle=True, key_file=tmp_path / "key")
    allowed["k"] = Refused()
    assert type(allowed["k"]) is Refused
    assert diskcache.Cache(tmp_path / "pickled").get("k", "a miss") == "a miss"


class Refused:
    pass


COUNT = """
import sys
import scrubjay.compat.diskcache as diskcache
cache = diskcache.Cache(sys.argv[1])
for _ in range(50):
    cache.incr("n")
    with cache.transact():
        cache["m"] = cache.get("m", 0) + 1
"""


def test_numbers_are_counted_right_by_threads_and_processes(cache):
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, cache.directory]) for _ in range(2)]

    def count():
        for _ in range(50):
            cache.incr("n")

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(120) for process in processes] == [0, 0]
    assert cache["n"] == 200 and cache["m"] == 100


def test_a_transaction_keeps_others_out_until_their_time_is_over(cache, tmp_path):
    impatient = diskcache.Cache(cache.directory, timeout=0.01)
    quiet = diskcache.FanoutCache(cache.directory, timeout=0.01)
    outcomes = []

    def write():
        try:
            impatient["k"] if False else impatient.set("k", 2)
        except diskcache.Timeout:
            outcomes.append("timeout")
        outcomes.append(quiet.set("k", 2))
        outcomes.append(quiet.incr("n"))

    with cache.transact():
        cache["k"] = 1
        with cache.transact():
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(60)
    assert outcomes == ["timeout", False, None]
    assert cache["k"] == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_writes_waits_for_it_and_goes_on(cache):
    writing, forked = threading.Event(), threading.Event()

    def write():
        with cache.transact():
            writing.set()
            forked.wait(60)
            cache["k"] = "parent"

    thread = threading.Thread(target=write)
    thread.start()
    assert writing.wait(60)
    child = os.fork()
    if child == 0:
        try:
            cache["k"] = "child"
        finally:
            os._exit(0)
    forked.set()
    thread.join(60)
    os.waitpid(child, 0)
    assert cache["k"] == "child"


def test_the_bound_by_bytes_is_kept_by_the_store(tmp_path):
    cache = diskcache.Cache(tmp_path, size_limit=2 << 20)
    for number in range(200):
        cache[number] = os.urandom(20_000)
    taken = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(tmp_path) for name in names)
    assert taken <= (2 << 20) * 1.05 and 199 in cache and len(cache) < 110


def test_functions_are_memoized_across_processes(cache):
    code = """
import sys
import scrubjay.compat.diskcache as diskcache
@diskcache.Cache(sys.argv[1]).memoize(name="square", expire=60)
def square(n):
    print("computes")
    return n * n
print(square(3))
"""
    assert run(code, cache.directory) == "computes\n9\n"
    assert run(code, cache.directory) == "9\n"


def test_none_is_remembered_and_an_expiry_of_nothing_is_not(cache):
    calls = []

    @cache.memoize()
    def f(n):
        calls.append(n)

    @cache.memoize(expire=0)
    def g(n):
        calls.append(n)

    f(1), f(1), g(2), g(2)
    assert calls == [1, 2, 2]
    with pytest.raises(TypeError):
        cache.memoize(f)


def test_copies_by_pickle_are_of_the_same_folder(cache):
    cache["k"] = 1
    assert pickle.loads(pickle.dumps(cache))["k"] == 1
    fanout = diskcache.FanoutCache(cache.directory, shards=4)
    copy = pickle.loads(pickle.dumps(fanout))
    assert copy["k"] == 1 and copy.size_limit == fanout.size_limit == (1 << 30) // 4


def old_folder(path):
    """A folder as diskcache 5.6.3 writes it."""
    path.mkdir()
    (path / "ab").mkdir()
    (path / "ab" / "large.val").write_bytes(b"x" * 40_000)
    with contextlib.closing(sqlite3.connect(path / "cache.db")) as database:
        database.execute(
            "CREATE TABLE Cache (rowid INTEGER PRIMARY KEY, key BLOB, raw INTEGER, store_time REAL, expire_time REAL,"
            " access_time REAL, access_count INTEGER DEFAULT 0, tag BLOB, size INTEGER DEFAULT 0, mode INTEGER DEFAULT 0,"
            " filename TEXT, value BLOB)"
        )
        rows = [
            ("text", 1, None, "blue", 1, None, "value"),
            (7, 1, None, None, 1, None, 1.5),
            (b"raw", 1, 4e9, None, 1, None, b"bytes"),
            ("large", 1, None, None, 2, "ab/large.val", None),
            ("expired", 1, 1.0, None, 1, None, "gone"),
            ("lost", 1, None, None, 2, "ab/lost.val", None),
            ("dict", 1, None, None, 4, None, pickle.dumps({"a": 1})),
            ("poison", 1, None, None, 4, None, pickle.dumps(Poison(str(path.parent / "executed")))),
            (pickle.dumps(("t", 1)), 0, None, None, 1, None, "by tuple"),
        ]
        columns = "key, raw, expire_time, tag, mode, filename, value"
        database.executemany(f"INSERT INTO Cache ({columns}, store_time) VALUES (?, ?, ?, ?, ?, ?, ?, 1.0)", rows)
        database.commit()
    return path


class Poison:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def import_folder(*arguments):
    command = [sys.executable, "-m", "scrubjay", "import", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_folder_of_diskcache_is_imported_without_its_pickles(tmp_path):
    old, new = old_folder(tmp_path / "old"), tmp_path / "new"
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    done = import_folder(old, "--into", new)
    assert (
        done.returncode == 0
        and done.stdout.startswith("4 entries brought, 3 left\n")
        and "--allow-pickle" in done.stdout
    )
    cache = diskcache.Cache(new)
    assert list(cache) == ["text", 7, b"raw", "large"]
    assert cache.get("text", tag=True) == ("value", "blue") and cache[7] == 1.5
    value, expires = cache.get(b"raw", expire_time=True)
    assert value == b"bytes" and expires == pytest.approx(4e9, abs=1)
    assert cache["large"] == b"x" * 40_000
    assert not (tmp_path / "executed").exists()
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before


def test_pickles_are_imported_if_they_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    done = import_folder(old_folder(tmp_path / "old"), "--into", tmp_path / "new", "--allow-pickle")
    assert done.stdout.startswith("7 entries brought, 0 left\n")
    cache = diskcache.Cache(tmp_path / "new", allow_pickle=True)
    assert cache["dict"] == {"a": 1} and cache[("t", 1)] == "by tuple"


def test_a_folder_that_is_none_of_diskcaches_is_an_error_that_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = import_folder(folder, "--into", tmp_path / "new")
        assert done.returncode == 1 and str(folder) in done.stderr and "Traceback" not in done.stderr


def test_settings_are_found_again(cache):
    cache.reset("cull_limit", 3)
    cache.reset("size_limit", 1 << 24)
    assert cache.reset("statistics", 1, update=False) == 1
    again = diskcache.Cache(cache.directory)
    assert (again.cull_limit, again.size_limit, again.statistics) == (3, 1 << 24, 0)
    # What is given counts more, and is kept too.
    assert diskcache.Cache(cache.directory, cull_limit=5).cull_limit == 5
    assert cache.cull_limit == 3 and cache.reset("cull_limit") == 5 == cache.cull_limit
    assert diskcache.Cache(cache.directory).cull_limit == 5


def test_settings_that_are_damaged_say_nothing(cache):
    cache.reset("cull_limit", 3)
    path = os.path.join(cache.directory, "diskcache.json")
    assert os.stat(path).st_mode & 0o777 == 0o600
    for text in "", "[1]", "{", "[" * 100_000:
        with open(path, "w") as file:
            file.write(text)
        assert diskcache.Cache(cache.directory).cull_limit == 10


def contents(cache):
    return {key: cache.get(key, tag=True, expire_time=True) for key in cache}


def test_a_transaction_that_fails_changes_nothing(cache):
    for number in range(8):
        cache.set(
            number, b"v" * 40_000 if number == 1 else [number], expire=1000 if number == 2 else None, tag=f"t{number}"
        )
    cache.push("queued", prefix="q")
    before = contents(cache)
    with pytest.raises(ZeroDivisionError), cache.transact():
        cache[0] = "other"
        cache[0] = "and another"
        del cache[1]
        cache.touch(2, 5)
        assert cache.pop(3) == [3]
        cache.evict("t4")
        cache.incr("count", 5)
        cache.add("new", 1)
        assert cache.pull("q")[1] == "queued"
        with contextlib.suppress(KeyError), cache.transact():
            cache[6] = "kept until the outer one fails"
            raise KeyError
        assert cache[6] == "kept until the outer one fails"
        cache.clear()
        cache["after"] = 1
        raise ZeroDivisionError
    assert contents(cache) == before
    with cache.transact():
        cache[0] = "other"
    assert cache[0] == "other"


def test_a_transaction_that_is_interrupted_is_undone_for_other_processes_too(cache):
    cache["a"] = 1
    with pytest.raises(KeyboardInterrupt), cache.transact():
        cache["a"] = 2
        raise KeyboardInterrupt
    program = "import sys, scrubjay.compat.diskcache as d; print(d.Cache(sys.argv[1])['a'])"
    assert run(program, cache.directory) == "1\n"


def test_a_cull_leaves_the_settings_that_others_read_alone(tmp_path):
    class Watched(diskcache.FanoutCache):
        def expire(self, *args):
            seen.append(self.size_limit)
            return super().expire(*args)

    seen, cache = [], Watched(tmp_path / "cache", shards=4, size_limit=4 << 20)
    cache.cull()
    assert seen == [1 << 20]
