"""Unhashable arguments are known by their content: what equals what."""

import collections
import dataclasses
import decimal
import enum
import fractions

import pytest
from scrubjay import _native, memoize


@dataclasses.dataclass
class Point:
    x: int
    y: object
    note: str = dataclasses.field(default="", compare=False)


class Items(list):
    pass


class Slotted(list):
    __slots__ = ("unit",)

    def __init__(self, unit):
        self.unit = unit


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Unknown:
    __hash__ = None


def fresh():
    runs = []

    @memoize
    def function(a):
        runs.append(a)
        return len(runs)

    return function


EQUAL = [
    lambda: [1, [2, "x"], {"k": [3]}],
    lambda: {"a": 1, "b": [2]},
    lambda: {frozenset((1, 2)): {1, 2}},
    lambda: {1, (2, 3)},
    lambda: (1, [2]),
    lambda: collections.deque([1, 2]),
    lambda: collections.OrderedDict(a=[1]),
    lambda: collections.defaultdict(list, a=[1]),
    lambda: bytearray(b"abc"),
    lambda: memoryview(b"abcdef")[::2],
    lambda: memoryview(bytearray(b"abcdef")),
    lambda: memoryview(b"abcdefgh").cast("I"),
    lambda: (1, memoryview(bytearray(b"abcdef"))),
    lambda: Point(1, [2]),
    lambda: [Point(1, {2: Point(3, None)})],
    lambda: Items([1, 2]),
    lambda: Slotted("m"),
    lambda: collections.deque([1, 2], maxlen=3),
    lambda: [decimal.Decimal(1), fractions.Fraction(1), Level.LOW, Text("1"), len, Level],
]


@pytest.mark.parametrize("make", EQUAL)
def test_equal_contents_are_one_call(make):
    function = fresh()
    assert function(make()) == function(make()) == 1


def test_different_contents_are_different_calls():
    function = fresh()
    values = [
        [1], [1.0], [True], [2], [1, 1], (1, [1]), [[1]], ["1"], [b"1"], [None], [], [()], [[]], [{}], [set()],
        {"a": 1}, {"a": 1.0}, {"a": [1]}, {1: "a"}, {}, {1}, {2}, set(), collections.OrderedDict(a=1),
        collections.deque([1]), bytearray(b"a"), bytearray(b"b"), Point(1, 2), Point(2, 1), Point(1, [2]), Items([1]),
        collections.OrderedDict([("a", 1), ("b", 2)]), collections.OrderedDict([("b", 2), ("a", 1)]),
    ]  # fmt: skip
    assert [function(value) for value in values] == list(range(1, len(values) + 1))
    assert [function(value) for value in values] == list(range(1, len(values) + 1))


def test_parts_that_are_equal_across_types_are_told_apart():
    function = fresh()
    ones = [1, 1.0, True, 1 + 0j, decimal.Decimal(1), fractions.Fraction(1), Level.LOW, "1", Text("1"), b"1"]
    made = [[one] for one in ones] + [{one: None} for one in ones] + [{one} for one in ones]
    made += [collections.OrderedDict([(one, None)]) for one in ones]
    assert [function(value) for value in made] == list(range(1, len(made) + 1))


def test_what_a_container_holds_besides_its_items_is_content():
    function = fresh()
    values = [
        collections.defaultdict(int), collections.defaultdict(list), collections.defaultdict(None),
        collections.deque([1]), collections.deque([1], maxlen=1), collections.deque([1], maxlen=2),
        Slotted("m"), Slotted("s"),
    ]  # fmt: skip
    assert [function(value) for value in values] == list(range(1, len(values) + 1))


def test_the_order_of_dictionaries_and_sets_does_not_matter():
    function = fresh()
    assert function({"a": 1, "b": 2}) == function({"b": 2, "a": 1})
    assert function({1, 33, 65}) == function({65, 1, 33})


def test_what_is_not_compared_is_not_content():
    function = fresh()
    assert function(Point(1, 2, note="x")) == function(Point(1, 2, note="y"))


