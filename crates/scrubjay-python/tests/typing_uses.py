"""How users' code is typed: checked by mypy and pyright, never run."""

import datetime
from io import BytesIO
from pathlib import Path

import scrubjay
from scrubjay import Cache, ManualClock, Stats, cache, cached_property, lru_cache, memoize
from typing_extensions import assert_type


@cache
def bare(a: int, b: str = "x") -> float:
    return a


@lru_cache
def bare_lru(a: int) -> float:
    return a


@lru_cache(maxsize=None, typed=True)
def with_options(a: int) -> float:
    return a


assert_type(bare(1, b="y"), float)
assert_type(bare_lru(1), float)
assert_type(with_options(1), float)
assert_type(with_options.cache_info().hits, int)
assert_type(bare.invalidate(1, "y"), bool)
bare("1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
bare.contains()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@memoize
def plain(a: int, *rest: str, c: bool = True) -> list[int]:
    return [a]


def is_early(client: object, page: int) -> bool:
    return page < 100


def tags_of(client: object, page: int) -> list[str]:
    return [f"page:{page}"]


@memoize(
    maxsize=10, ttl=60, ignore=("client",), when=is_early, errors=5.0, stale=30, jitter=0.1,
    tags=tags_of, weigh="bytes", copy="deep", clock=ManualClock(),
)  # fmt: skip
def page(client: object, page: int) -> str:
    return ""


@memoize(ttl=datetime.timedelta(minutes=5))
async def slow(a: int) -> str:
    return ""


assert_type(plain(1, "x", c=False), list[int])
assert_type(page(None, page=3), str)
assert_type(page.stats(), Stats)
plain("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
memoize(ttl="5m")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


async def use() -> None:
    assert_type(await slow(1), str)
    assert_type(await owner.slow(1), str)
    assert_type(await Cache[str, str]().get_or_compute_async("k", slow, 1), str)


class Owner:
    @memoize
    def method(self, a: int) -> str:
        return ""

    @lru_cache
    def lru_method(self, a: int) -> str:
        return ""

    @classmethod
    @memoize(ttl=1)
    def of_class(cls, a: int) -> str:
        return ""

    @staticmethod
    @memoize
    def static(a: int) -> str:
        return ""

    @memoize
    async def slow(self, a: int) -> str:
        return ""

    @cached_property
    def value(self) -> int:
        return 1

    @cached_property(ttl=60)
    def short(self) -> int:
        return 1


owner = Owner()
assert_type(owner.method(1), str)
assert_type(Owner.method(owner, 1), str)
assert_type(owner.method.invalidate(1), bool)
assert_type(owner.lru_method(1), str)
assert_type(Owner.lru_method.cache_info().misses, int)
# mypy binds the class of a class method to plain functions only.
assert_type(Owner.of_class(1), str)  # type: ignore[call-arg, arg-type]
assert_type(Owner.static(1), str)
assert_type(owner.value, int)
assert_type(owner.short, int)
owner.method("x")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
owner.method(1, 2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

numbers: Cache[str, int] = Cache(maxsize=10, ttl=60)
numbers["a"] = 1
assert_type(numbers["a"], int)
assert_type(numbers.get("a"), int | None)
assert_type(numbers.get("a", 0), int)
assert_type(numbers.pop("a", "none"), int | str)
assert_type(numbers.get_or_compute("a", int, "3"), int)
assert_type(numbers.set("a", 1, ttl=3, tags=["t"]), bool)
numbers[1] = 1  # type: ignore[index] # pyright: ignore[reportArgumentType]

with scrubjay.trace(file=None) as calls:
    assert_type(calls.calls[0].seconds, float)


@memoize(disk="~/.cache/app", version=2, code="bytecode", allow_pickle=True, classes=[Owner])
def kept(a: int) -> str:
    return ""


assert_type(kept(1), str)
assert_type(kept.stats().disk_hits, int)
kept_names: Cache[str, str] = Cache(disk=Path("folder"))
memoize(disk=kept_names)
memoize(disk=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
memoize(disk="", code="text")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
assert_type(kept_names.save("file"), int)
assert_type(kept_names.load(BytesIO()), int)
