"""The native store: what it keeps, who sees it, who leads, and what happens across processes."""

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from scrubjay._native import Store, key_digest


def digest(name):
    return key_digest("test", name.encode())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", write_through=True)


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_a_record_comes_back_as_it_was_put(store):
    now = time.time()
    store.put(
        digest("ann"),
        b"payload",
        function="user",
        code="v1",
        codec=3,
        tags=["team:7", "user:3"],
        expires=now + 60,
        load_cost=0.25,
        description=b'["ann"]',
    )
    record = store.get(digest("ann"))
    assert (record.payload, record.function, record.code, record.codec) == (b"payload", "user", "v1", 3)
    assert (record.tags, record.description, record.load_cost) == (["team:7", "user:3"], b'["ann"]', 0.25)
    assert abs(record.expires - now - 60) < 0.001 and record.is_fresh and record.len == 7
    assert store.get(digest("bob")) is None


def test_an_expired_record_is_a_miss_unless_it_is_asked_for(store):
    store.put(digest("old"), b"1", expires=time.time() - 1, stale_until=time.time() + 60, written=time.time() - 10)
    assert store.get(digest("old")) is None
    assert store.get(digest("old"), stale=True).payload == b"1"
    assert store.get(digest("old"), expired=True).payload == b"1"


def test_invalidation_goes_by_key_tag_function_and_all(store):
    for name in "abcd":
        store.put(digest(name), b"", function=f"f{name}", tags=["even"] if name in "bd" else [])
    assert store.invalidate(digest("a")) == 1
    assert store.invalidate_tag("even") == 2
    assert store.invalidate_function("fc") == 1
    store.put(digest("e"), b"")
    assert store.clear() == 1
    assert list(store) == []


def test_a_value_whose_load_began_before_an_invalidation_is_not_stored(store):
    fence = store.fence()
    store.invalidate(digest("ann"))
    store.put(digest("ann"), b"stale", fence=fence)
    assert store.get(digest("ann")) is None
    store.put(digest("ann"), b"new", fence=store.fence())
    assert store.get(digest("ann")).payload == b"new"


def test_heads_come_in_the_order_of_writing(store):
    for name in "cab":
        store.put(digest(name), name.encode(), description=name.encode())
    assert [head.description for head in store] == [b"c", b"a", b"b"]
    assert store.stats()["entries"] == 3


def test_a_large_value_is_a_file_and_one_flipped_byte_makes_it_a_miss(store):
    store.put(digest("large"), os.urandom(100_000))
    assert store.verify().is_sound
    (value,) = [path for path in (store.directory / "v").rglob("*") if path.is_file()]
    content = bytearray(value.read_bytes())
    content[50_000] ^= 1
    value.write_bytes(content)
    assert store.get(digest("large")) is None
    seen = []
    report = store.verify(lambda done, total: seen.append((done, total)))
    assert not report.is_sound and report.damaged == [digest("large").hex()]
    assert seen and seen[-1] == (1, 1)


def test_an_error_in_the_progress_function_comes_out(store):
    store.put(digest("a"), b"")
    with pytest.raises(ZeroDivisionError):
        store.verify(lambda done, total: 1 / 0)


def test_folders_and_files_are_their_owners(store):
    store.put(digest("large"), os.urandom(100_000))
    for path in [store.directory, *store.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"capacity_bytes": 10}, "at least 1 MiB"),
        ({"durability": "paper"}, "durability must be"),
    ],
)
def test_nonsense_is_an_error_with_its_reason(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        Store(tmp_path / "store", **wrong)


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be used"):
        Store(tmp_path / "file" / "store")


def test_a_digest_has_32_bytes(store):
    with pytest.raises(ValueError, match="32 bytes"):
        store.get(b"short")


def test_one_thread_leads_and_the_others_find_its_answer(store):
    loads, answers = [], []
    # All are there before any begins.
    together = threading.Barrier(8)

    def ask():
        together.wait()
        lead = store.lead(digest("k"))
        if lead is not None:
            with lead:
                if store.get(digest("k")) is None:
                    loads.append(1)
                    store.put(digest("k"), b"answer")
        answers.append(store.get(digest("k")).payload)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(loads) == 1 and answers == [b"answer"] * 8


def test_waiting_for_a_lead_ends_with_its_time(store):
    with store.try_lead(digest("k")):
        assert store.try_lead(digest("k")) is None
        assert store.lead(digest("k"), timeout=0.01) is None
    assert store.try_lead(digest("k")) is not None


def test_a_leader_that_is_killed_is_succeeded(tmp_path):
    code = """
import sys, time
from scrubjay._native import Store, key_digest
lead = Store(sys.argv[1]).try_lead(key_digest("test", b"k"))
print("leads", flush=True)
sys.stdin.read()
"""
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "leads\n"
    store = Store(tmp_path)
    assert store.try_lead(digest("k")) is None
    other.kill()
    lead = store.lead(digest("k"), timeout=30)
    assert lead is not None
    other.communicate()


def test_another_process_reads_what_this_one_wrote(store):
    store.put(digest("k"), b"from the parent")
    code = "import sys; from scrubjay._native import *; print(Store(sys.argv[1]).get(key_digest('test', b'k')).payload)"
    assert run(code, store.directory).stdout == "b'from the parent'\n"


def test_what_is_queued_is_written_when_the_interpreter_ends(tmp_path):
    run("import sys; from scrubjay._native import *; Store(sys.argv[1]).put(key_digest('test', b'k'), b'1')", tmp_path)
    assert Store(tmp_path).get(digest("k")).payload == b"1"


def _child(store, failed):
    try:
        assert store.get(digest("k")).payload == b"parent"
        store.put(digest("child"), b"child")
        failed.value = 0
    finally:
        os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_sides_of_a_fork_go_on(store):
    store.put(digest("k"), b"parent")
    lead = store.try_lead(digest("lead"))
    busy = threading.Event()

    def keep_writing():
        number = 0
        while not busy.is_set():
            store.put(digest("busy"), b"%d" % number)
            number += 1

    writer = threading.Thread(target=keep_writing)
    writer.start()
    context = multiprocessing.get_context("fork")
    failed = context.Value("i", 1)
    children = [context.Process(target=_child, args=(store, failed)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    busy.set()
    writer.join(60)
    assert failed.value == 0
    assert store.get(digest("child")).payload == b"child"
    # The children did not keep the parent's lead alive, nor take it.
    lead.release()
    assert store.try_lead(digest("lead")) is not None


def test_others_run_while_a_thread_waits_for_a_lead(store):
    lead = store.try_lead(digest("k"))
    waiting = threading.Thread(target=store.lead, args=(digest("k"), 30))
    waiting.start()
    # If the waiter kept the interpreter, this line would come after its time.
    begun = time.monotonic()
    lead.release()
    waiting.join(60)
    assert time.monotonic() - begun < 20
