"""Scrubjay for Python at work on this interpreter's own standard library.

Analyses which modules import which, recursively, from eight threads and from a hundred tasks at a time; every file is parsed
once. Then it does so in two processes one after the other, of which the second parses nothing, and measures a hit beside
functools.
"""

import ast
import asyncio
import functools
import pathlib
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import timeit
from concurrent.futures import ThreadPoolExecutor

import scrubjay
from scrubjay import Cache, lru_cache, memoize, trace

LIBRARY = pathlib.Path(sysconfig.get_path("stdlib"))
START = (
    "asyncio",
    "unittest",
    "http.server",
    "xml.dom.minidom",
    "concurrent.futures",
    "logging.config",
    "email",
    "json",
)
parsed = Cache(maxsize=64_000_000, weigh="bytes")


def file_of(module):
    path = LIBRARY.joinpath(*module.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def parse(path):
    tree = ast.parse(path.read_bytes())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return sorted(names)


@memoize
def imports(module):
    """The modules of the library that a module imports itself."""
    path = file_of(module)
    names = [] if path is None else parsed.get_or_compute(str(path), parse, path)
    return [name for name in names if file_of(name) is not None]


@memoize
def depth(module, above=frozenset()):
    """The longest chain of imports below a module, cycles left out."""
    below = [name for name in imports(module) if name not in above and name != module]
    return 1 + max((depth(name, above | {module}) for name in below[:2]), default=0) if len(above) < 4 else 0


@memoize
async def imported(module):
    await asyncio.sleep(0.01)
    return len(imports(module))


async def ask():
    return await asyncio.gather(*(imported(START[number % len(START)]) for number in range(100)))


def words_in(folder):
    """Analyses some of the library's files, with a folder for the answers; the program ends here."""

    @memoize(disk=folder)
    def words(path):
        """How often each name is used in a file."""
        counts = {}
        for node in ast.walk(ast.parse(pathlib.Path(path).read_bytes())):
            if isinstance(node, ast.Name):
                counts[node.id] = counts.get(node.id, 0) + 1
        return counts

    begun = time.perf_counter()
    used = sum(sum(words(str(path)).values()) for path in sorted(LIBRARY.glob("[a-d]*.py")))
    stats, took = words.stats(), time.perf_counter() - begun
    print(
        f"  process: {used:,} names in {took * 1000:.0f} ms; {stats.loads} files parsed, {stats.disk_hits} found on disk",
        flush=True,
    )


def restart():
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            subprocess.run([sys.executable, __file__, folder], check=True)
        subprocess.run([sys.executable, "-m", "scrubjay", "stats", folder], check=True)


def heading(text):
    print(f"\n{text}\n{'-' * len(text)}")


def ratio(theirs, ours, statement="f(1, b=2)"):
    timers = [timeit.Timer(statement, timer=time.thread_time, globals={"f": f}) for f in (theirs, ours)]
    rounds = [[timer.timeit(20_000) / 20_000 * 1e9 for timer in timers] for _ in range(11)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def main():
    print(f"scrubjay {scrubjay.__version__}, CPython's library in {LIBRARY}")
    heading("Eight threads ask for the same modules at the same time")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [depth(module) for module in START], range(8)))
    print(
        f"{parsed.stats().loads:,} files parsed, each once; {depth.stats().waits:,} times a thread waited for another"
    )
    print(depth.stats())

    heading("A hundred tasks ask for eight modules")
    answers = asyncio.run(ask())
    stats = imported.stats()
    print(f"{len(answers)} answers, {stats.loads} runs, {stats.waits} waits")

    heading("The tree of calls below json")
    depth.cache_clear()
    with trace(file=None) as calls:
        depth("json")
    lines = str(calls).splitlines()
    print("\n".join(lines[:12] + ([f"… {len(lines) - 12} lines more"] if len(lines) > 12 else [])))

    heading("A restart: the second process finds every answer on disk")
    restart()

    heading("A hit, beside functools (one positional and one keyword argument)")

    def function(a, b):
        return a

    theirs, ours = ratio(functools.lru_cache(function), lru_cache(function))
    print(f"functools {theirs:.0f} ns, scrubjay {ours:.0f} ns: {theirs / ours:.1f} times faster")


if __name__ == "__main__":
    words_in(sys.argv[1]) if len(sys.argv) > 1 else main()