def test_an_argument_that_is_changed_later_is_another_call():
    function, argument = fresh(), [1]
    assert function(argument) == 1
    argument.append(2)
    assert function(argument) == 2
    argument.pop()
    assert function(argument) == 1


def test_contents_are_never_equal_to_what_a_user_could_pass():
    function = fresh()
    assert function([1]) == 1
    assert function((list, 1)) == 2
    assert function(((list, 1),)) == 3
    pair = collections.namedtuple("pair", "a b")
    assert function([[1]]) == 4
    assert function([pair(list, 1)]) == 5
    assert function([(list, 1)]) == 6


def test_an_object_of_unknown_content_is_refused_with_a_way_out():
    with pytest.raises(TypeError, match=r"unhashable type: 'Unknown'.*pass key= .* or ignore="):
        fresh()(Unknown())


def test_an_error_of_the_users_hash_reaches_the_caller():
    class Odd:
        def __hash__(self):
            raise ValueError("odd")

    for argument in (Odd(), [Odd()], (Odd(),), memoryview(bytearray(1))):
        with pytest.raises(ValueError, match="odd"):
            memoize(lambda a, b: a)(argument, Odd())


def test_an_argument_that_contains_itself_is_refused():
    argument = []
    argument.append(argument)
    with pytest.raises(TypeError, match="contains itself"):
        fresh()(argument)


def test_one_object_in_two_places_is_not_a_cycle():
    inner = [1]
    function = fresh()
    assert function([inner, inner]) == function([[1], [1]])


def test_invalidation_finds_contents():
    function = fresh()
    function([1])
    assert function.contains([1]) and function.invalidate([1]) and not function.contains([1])


def test_numpy_arrays_are_known_by_type_shape_and_bytes():
    numpy = pytest.importorskip("numpy")
    function = fresh()
    base = numpy.arange(12.0)
    arrays = [
        base, base.astype("float32"), base.astype("int64"), base.reshape(3, 4), base.reshape(4, 3), base[::2], base + 1,
        numpy.array(["a", "b"]), numpy.array([b"a", b"b"]), numpy.array(["2020-01-01"], dtype="M8[D]"),
        numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), numpy.array([(1, 2.0)], dtype=[("a", "i4"), ("c", "f8")]),
        numpy.array([None, [1]], dtype=object), numpy.zeros(0), numpy.zeros((0, 3)), numpy.array(1.0),
        numpy.ma.array([1, 2], mask=[0, 1]), numpy.ma.array([1, 2], mask=[1, 0]),
        [base], {"k": base + 2},
    ]  # fmt: skip
    expected = list(range(1, len(arrays) + 1))
    assert [function(array) for array in arrays] == expected
    import copy

    assert [function(copy.deepcopy(array)) for array in arrays] == expected
    assert function(numpy.asfortranarray(base.reshape(3, 4))) == function(base.reshape(3, 4))


def test_a_change_in_a_large_array_is_seen():
    numpy = pytest.importorskip("numpy")
    function = fresh()
    array = numpy.zeros(2_000_000)
    assert function(array) == 1
    array[1_234_567] = 1e-300
    assert function(array) == 2


def test_pandas_objects_are_known_by_labels_and_values():
    pandas = pytest.importorskip("pandas")
    function = fresh()
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    objects = [
        frame, frame.rename(columns={"a": "c"}), frame.set_index("b"), frame.astype({"a": "float64"}), frame.iloc[:1],
        frame.iloc[::-1], frame["a"], frame["b"], frame["a"].rename("d"), pandas.Index([1, 2]),
        pandas.Series(["x", "y"], dtype="category"), pandas.Series(["x", "y"]),
        pandas.MultiIndex.from_tuples([(1, "x"), (2, "y")]), pandas.Series(pandas.to_datetime(["2020-01-01"])),
    ]  # fmt: skip
    expected = list(range(1, len(objects) + 1))
    assert [function(thing) for thing in objects] == expected
    assert [function(thing.copy()) for thing in objects] == expected


