"""How users' code on the store is typed: checked by mypy and pyright, never run."""

from scrubjay._native import Record, Store, key_digest
from scrubjay.compat import diskcache
from scrubjay.dspy import Cache, install, request_cache

cache: Cache = install(disk_cache_dir="cache", patience=3)
joined: int = cache.stats().joined
key: str = cache.cache_key({"model": "m"}, ["api_key"])
brought, left = cache.import_diskcache("old")
total: int = brought + left


@request_cache()
def ask(question: str) -> str:
    return question


answer: str = ask("a")
ask(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

store = Store("folder", capacity_bytes=1 << 20)
record: Record | None = store.get(key_digest("names", b"ann"))
lengths: list[int] = [head.len for head in store]
store.put("text", b"")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

with diskcache.FanoutCache("folder", shards=4) as fanout:
    stored: bool = fanout.set("a", 1, expire=3, tag="b")


@fanout.memoize(typed=True, ignore={0, "b"})
def square(n: int) -> int:
    return n * n


nine: int = square(3)
