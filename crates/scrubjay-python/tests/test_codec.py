"""The safe codec: what comes back is what went in, and nothing that was read is executed."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math
import pathlib
import pickle
import random
import sys
import types
import uuid

import pytest
from scrubjay import _native
from scrubjay._codec import PICKLE, PYTHON, Codec, Unstorable

DIGEST = bytes(32)


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass
class Partial:
    x: int
    count: int = dataclasses.field(default=3, init=False)
    note: str = dataclasses.field(default="", init=False)

    def __post_init__(self):
        self.note = "made"


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int
    __slots__ = ("x",)


class Color(enum.Enum):
    RED = "r"


class Pair(collections.namedtuple("Pair", "left right")):
    __slots__ = ()


class Plain:
    def __init__(self, x):
        self.x = x


def round_trip(value, **options):
    codec = Codec(**options)
    return codec.decode(*codec.encode(value, DIGEST), DIGEST)


UTC = datetime.timezone.utc
VALUES = [
    None,
    True,
    False,
    0,
    -1,
    127,
    128,
    -(2**63),
    2**63 - 1,
    2**63,
    -(2**200),
    0.0,
    -0.0,
    1.5,
    math.inf,
    1 + 2j,
    "",
    "é",
    "\ud800 lone",
    "x" * 70_000,
    b"",
    b"\x00\xff",
    bytearray(b"ab"),
    [],
    [1, [2, [3]]],
    (),
    (1, (2,)),
    {},
    {"a": [1, {"b": None}], 2: "c", (1, 2): b"d"},
    {1, 2},
    frozenset({"a"}),
    ...,
    NotImplemented,
    range(1, 9, 2),
    slice(1, None),
    decimal.Decimal("1.50"),
    fractions.Fraction(2, 3),
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 1, 1, 12, 30, 15, 5, UTC, fold=1),
    datetime.datetime(2024, 1, 1),
    datetime.time(1, 2, 3),
    datetime.timedelta(-1, 5, 7),
    UTC,
    datetime.timezone(datetime.timedelta(hours=2), "X"),
    uuid.UUID(int=7),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("aab"),
    collections.deque([1, 2], 5),
    pathlib.Path("/a/b"),
    Point(1, [Point(2)]),
    Frozen(3),
    Color.RED,
    Pair(1, "b"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_a_value_comes_back_equal_and_of_its_type(value):
    found = round_trip(value)
    assert found == value and type(found) is type(value)
    assert repr(found) == repr(value)


def test_not_a_number_comes_back():
    assert math.isnan(round_trip(math.nan))


def test_order_of_dictionaries_and_bounds_of_deques_are_kept():
    assert list(round_trip({"b": 1, "a": 2})) == ["b", "a"]
    assert round_trip(collections.deque([1], 5)).maxlen == 5


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u1", "?", "c16", "U3", "S2", "M8[ns]", ">i4"])
def test_arrays_come_back_with_their_type_and_shape(dtype):
    numpy = pytest.importorskip("numpy")
    array = numpy.ones((2, 3)).astype("i8").astype(dtype)
    found = round_trip({"array": array, "scalar": array[0, 0]})
    assert found["array"].dtype == array.dtype and (found["array"] == array).all()
    assert found["array"].flags.writeable and type(found["scalar"]) is type(array[0, 0])


def test_an_array_of_objects_is_not_stored():
    numpy = pytest.importorskip("numpy")
    with pytest.raises(Unstorable, match="object"):
        round_trip(numpy.array([object()]))


def test_models_come_back_only_if_they_are_allowed():
    pydantic = pytest.importorskip("pydantic")
    global Model

    class Model(pydantic.BaseModel, extra="allow"):
        x: int
        _private: int = 5

    Model.__qualname__ = "Model"
    model = Model(x=1, more=[2])
    model._private = 6
    with pytest.raises(Unstorable, match="Model"):
        round_trip(model)
    for options in ({"classes": [Model]}, {"packages": [__name__.partition(".")[0]]}):
        found = round_trip(model, **options)
        assert found == model and found.more == [2] and found._private == 6
    payload = Codec(classes=[Model]).encode(model, DIGEST)
    with pytest.raises(ValueError, match="not among the classes"):
        Codec().decode(*payload, DIGEST)


def test_other_classes_come_back_only_if_they_are_allowed():
    with pytest.raises(Unstorable, match="Plain"):
        round_trip(Plain(1))
    assert round_trip(Plain([1]), classes=[Plain]).x == [1]


def test_a_class_that_could_not_be_found_again_is_not_stored():
    @dataclasses.dataclass
    class Local:
        x: int

    with pytest.raises(Unstorable, match="Local"):
        round_trip(Local(1))


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Loaded(dict):
    x: int = 1


@pytest.mark.parametrize(
    "value", [Permission.READ | Permission.WRITE, Loaded(), pathlib.PureWindowsPath("a"), collections.defaultdict(list)]
)
def test_what_would_come_back_as_something_else_is_not_stored(value):
    with pytest.raises(Unstorable):
        round_trip(value)
    with pytest.raises(Unstorable):
        round_trip(value, classes=[Loaded])


def test_a_cycle_is_not_stored():
    cycle = []
    cycle.append(cycle)
    with pytest.raises(Unstorable, match="contains itself"):
        round_trip(cycle)


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("@dataclass\nclass Shape:\n a: int", "@dataclass\nclass Shape:\n a: int\n b: int"),
        ("@dataclass\nclass Shape:\n a: int", "@dataclass\nclass Shape:\n a: int\n b: int = 2"),
        (
            "@dataclass\nclass Shape:\n a: int",
            "@dataclass\nclass Shape:\n a: int\n b: list = field(default_factory=list)",
        ),
        ("class Shape(NamedTuple):\n a: int\n b: int = 2", "class Shape(NamedTuple):\n b: int\n a: int = 1"),
        ("class Shape(NamedTuple):\n a: int\n b: int = 2", "class Shape(NamedTuple):\n a: int\n c: int = 3"),
        ("class Shape(BaseModel):\n a: int", "class Shape(BaseModel):\n a: int\n b: int = 2"),
        ("class Shape(BaseModel):\n a: int", "class Shape(BaseModel):\n a: int\n b: int"),
    ],
)
def test_an_object_of_before_its_class_had_other_fields_does_not_come_back(before, after, is_listed, monkeypatch):
    module = types.ModuleType("shapes")
    monkeypatch.setitem(sys.modules, "shapes", module)
    names = "from dataclasses import dataclass, field\nfrom typing import NamedTuple\n"
    if "BaseModel" in before:
        pytest.importorskip("pydantic")
        names += "from pydantic import BaseModel\n"
    exec(names + before, vars(module))

    def codec():
        return Codec(classes=[module.Shape] if is_listed or "BaseModel" in before else ())

    encoded = codec().encode([module.Shape(a=1)], DIGEST)
    assert codec().decode(*encoded, DIGEST) == [module.Shape(a=1)]
    exec(names + after, vars(module))
    with pytest.raises(ValueError, match="shapes:Shape"):
        codec().decode(*encoded, DIGEST)


def test_a_model_of_a_trusted_package_need_not_have_all_its_fields(monkeypatch):
    pydantic = pytest.importorskip("pydantic")
    module = types.ModuleType("trusted")
    monkeypatch.setitem(sys.modules, "trusted", module)
    module.Message = pydantic.create_model("Message", __module__="trusted", text=(str, ...), audio=(str, None))
    message = module.Message.model_construct()
    del message.audio
    restored = round_trip(message, packages=["trusted"])
    assert type(restored) is module.Message and not hasattr(restored, "audio") and not hasattr(restored, "text")


def test_what_a_dataclass_need_not_hold_is_not_missed():
    point = Partial(1)
    del point.__dict__["note"]
    assert round_trip([point, Partial(2)]) == [point, Partial(2)]


def test_restoring_runs_no_code_of_the_class():
    ran = []

    @dataclasses.dataclass
    class Loud:
        x: int

        def __init__(self, x):
            ran.append("__init__")
            self.__dict__["x"] = x

        def __setattr__(self, name, value):
            ran.append("__setattr__")

        def __setstate__(self, state):
            ran.append("__setstate__")

    Loud.__qualname__ = "Loud"
    globals()["Loud"] = Loud
    value = Loud(1)
    ran.clear()
    assert round_trip(value).x == 1
    assert ran == []


def test_no_module_is_imported_to_restore_a_class():
    payload = b"\x01o" + _text("dataclass:antigravity:Point") + b"d\x00"
    with pytest.raises(ValueError, match="antigravity"):
        Codec().decode(PYTHON, payload, DIGEST)
    import sys

    assert "antigravity" not in sys.modules


def _text(text):
    return b"s" + bytes([len(text)]) + text.encode()


@pytest.mark.parametrize(
    "name", ["model:os:system", "dataclass:subprocess:Popen", "enum:builtins:int", "nonsense", "object:builtins:dict"]
)
def test_a_name_that_is_not_allowed_is_an_error(name):
    with pytest.raises(ValueError, match="cannot come back|not"):
        Codec().decode(PYTHON, b"\x01o" + _text(name) + b"n", DIGEST)


def test_whatever_the_bytes_decoding_raises_only_value_errors():
    codec, chance = Codec(), random.Random(7)
    _, good = codec.encode(VALUES, DIGEST)
    for end in range(0, len(good), max(1, len(good) // 300)):
        with pytest.raises(ValueError):
            codec.decode(PYTHON, good[:end], DIGEST)
    for _ in range(2000):
        bad = bytearray(good[:2000])
        for _ in range(3):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            codec.decode(PYTHON, bytes(bad), DIGEST)
        except ValueError:
            pass


def test_a_length_that_lies_takes_no_memory():
    with pytest.raises(ValueError, match="shorter"):
        Codec().decode(PYTHON, b"\x01b\xff\xff\xff\xff\xff\xff\xff\xff\x7f", DIGEST)


def test_pickle_is_off_unless_asked_for(tmp_path):
    key = tmp_path / "key"
    codec, payload = Codec(allow_pickle=True, key_file=key).encode(Plain(1), DIGEST)
    assert codec == PICKLE and (key.stat().st_mode & 0o777) == 0o600
    assert Codec(allow_pickle=True, key_file=key).decode(codec, payload, DIGEST).x == 1
    with pytest.raises(ValueError, match="allow_pickle"):
        Codec().decode(codec, payload, DIGEST)


class Poison:
    executed = []

    def __reduce__(self):
        return (Poison.executed.append, ("executed",))


def test_a_poisoned_pickle_is_never_executed(tmp_path):
    codec = Codec(allow_pickle=True, key_file=tmp_path / "key")
    other = Codec(allow_pickle=True, key_file=tmp_path / "another user's key")
    for payload in (bytes(32) + pickle.dumps(Poison()), other.encode(Poison(), DIGEST)[1], b""):
        with pytest.raises(ValueError, match="not signed"):
            codec.decode(PICKLE, payload, DIGEST)
    # Signed, but for another entry.
    _, payload = codec.encode(Plain(1), DIGEST)
    with pytest.raises(ValueError, match="not signed"):
        codec.decode(PICKLE, payload, bytes([1] * 32))
    assert Poison.executed == []


def test_a_key_that_others_can_read_is_refused(tmp_path):
    key = tmp_path / "key"
    codec = Codec(allow_pickle=True, key_file=key)
    codec.encode(Plain(1), DIGEST)
    key.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        codec.encode(Plain(1), DIGEST)


@pytest.mark.parametrize("container", [set, dict.fromkeys])
def test_a_container_that_changes_while_it_is_encoded_is_encoded_as_it_was(container):
    class Part:
        pass

    changed = container([Part(), Part()])

    def reduce(_part):
        (changed.add if type(changed) is set else changed.setdefault)(len(changed))
        return "Part", None

    restored = _native.decode(_native.encode(changed, reduce), lambda _name, _state: Part())
    assert len(restored) == 2 and len(changed) == 4
