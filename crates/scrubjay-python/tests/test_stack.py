"""Deep recursion ends in RecursionError, whatever the interpreter's limit is and however small the thread's stack."""

import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
import sys, threading
from scrubjay import lru_cache, memoize

def recurse(decorator):
    deepest = 0

    @decorator
    def function(n):
        nonlocal deepest
        deepest = n
        return function(n + 1)

    try:
        function(0)
    except RecursionError:
        reached.append(deepest)
    # It works as before where there is room.
    assert decorator(lambda a: a)(1) == 1

def run():
    for decorator in lru_cache, lru_cache(maxsize=None), lru_cache(maxsize=0), memoize, memoize(copy="deep"):
        recurse(decorator)

reached = []
sys.setrecursionlimit(LIMIT)
threading.stack_size(STACK)
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert len(reached) == 5, reached
print(min(reached))
"""


def run(program):
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("stack", [128 << 10, 256 << 10, 1 << 20, 0])
@pytest.mark.parametrize("limit", [1_000, 1_000_000])
def test_recursion_ends_before_the_stack_does(stack, limit):
    deepest = int(run(PROGRAM.replace("LIMIT", str(limit)).replace("STACK", str(stack))))
    # Not for want of trying: a tenth of what the stack would hold if a level took a kilobyte. CPython 3.12 itself ends
    # it after some 500 levels.
    assert deepest >= min(limit, 4_000, (stack or 8 << 20) >> 10) // 10


def test_the_main_thread_ends_its_recursion_too():
    program = """
    import sys
    from scrubjay import cache, memoize

    sys.setrecursionlimit(1_000_000)
    for decorator in cache, memoize:
        @decorator
        def function(n):
            return function(n + 1)

        try:
            function(0)
        except RecursionError:
            print("ended")
    """
    assert run(program) == "ended\nended\n"


def test_keys_that_compare_by_using_the_cache_end_too():
    program = """
    import sys
    from scrubjay import lru_cache, memoize

    sys.setrecursionlimit(1_000_000)

    class Key:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            return function(Key())

    for decorator in lru_cache, memoize:
        function = decorator(lambda key: 1)
        function(Key())
        try:
            function(Key())
        except RecursionError:
            print("ended")
    """
    assert run(program) == "ended\nended\n"
