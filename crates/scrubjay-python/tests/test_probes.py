"""Probes that hang, leak or crash caches: each in a process of its own, with a time limit.

Each runs for the functools drop-in, for `memoize`, and for `Cache`, behind one face: `make(function, maxsize)`.
"""

import subprocess
import sys
import textwrap

import pytest

FACES = {
    "lru_cache": """
        from scrubjay import lru_cache
        def make(function, maxsize=None):
            return lru_cache(maxsize=maxsize)(function)
    """,
    "memoize": """
        from scrubjay import memoize
        def make(function, maxsize=None):
            return memoize(function, maxsize=maxsize)
    """,
    "Cache": """
        from scrubjay import Cache
        class Face:
            def __init__(self, function, maxsize):
                self.cache, self.function = Cache(maxsize=maxsize), function
                self.cache_clear = self.cache.clear
            def __call__(self, key):
                return self.cache.get_or_compute(key, self.function, key)
            def cache_info(self):
                stats = self.cache.stats()
                return stats.hits, stats.misses, stats.capacity, len(self.cache)
        def make(function, maxsize=None):
            return Face(function, maxsize)
    """,
}

PROBES = {
    # (a)
    "eq_that_calls_the_cache": """
        class Key:
            def __hash__(self): return 1
            def __eq__(self, other):
                f(3)
                return True
        f = make(lambda a: a, 2)
        f(1), f(Key()), f(Key()), f(Key())
        g = make(lambda a: 5, 2)
        class Recursive:
            depth = 0
            def __hash__(self): return 1
            def __eq__(self, other):
                Recursive.depth += 1
                if Recursive.depth < 50: g(Recursive())
                return True
        g(Recursive())
        assert g(Recursive()) == 5
    """,
    "eq_and_hash_that_clear_the_cache": """
        class Key:
            def __init__(self, n): self.n = n
            def __hash__(self):
                if armed: f.cache_clear()
                return 1
            def __eq__(self, other):
                if armed: f.cache_clear()
                return self.n == other.n
        armed = False
        f = make(lambda a: [a.n], 8)
        for n in range(8): f(Key(n))
        armed = True
        for n in range(200): assert f(Key(n % 9)) == [n % 9]
        assert f.cache_info()[3] <= 8
    """,
    # (b)
    "del_of_a_value_that_calls_the_cache": """
        import itertools
        count = itertools.count()
        class Value:
            def __init__(self, n): self.n = n
            def __del__(self):
                dropped.append(self.n)
                if next(count) < 2000:
                    f(self.n + 7)
                    if self.n % 3 == 0: f.cache_clear()
        dropped = []
        f = make(Value, 3)
        for n in range(300): f(n)
        f.cache_clear()
        assert len(dropped) >= 300 and f.cache_info()[3] <= 3
    """,
    # (c)
    "collections_in_eq_and_del": """
        import gc
        class Key:
            def __init__(self, n): self.n = n
            def __hash__(self): return self.n % 3
            def __eq__(self, other):
                gc.collect()
                return self.n == other.n
        class Value:
            def __init__(self, key): self.key, self.me = key, self
            def __del__(self): gc.collect()
        f = make(Value, 4)
        for n in range(60): assert f(Key(n % 7)).key.n == n % 7
        assert f.cache_info()[3] <= 4
    """,
    # (d)
    "eq_that_lets_other_threads_run": """
        import threading, time
        class Key:
            def __init__(self, n): self.n = n
            def __hash__(self): return 1
            def __eq__(self, other):
                time.sleep(0.0001)
                return self.n == other.n
        f = make(lambda key: key.n, 3)
        def work(seed):
            for n in range(100):
                wanted = (n * seed) % 5
                assert f(Key(wanted)) == wanted
                if n % 25 == 0: f.cache_clear()
        threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2)]
        errors = []
        threading.excepthook = lambda hook: errors.append(hook)
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not errors, errors
    """,
    # (e)
    "a_cycle_through_the_cache_is_collected": """
        import gc, weakref
        class Value:
            pass
        def cycle():
            value = Value()
            value.f = make(lambda key: value, 3)
            assert value.f(1) is value and value.f(value) is value
            return weakref.ref(value)
        gone = [cycle() for _ in range(10)]
        gc.collect()
        assert [ref() for ref in gone] == [None] * 10
    """,
    # (f)
    "recursion_on_the_same_key": """
        depth = []
        def function(a):
            depth.append(a)
            return f(a) if len(depth) < 10 else "end"
        f = make(function, 3)
        assert f(1) == "end" and f(1) == "end"
        g = make(lambda a: g(a), 3)
        try: g(1)
        except RecursionError: pass
        else: raise AssertionError
    """,
    # (g)
    "the_bound_holds_after_threads_have_churned": """
        import threading
        f = make(lambda a: a, 16)
        def churn(seed):
            for n in range(20_000): assert f((n * seed) % 61) == (n * seed) % 61
        threads = [threading.Thread(target=churn, args=(seed,)) for seed in (1, 3, 7, 11)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert f.cache_info()[3] <= 16
        for n in range(100): f(1000 + n)
        assert f.cache_info()[3] == 16
    """,
    # (h)
    "threads_that_switch_while_another_clears": """
        import sys, threading
        sys.setswitchinterval(1e-6)
        f = make(lambda a: [a], 64)
        stop = threading.Event()
        failed = []
        threading.excepthook = lambda hook: failed.append(hook)
        def call():
            while not stop.is_set():
                for n in range(100): assert f(n) == [n]
        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(3000): f.cache_clear()
        stop.set()
        for thread in threads: thread.join()
        assert not failed, failed
    """,
    "interpreter_that_ends_with_runs_under_way": """
        import threading
        begun = threading.Event()
        def function(a):
            begun.set()
            threading.Event().wait()
        f = make(function, 3)
        for _ in range(3): threading.Thread(target=f, args=(1,), daemon=True).start()
        begun.wait()
    """,
    "fork_with_a_run_under_way": """
        import os, threading
        begun, release = threading.Event(), threading.Event()
        def function(a):
            if a == 1 and os.getpid() == parent:
                begun.set()
                release.wait()
            return os.getpid()
        parent = os.getpid()
        f = make(function, 3)
        f(2)
        leader = threading.Thread(target=f, args=(1,))
        leader.start()
        begun.wait()
        child = os.fork()
        if child == 0:
            ok = f(2) == parent and f(1) == os.getpid() == f(1) and f(3) == os.getpid()
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        release.set()
        leader.join()
        assert f(1) == parent
    """,
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("probe", PROBES)
def test_probe(probe, face):
    if probe.startswith("fork") and not hasattr(__import__("os"), "fork"):
        pytest.skip("no fork on this system")
    program = textwrap.dedent(FACES[face]) + textwrap.dedent(PROBES[probe])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
