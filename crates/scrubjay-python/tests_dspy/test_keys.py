"""Keys: bit for bit those of DSPy, over requests of every kind, and stricter ones where asked for."""

import dataclasses
import datetime
import enum
import math
import random
import uuid

import dspy
import pydantic
import pytest
import scrubjay.dspy

IGNORED = ["api_key", "api_base", "base_url"]


class Model(pydantic.BaseModel):
    name: str = "a"
    when: datetime.datetime = datetime.datetime(2024, 1, 1)


@dataclasses.dataclass
class Data:
    b: int = 2
    a: object = None


class Color(enum.Enum):
    RED = "r"


def function(x):
    return x


@pytest.fixture(scope="module")
def stock():
    """DSPy's own cache, with nothing to keep entries in."""
    scrubjay.dspy.uninstall()
    from dspy.clients import Cache

    assert Cache.__module__ == "dspy.clients.cache"
    return Cache(enable_disk_cache=False, enable_memory_cache=False, disk_cache_dir=None)


def ours(**options):
    return scrubjay.dspy.Cache(enable_disk_cache=False, enable_memory_cache=False, **options)


def outcome(cache, request):
    try:
        return cache.cache_key(request, IGNORED)
    except Exception as error:
        return type(error)


def test_known_vectors():
    request = {"b": 1, "a": {"z": [1, 2.5, "é"], "y": None}, "api_key": "s", "_fn_identifier": "f"}
    key = ours().cache_key(request, ["api_key"])
    assert key == "0bd5cc634296bf48e9dd80df977f25e44190ab7c96dd7dc7c24b213837e65939"


LEAVES = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    -0.0,
    1e16,
    1e21,
    1e-7,
    2**53 + 1,
    2**63,
    2**64 - 1,
    2**64,
    2**70,
    -(2**63),
    math.nan,
    math.inf,
    "",
    "é",
    "\ud800",
    "a" * 100,
    b"bytes",
    Model(),
    Model,
    Data(),
    Data(a=Model()),
    Color.RED,
    function,
    lambda x: x,
    len,
    dspy.Predict,
    datetime.datetime(2024, 1, 1),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    datetime.date(2024, 1, 1),
    datetime.time(1),
    uuid.UUID(int=5),
    {1, 2},
    object(),
    (1, 2),
    (),
    [Model()],
    [function],
    {"x": Model(), "api_key": "inner"},
    {1: 2},
    {"deep": {"er": [{"z": 1, "a": 2}]}},
]


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: ascii(leaf)[:40])
def test_a_key_is_that_of_dspy(stock, leaf):
    request = {"z": 1, "leaf": leaf, "api_key": "secret", "nested": {"leaf": leaf}}
    assert outcome(ours(), request) == outcome(stock, request)


def grown(chance, depth=0):
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return chance.choice(LEAVES)
    if kind < 0.8:
        return {chance.choice("abcdefé"): grown(chance, depth + 1) for _ in range(chance.randrange(4))}
    return [grown(chance, depth + 1) for _ in range(chance.randrange(4))]


def test_keys_are_those_of_dspy_over_a_thousand_requests(stock):
    chance, raised = random.Random(11), 0
    for _ in range(1000):
        request = {chance.choice(["model", "messages", "api_key", "z", "a"]): grown(chance) for _ in range(4)}
        expected = outcome(stock, request)
        assert outcome(ours(), request) == expected
        raised += isinstance(expected, type)
    # The corpus has both kinds in plenty.
    assert 100 < raised < 900


def test_a_request_without_a_key_is_a_miss_and_keeps_nothing(cache):
    request = {"client": object()}
    cache.put(request, "answer")
    assert cache.get(request) is None and len(cache.memory_cache) == 0
    # A call gets once.
    assert cache.stats().uncacheable == 1


def test_lists_are_looked_into_only_in_strict_mode():
    request = {"tools": [Model(), {"schema": Model}]}
    with pytest.raises(TypeError):
        ours().cache_key(request)
    assert ours(strict_keys=True).cache_key(request)
    plain = {"messages": [{"role": "user", "content": "a"}], "n": (1, 2)}
    assert ours(strict_keys=True).cache_key(plain) == ours().cache_key(plain)


class Encoder:
    def __init__(self, weight):
        self.weight = weight

    def encode(self, texts):
        return [[self.weight] for _ in texts]


def test_functions_of_one_source_are_apart_only_if_asked_for(stock):
    one, other = ({"model": Encoder(weight).encode} for weight in (1, 2))
    assert ours().cache_key(one) == ours().cache_key(other) == stock.cache_key(one)
    strict = ours(strict_callables=True)
    assert strict.cache_key(one) != strict.cache_key(other)
    assert strict.cache_key(one) == strict.cache_key({"model": Encoder(1).encode})


def test_two_embedders_of_one_source_share_vectors_only_as_in_dspy(cache, tmp_path):
    def vectors():
        return [float(dspy.Embedder(Encoder(weight).encode, caching=True)(["a"])[0][0]) for weight in (1, 2)]

    assert vectors() == [1.0, 1.0]
    scrubjay.dspy.install(disk_cache_dir=tmp_path / "strict", strict_callables=True)
    assert vectors() == [1.0, 2.0]


def test_the_endpoint_is_in_the_key_if_asked_for():
    one, other = ({"model": "m", "api_base": base} for base in ("http://a", "http://b"))
    assert ours().cache_key(one, IGNORED) == ours().cache_key(other, IGNORED)
    apart = ours(key_endpoint=True)
    assert apart.cache_key(one, IGNORED) != apart.cache_key(other, IGNORED)
    assert apart.cache_key({**one, "api_key": "s"}, IGNORED) == apart.cache_key(one, IGNORED)