def test_masked_arrays_are_known_by_what_fills_them_too():
    numpy = pytest.importorskip("numpy")
    function = fresh()
    make = numpy.ma.array
    arrays = [
        make([1, 2], mask=[0, 1]), make([1, 2], mask=[1, 0]), make([1, 2], mask=[0, 1], fill_value=7),
        make([1, 2], mask=[0, 1], hard_mask=True), make([None, 2], dtype=object), make([1, 2], mask=[1, 0], dtype=object),
    ]  # fmt: skip
    expected = list(range(1, len(arrays) + 1))
    assert [function(array) for array in arrays] == [function(array.copy()) for array in arrays] == expected


def test_pandas_objects_are_known_by_what_their_types_carry():
    pandas = pytest.importorskip("pandas")
    function = fresh()

    def categories(names, ordered=False):
        return pandas.Categorical(["x", "x"], categories=names, ordered=ordered)

    of = [categories(["x"]), categories(["x", "y"]), categories(["y", "x"]), categories(["x", "y"], ordered=True)]
    days = pandas.date_range("2020", periods=3)
    noted = pandas.Series([1])
    noted.attrs["unit"] = "m"
    objects = [
        *of, *map(pandas.Series, of), *map(pandas.CategoricalIndex, of), *(pandas.DataFrame({"a": each}) for each in of),
        days, pandas.DatetimeIndex(list(days)), days.tz_localize("UTC"), days.tz_localize("Europe/Berlin"),
        pandas.DataFrame({"a": days.tz_localize("UTC")}), pandas.DataFrame({"a": days.tz_localize("Europe/Berlin")}),
        pandas.Series(days.to_period("D")), pandas.Series(pandas.interval_range(0, 3)), pandas.Series([1]), noted,
        [pandas.Timestamp("2020")], [pandas.Timestamp("2021")], [pandas.NaT], [pandas.NA], [pandas.Period("2020")],
    ]  # fmt: skip
    expected = list(range(1, len(objects) + 1))
    assert [function(thing) for thing in objects] == [function(thing.copy()) for thing in objects] == expected


def test_pydantic_models_are_known_by_class_and_fields():
    pydantic = pytest.importorskip("pydantic")

    class User(pydantic.BaseModel):
        name: str
        tags: list = []

    class Account(pydantic.BaseModel):
        name: str
        tags: list = []

    class Frozen(pydantic.BaseModel, frozen=True):
        name: str

    function = fresh()
    assert function(User(name="ann", tags=[1])) == function(User(name="ann", tags=[1])) == 1
    assert function(User(name="ann")) == 2 and function(Account(name="ann")) == 3
    assert function([User(name="ann")]) == 4 == function([User(name="ann")])
    assert function(Frozen(name="ann")) == 5 == function(Frozen(name="ann"))


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1_023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
        (1_048_576, "74cb441fd087764ca9c3694da742ebe30cbeb3060a17009ca81825c7a8d10343"),
        (4_194_303, "6ee7f30ae33570aae744290e3f678050511e72f37e594d7620a9191c7d353dd9"),
        (4_194_304, "4e94e6f582581a0f3855f3ce504b153e951e65036fe9e2f010b7e25473c54f98"),
        (4_194_305, "0460893a0170917e0d568bb27c0287984d4f7e9d59eafb95e6fb3c01ec611eab"),
        (4_456_448, "6e499a3aa13001a9b50c5219386fe3e5503500b23ec39e6d195c1a761b84f695"),
        (5_255_225, "4f6f706f56439f9ecb9e0347cbe6d68235fac93c2336c68c14222c5b1bf924fb"),
        (10_485_760, "84e1593352403358f61a898d41fbee5bbb71967b0499f79b31542f33a2ab68c5"),
        (16_777_223, "21aae580885ef62e805bca410f4e9af046bac470d612a7d6e437412e89cbaaf1"),
    ],
)
def test_a_buffer_has_the_digest_of_its_whole_however_many_threads_take_part(length, digest):
    # The digests are those of the package blake3.
    content = (bytes(range(251)) * (length // 251 + 1))[:length]
    assert _native.digest(content).hex() == digest
