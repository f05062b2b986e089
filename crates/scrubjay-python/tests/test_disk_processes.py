"""`memoize(disk=…)` and `Cache(disk=…)` among processes: once, handed over, and told of what is no longer true."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from other_process import Process, run
from scrubjay import Cache, memoize
from waiting import WAIT

# Says "runs" and waits for a line while the function runs; answers a line with a call.
SLOW = """
    import sys, time
    from scrubjay import memoize

    @memoize(disk=sys.argv[1], version=1)
    def slow(n):
        # More than a millisecond: worth a lock, and there before the next may lead.
        end = time.perf_counter() + 0.002
        print("runs", flush=True)
        sys.stdin.readline()
        while time.perf_counter() < end:
            pass
        return n * 10

    for line in sys.stdin:
        print(slow(int(line)), flush=True)
"""

KEEPER = """
    import sys
    from scrubjay import Cache, memoize

    runs = []

    @memoize(disk=sys.argv[1], version=1, tags=["all"])
    def square(n):
        runs.append(n)
        return n * n

    cache = Cache(disk=sys.argv[1])
    for line in sys.stdin:
        print(eval(line), flush=True)
"""

# What another process says is heard within this time, and the machine may be busy.
HEARD = 5


def until(ask, expected):
    """How long it took until a process answered as expected. It hears by itself: there is nothing else to wait for."""
    begun = time.monotonic()
    while ask() != expected:
        assert time.monotonic() - begun < HEARD
    return time.monotonic() - begun


def test_two_processes_compute_once(tmp_path):
    with Process(SLOW, tmp_path) as one, Process(SLOW, tmp_path) as other:
        assert one.ask("1") == "runs"
        other.say("1")
        one.say("go on")
        assert one.hear() == "10" and other.hear() == "10"


def test_a_leader_that_is_killed_hands_over(tmp_path):
    with Process(SLOW, tmp_path) as one, Process(SLOW, tmp_path) as other:
        assert one.ask("1") == "runs"
        other.say("1")
        one.kill()
        assert other.hear() == "runs"
        other.say("go on")
        assert other.hear() == "10"


def test_a_task_waits_for_another_process_and_its_loop_goes_on(tmp_path):
    program = """
        import asyncio, sys
        from scrubjay import memoize

        @memoize(disk=sys.argv[1], version=1)
        async def slow(n):
            print("runs", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            return n * 10

        async def main():
            asked = asyncio.ensure_future(slow(1))
            for _ in range(20):
                await asyncio.sleep(0.001)
            print("ticked", flush=True)
            print(await asked, slow.stats().loads, flush=True)

        asyncio.run(main())
    """
    with Process(program, tmp_path) as one:
        assert one.hear() == "runs" and one.hear() == "ticked"
        with Process(program, tmp_path) as other:
            assert other.hear() == "ticked"
            one.say("go on")
            assert one.hear() == "10 1" and other.hear() == "10 0"


def test_processes_that_need_each_other_do_not_wait_in_a_circle(tmp_path):
    program = """
        import sys
        from scrubjay import memoize

        def load(name, other):
            if name != sys.argv[2]:
                return 0
            print("runs", flush=True)
            sys.stdin.readline()
            answer = other(1) + 1
            # Until the other process has asked, too.
            print("asked", flush=True)
            sys.stdin.readline()
            return answer

        @memoize(disk=sys.argv[1], version=1)
        def left(n):
            return load("left", right)

        @memoize(disk=sys.argv[1], version=1)
        def right(n):
            return load("right", left)

        print({"left": left, "right": right}[sys.argv[2]](1), flush=True)
    """
    with Process(program, tmp_path, "left") as one, Process(program, tmp_path, "right") as other:
        assert one.hear() == "runs" and other.hear() == "runs"
        assert one.ask("") == "asked" and other.ask("") == "asked"
        assert one.ask("") == "1" and other.ask("") == "1"


@pytest.mark.parametrize(
    ("change", "question", "before", "after"),
    [
        ("square.invalidate(3)", "square.contains(3), runs", "(True, [])", "(False, [])"),
        ("square.invalidate_tag('all')", "square.contains(3), runs", "(True, [])", "(False, [])"),
        ("square.cache_clear()", "square.contains(3), runs", "(True, [])", "(False, [])"),
        ("cache.pop('k')", "cache.get('k'), cache.peek('k')", "(1, 1)", "(None, None)"),
        ("cache.set('k', 2)", "cache.get('k'), cache['k']", "(1, 1)", "(2, 2)"),
        ("cache.clear()", "cache.get('k'), len(cache)", "(1, 1)", "(None, 0)"),
    ],
)
def test_what_another_process_forgets_is_forgotten_in_memory_soon(tmp_path, change, question, before, after):
    with Process(KEEPER, tmp_path) as one, Process(KEEPER, tmp_path) as other:
        one.ask("square(3), cache.set('k', 1), cache._folder.opened().store.flush()")
        # In this process the function does not run: the disk has it.
        assert other.ask("square(3), cache.get('k'), runs") == "(9, 1, [])"
        assert other.ask(question) == before
        one.ask(change)
        took = until(lambda: other.ask(question), after)
        assert took < HEARD


@pytest.mark.parametrize("hears", [True, False])
def test_a_load_that_another_process_invalidated_is_stored_nowhere(tmp_path, hears):
    # Whether memory hears of it in time or not, the disk does not take it.
    deaf = "slow._parts.loader.disk._opened()._watch.stop()\n    "
    program = SLOW if hears else SLOW.replace("for line in", deaf + "for line in")
    with Process(program, tmp_path) as one:
        assert one.ask("1") == "runs"
        run("import sys; from scrubjay._native import Store; Store(sys.argv[1]).clear()", tmp_path)
        one.say("go on")
        assert one.hear() == "10"
        one.end()
    with Process(SLOW, tmp_path) as other:
        assert other.ask("1") == "runs"


def test_an_entry_of_another_process_is_found_without_waiting_for_anyone(tmp_path):
    with Process(KEEPER, tmp_path) as one, Process(KEEPER, tmp_path) as other:
        for n in range(20):
            assert one.ask(f"square({n})") == str(n * n)
        one.end()
        assert [other.ask(f"square({n})") for n in range(20)] == [str(n * n) for n in range(20)]
        assert other.ask("runs") == "[]"


def square_of(folder):
    @memoize(disk=folder, version=1)
    def square(n):
        return n * n

    return square


def _child(square, cache, results):
    try:
        results.put((square(3), square(4), square.stats().loads, cache.get("parent")))
        cache["child"] = 1
        square.invalidate(3)
        results.put("told")
    finally:
        results.close()
        results.join_thread()
        os._exit(0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_sides_of_a_fork_go_on_and_hear_of_each_other(tmp_path):
    square, cache = square_of(tmp_path), Cache(disk=tmp_path)
    assert square(3) == 9
    cache["parent"] = 1
    busy, stopped = square_of(tmp_path), threading.Event()

    def keep_computing():
        number = 10
        while not stopped.is_set():
            number += 1
            assert busy(number) == number * number

    worker = threading.Thread(target=keep_computing)
    worker.start()
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=_child, args=(square, cache, results)) for _ in range(3)]
    for child in children:
        child.start()
    heard = [results.get(timeout=WAIT) for _ in range(6)]
    for child in children:
        child.join(WAIT)
    stopped.set()
    worker.join(WAIT)
    answers = [one for one in heard if one != "told"]
    assert len(answers) == 3 and all(answer[:2] == (9, 16) and answer[3] == 1 for answer in answers)
    assert cache["child"] == 1
    until(lambda: square._parts.memory.contains(square.locate(3)[1]), False)
    assert square(3) == 9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_that_only_hits_hears_of_its_parents_invalidations(tmp_path):
    square = square_of(tmp_path)
    assert square(3) == 9
    asked, answered = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(answered[1], b"1" if square.contains(3) else b"0")
            os.read(asked[0], 1)
            until(lambda: square._parts.memory.contains(square.locate(3)[1]), False)
            os.write(answered[1], b"g")
        finally:
            os._exit(0)
    assert os.read(answered[0], 1) == b"1"
    square.invalidate(3)
    os.write(asked[1], b"x")
    assert os.read(answered[0], 1) == b"g"
    os.waitpid(child, 0)


def test_a_read_only_folder_costs_the_disk_only(tmp_path, mount):
    folder = tmp_path / "cache"
    with Process(KEEPER, folder) as one:
        one.ask("square(3)"), one.end()
    mount("--bind", folder)
    program = """
        import sys, warnings
        from scrubjay import memoize
        runs = []
        @memoize(disk=sys.argv[1], version=1)
        def square(n):
            runs.append(n)
            return n * n
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert [square(5), square(6), square(5)] == [25, 36, 25]
            square.invalidate(5)
            assert square(5) == 25
        print(runs, len(said) <= 3)
    """
    assert run(program, mount("-o", "remount,ro,bind")) == "[5, 6, 5] True\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_program_and_the_workers_that_it_starts_share_results(tmp_path, method):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import dataclasses, multiprocessing, sys, warnings
            from scrubjay import memoize

            warnings.simplefilter("error")

            @dataclasses.dataclass
            class Square:
                n: int

            @memoize(disk=sys.argv[1])
            def square(n):
                return Square(n * n)

            def ask(numbers):
                found = [square(n).n for n in numbers]
                square._parts.loader.disk.folder.opened().store.flush()
                return found, square.stats().loads

            if __name__ == "__main__":
                assert ask([1, 2]) == ([1, 4], 2)
                with multiprocessing.get_context(sys.argv[2]).Pool(1) as pool:
                    assert pool.apply(ask, [[1, 2, 3]]) == ([1, 4, 9], 1)
                assert ask([3]) == ([9], 2)
        """)
    )
    done = subprocess.run(
        [sys.executable, program, tmp_path / "cache", method], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
