"""The disk tier of DSPy's cache: other processes, crashes, damage, bounds, forks, and answers that were paid for before."""

import contextlib
import multiprocessing
import os
import pathlib
import pickle
import signal
import stat
import subprocess
import sys
import tempfile

import dspy
import pytest
import scrubjay.dspy
from conftest import IS_3_3, model


def run(code, *arguments, **environment):
    """What a new process prints, and what it says on the side."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


ASK = """
import sys, dspy, scrubjay.dspy
cache = scrubjay.dspy.install(disk_cache_dir=sys.argv[2])
print(dspy.LM("openai/gpt-4o-mini", api_base=sys.argv[1], api_key="k", num_retries=0)(sys.argv[3]))
"""


def test_a_new_process_finds_what_another_asked(upstream, tmp_path):
    first, _ = run(ASK, upstream.url, tmp_path, "hello")
    again, _ = run(ASK, upstream.url, tmp_path, "hello")
    assert first == again and upstream.calls == 1


WRITE = """
import sys, scrubjay.dspy
cache = scrubjay.dspy.Cache(disk_cache_dir=sys.argv[1])
number = 0
while True:
    cache.put({"n": number}, {"outputs": ["x" * 50_000], "n": number})
    print(number, flush=True)
    number += 1
"""


def test_what_was_kept_outlives_a_kill_in_the_middle_of_writing(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        kept = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    cache = scrubjay.dspy.Cache(disk_cache_dir=tmp_path)
    assert [cache.get({"n": number})["n"] for number in range(kept + 1)] == list(range(kept + 1))
    assert cache.disk_cache.store().verify().is_sound


DAMAGE = """
import sys, scrubjay.dspy
cache = scrubjay.dspy.Cache(disk_cache_dir=sys.argv[1], enable_memory_cache=False)
print([cache.get({"n": n}) is not None for n in range(3)])
cache.put({"n": 0}, "new")
print(cache.get({"n": 0}) in ("new", None))
"""


def filled(folder):
    cache = scrubjay.dspy.Cache(disk_cache_dir=folder)
    for number in range(3):
        cache.put({"n": number}, os.urandom(60_000) if number else "small")
    cache.disk_cache.close()
    return os.path.join(folder, "scrubjay")


def noise(path):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.write(os.urandom(size))


def flip(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def cut(path):
    os.truncate(path, os.path.getsize(path) // 3)


def replace_by_a_folder(path):
    os.remove(path)
    os.mkdir(path)


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        *[("value", damage) for damage in (noise, flip, cut, replace_by_a_folder)],
        *[("store.db", damage) for damage in (noise, cut, replace_by_a_folder)],
    ],
)
def test_a_damaged_file_is_a_miss_with_one_warning(tmp_path, damage, what):
    folder = filled(tmp_path)
    if what == "store.db":
        # What its log has would mend it.
        for name in ("store.db-wal", "store.db-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))
        damage(os.path.join(folder, what))
    else:
        damage(value_files(folder)[0])
    found, said = run(DAMAGE, tmp_path)
    answers, goes_on = found.splitlines()
    assert answers.count("True") == (2 if what == "value" else 0) and goes_on == "True"
    assert len([line for line in said.splitlines() if line.strip()]) == 1, said


def value_files(folder):
    return [os.path.join(at, name) for at, _, names in os.walk(os.path.join(folder, "v")) for name in names]


def test_a_store_of_another_program_is_left_alone_and_said_once(tmp_path):
    import sqlite3

    os.mkdir(tmp_path / "scrubjay")
    with contextlib.closing(sqlite3.connect(tmp_path / "scrubjay" / "store.db")) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.execute("PRAGMA user_version = 99")
        other.commit()
    before = (tmp_path / "scrubjay" / "store.db").read_bytes()
    found, said = run(DAMAGE, tmp_path)
    assert found == "[False, False, False]\nTrue\n"
    assert len(said.strip().splitlines()) == 1
    assert (tmp_path / "scrubjay" / "store.db").read_bytes() == before


def test_an_entry_that_cannot_be_decoded_is_a_miss_and_is_replaced(cache, caplog):
    key = cache.cache_key({"n": 1})
    store = cache.disk_cache.store()
    for codec, payload in [(3, b"\x01garbage"), (3, b"\x09n"), (4, pickle.dumps("x")), (77, b"")]:
        store.put(bytes.fromhex(key), payload, codec=codec)
        cache.reset_memory_cache()
        assert cache.get({"n": 1}) is None
    assert len([record for record in caplog.records if "miss" in record.message]) == 1
    cache.put({"n": 1}, "new")
    cache.reset_memory_cache()
    assert cache.get({"n": 1}) == "new"


HOMELESS = """
import sys, os, dspy, scrubjay.dspy
cache = scrubjay.dspy.install()
cache.put({"n": 1}, "kept in memory")
print(cache.get({"n": 1}), len(cache.disk_cache))
"""


@pytest.mark.parametrize("folder", ["/dev/null/nowhere", "/proc/nowhere"])
def test_without_a_folder_it_keeps_answers_in_memory(folder, tmp_path):
    found, said = run(HOMELESS, DSPY_CACHEDIR=folder)
    assert found.splitlines()[-1] == "kept in memory 0"
    assert len([line for line in said.splitlines() if "memory only" in line]) == 1, said


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_folder_that_is_read_only_is_as_good_as_none():
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o500)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=keep_as_nobody, args=(answers, folder))
    process.start()
    assert answers.get(timeout=60) == ("kept in memory", 0)
    process.join(60)
    assert os.listdir(folder) == []
    os.rmdir(folder)


def keep_as_nobody(answers, folder):
    if os.geteuid() == 0:
        # Root may write anywhere.
        os.chown(folder, 65534, 65534)
        os.setuid(65534)
    cache = scrubjay.dspy.Cache(disk_cache_dir=folder)
    cache.put({"n": 1}, "kept in memory")
    answers.put((cache.get({"n": 1}), len(cache.disk_cache)))


def test_a_full_disk_does_not_fail_the_call(lm, cache, upstream, tmp_path):
    # A store that has no room for the answer, as a disk that is full has none.
    import resource

    cache.disk_cache.store()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        first = lm("hello")
        assert lm("hello") == first and upstream.calls == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert cache.stats().memory_entries == 1
    cache.reset_memory_cache()
    assert lm("hello") and upstream.calls == 2


IMPORT = """
import os, sys
import scrubjay.dspy
cache = scrubjay.dspy.Cache()
assert "dspy" not in sys.modules and "diskcache" not in sys.modules
print(os.listdir(os.environ["HOME"]))
"""


def test_importing_and_constructing_touch_no_disk(tmp_path):
    environment = {"HOME": str(tmp_path), "DSPY_CACHEDIR": ""}
    assert run(IMPORT, **environment)[0] == "[]\n"


@pytest.mark.skipif(IS_3_3, reason="before 3.4 DSPy makes its own cache as it is imported")
def test_installing_before_the_first_use_makes_no_cache_of_dspys_own(tmp_path):
    code = "import os, dspy, scrubjay.dspy; scrubjay.dspy.install(); print(os.listdir(os.environ['DSPY_CACHEDIR']))"
    assert run(code, DSPY_CACHEDIR=str(tmp_path))[0] == "[]\n"


def test_the_cache_is_put_in_place_under_dspys_lock(tmp_path):
    lock = getattr(dspy, "_cache_lock", None)
    if lock is None:
        pytest.skip("this DSPy has no lock for it")
    import threading

    done = threading.Event()
    with lock:
        thread = threading.Thread(target=lambda: (scrubjay.dspy.install(disk_cache_dir=tmp_path), done.set()))
        thread.start()
        assert not done.wait(0.05)
    thread.join(60)
    assert done.is_set() and dspy.cache.disk_cache_dir == str(tmp_path)
    scrubjay.dspy.uninstall()


def test_configuring_afterwards_keeps_the_kind_of_cache(lm, cache, upstream, tmp_path):
    dspy.configure_cache(disk_cache_dir=str(tmp_path / "other"), memory_max_entries=5)
    assert type(dspy.cache) is scrubjay.dspy.Cache and dspy.cache is not cache
    assert dspy.cache.memory_cache.maxsize == 5
    lm("hello")
    lm("hello")
    assert upstream.calls == 1 and dspy.cache.stats().memory_hits == 1


def test_uninstalling_gives_dspy_its_own_parts_back(tmp_path):
    import dspy.clients

    scrubjay.dspy.install(disk_cache_dir=tmp_path)
    scrubjay.dspy.uninstall()
    assert dspy.clients.Cache.__module__ == dspy.clients.cache.request_cache.__module__ == "dspy.clients.cache"
    assert type(dspy.cache) is dspy.clients.Cache


def test_there_is_no_pickle_on_disk_and_a_poisoned_one_is_never_executed(lm, cache, upstream, tmp_path):
    lm("hello")
    marker = tmp_path / "executed"

    class Poison:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    key = cache.cache_key({"n": 2})
    for codec in (3, 4):
        cache.disk_cache.store().put(bytes.fromhex(key), pickle.dumps(Poison()), codec=codec)
        assert cache.get({"n": 2}) is None
    cache.disk_cache.store().invalidate(bytes.fromhex(key))
    cache.disk_cache.close()
    for at, _, names in os.walk(cache.disk_cache_dir):
        for name in names:
            if not name.startswith("store.db"):
                content = pathlib.Path(at, name).read_bytes()
                assert b"\x80\x04" not in content and b"\x80\x05" not in content
    payloads = [store.get(head.digest) for store in [cache.disk_cache.store()] for head in store]
    assert payloads and all(record.codec == 3 and record.payload[0] == 1 for record in payloads)
    assert not marker.exists()


def test_files_are_their_owners(lm, cache):
    lm("hello")
    for at, folders, files in os.walk(os.path.join(cache.disk_cache_dir, "scrubjay")):
        assert all(stat.S_IMODE(os.stat(os.path.join(at, name)).st_mode) == 0o700 for name in folders)
        assert all(stat.S_IMODE(os.stat(os.path.join(at, name)).st_mode) == 0o600 for name in files)


def test_secrets_are_not_on_disk(upstream, cache):
    model(upstream, api_key="sk-very-secret", extra_headers={"authorization": "Bearer very-secret"})("hello")
    for at, _, names in os.walk(cache.disk_cache_dir):
        for name in names:
            assert b"very-secret" not in pathlib.Path(at, name).read_bytes()


def test_the_bound_by_bytes_holds_on_disk(tmp_path):
    limit = 4 << 20
    cache = scrubjay.dspy.Cache(disk_cache_dir=tmp_path, disk_size_limit_bytes=limit, enable_memory_cache=False)
    for number in range(300):
        cache.put({"n": number}, {"outputs": [os.urandom(20_000).hex()]})
        if number % 20 == 0:
            assert taken(tmp_path) <= limit * 1.05
    assert taken(tmp_path) <= limit * 1.05
    assert cache.get({"n": 299}) is not None and 50 < len(cache.disk_cache) < 110


def taken(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def test_the_bounds_of_memory_hold_after_every_call_and_the_least_used_go_first():
    cache = scrubjay.dspy.Cache(enable_disk_cache=False, memory_max_entries=1000, memory_size_limit_bytes=100_000)
    for number in range(200):
        cache.put({"n": number}, "x" * 1000)
        cache.get({"n": 0})
        assert cache.memory_cache.bytes <= 100_000
    assert cache.get({"n": 0}) and cache.get({"n": 199}) and cache.get({"n": 1}) is None
    cache.put({"n": "heavy"}, "x" * 200_000)
    assert cache.get({"n": "heavy"}) is None and cache.get({"n": 0})
    few = scrubjay.dspy.Cache(enable_disk_cache=False, memory_max_entries=10)
    for number in range(100):
        few.put({"n": number}, number + 1)
    assert len(few.memory_cache) == 10 and few.get({"n": 99}) == 100


def test_a_million_small_entries_stay_within_their_bound():
    from scrubjay.dspy._memory import MemoryCache

    memory = MemoryCache(10**9, 1 << 20)
    for number in range(1_000_000):
        memory.insert(number, number, 400)
    assert memory.bytes <= 1 << 20 and len(memory) == (1 << 20) // 400
    assert list(memory)[-1] == 999_999
    memory.clear()
    assert memory.bytes == 0 and not memory._weights


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_are_forked_or_spawned_go_on(start, lm, cache, upstream):
    lm("hello")
    context = multiprocessing.get_context(start)
    answers = context.Queue()
    processes = [
        context.Process(target=ask_again, args=(answers, upstream.url, cache.disk_cache_dir, start)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    # Each child asked for what nobody had asked for before: one of them did.
    assert found == [[lm("hello"), lm("new")]] * 3 and upstream.calls == 2
    cache.reset_memory_cache()
    assert cache.get({"from": "child"}) == "child"


def ask_again(answers, url, folder, start):
    if start == "spawn":
        scrubjay.dspy.install(disk_cache_dir=folder)
    dspy.cache.put({"from": "child"}, "child")
    lm = dspy.LM("openai/gpt-4o-mini", api_base=url, api_key="k", num_retries=0)
    answers.put([lm("hello"), lm("new")])


def test_memory_goes_to_a_file_and_back_without_pickle(cache, tmp_path):
    cache.put({"n": 1}, {"outputs": ["a"]})
    cache.save_memory_cache(tmp_path / "memory")
    assert b"\x80\x04" not in (tmp_path / "memory").read_bytes()
    other = scrubjay.dspy.Cache(enable_disk_cache=False)
    with pytest.raises(ValueError, match="allow_pickle"):
        other.load_memory_cache(tmp_path / "memory")
    other.load_memory_cache(tmp_path / "memory", allow_pickle=True)
    assert other.get({"n": 1}) == {"outputs": ["a"]}
    (tmp_path / "pickled").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="was not written by"):
        other.load_memory_cache(tmp_path / "pickled", allow_pickle=True)


class Vanished:
    pass


def test_answers_of_dspys_own_cache_are_brought_in(upstream, tmp_path):
    scrubjay.dspy.uninstall()
    own = tmp_path / "own"
    dspy.configure_cache(disk_cache_dir=str(own))
    lm = model(upstream)
    first = lm("hello")
    litellm_options = {} if IS_3_3 else {"engine": "litellm"}
    second = model(upstream, **litellm_options)("goodbye")
    marker = tmp_path / "executed"

    class Poison:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    dspy.cache.disk_cache.set("f" * 64, Poison())
    dspy.cache.disk_cache.close()
    cache = scrubjay.dspy.install(disk_cache_dir=tmp_path / "new")
    try:
        assert cache.import_diskcache(own) == (2, 1)
        assert model(upstream)("hello") == first
        assert model(upstream, **litellm_options)("goodbye") == second
        assert upstream.calls == 2 and not marker.exists()
        # Again: nothing is brought twice over what is there.
        assert cache.import_diskcache(own) == (2, 1)
    finally:
        scrubjay.dspy.uninstall()


def test_a_value_that_cannot_be_stored_stays_in_memory_and_is_named_once(cache, caplog):
    class Local:
        pass

    for number in range(3):
        cache.put({"n": number}, [Local()])
    assert cache.get({"n": 1}) is not None and len(cache.disk_cache) == 0
    assert len([record for record in caplog.records if "Local" in record.message]) == 1


def test_a_value_that_cannot_be_copied_is_not_kept(cache):
    import threading

    cache.put({"n": 1}, threading.Lock())
    assert cache.get({"n": 1}) is None
