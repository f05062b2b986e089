"""Methods: results belong to the instance, and die with it."""

import copy
import dataclasses
import gc
import inspect
import pickle
import warnings
import weakref

import pytest
from scrubjay import ManualClock, cached_property, lru_cache, memoize


class Plain:
    def __init__(self, name):
        self.name = name
        self.runs = 0

    @memoize
    def method(self, a, b=2):
        self.runs += 1
        return self.name, a, b

    @memoize
    def itself(self):
        return self

    @classmethod
    @memoize
    def of_class(cls, a):
        return cls, a

    @memoize
    @classmethod
    def of_class_too(cls, a):
        return cls, a

    @staticmethod
    @memoize
    def static(a):
        return [a]

    @property
    @memoize
    def inner_property(self):
        self.runs += 1
        return self.name

    @memoize
    @property
    def outer_property(self):
        self.runs += 1
        return self.name


class Unhashable(Plain):
    __hash__ = None

    def __eq__(self, other):
        return True


class Slotted:
    __slots__ = ("__weakref__", "name", "runs")
    __init__ = Plain.__init__
    method = memoize(Plain.__dict__["method"].__wrapped__)


@dataclasses.dataclass(frozen=True)
class Frozen:
    name: str
    runs: list

    @memoize
    def method(self, a, b=2):
        self.runs.append(a)
        return self.name, a, b


def runs_of(instance):
    return len(instance.runs) if isinstance(instance.runs, list) else instance.runs


@pytest.mark.parametrize("kind", [Plain, Unhashable, Slotted, Frozen])
def test_each_instance_has_its_own_results(kind):
    make = (lambda name: kind(name, [])) if kind is Frozen else kind
    ann, bob = make("ann"), make("bob")
    assert ann.method(1) == ("ann", 1, 2) == ann.method(a=1) == kind.method(ann, 1)
    assert bob.method(1) == ("bob", 1, 2)
    assert runs_of(ann) == runs_of(bob) == 1
    assert ann.method.contains(1) and not ann.method.contains(2)
    assert ann.method.invalidate(1) is True and ann.method.invalidate(1) is False
    assert bob.method.contains(1)
    assert kind.method.invalidate(bob, 1) is True


@pytest.mark.parametrize("kind", [Plain, Unhashable, Slotted, Frozen])
def test_an_instance_dies_when_its_last_user_lets_go(kind):
    instance = kind("ann", []) if kind is Frozen else kind("ann")
    instance.method(1)
    gone = weakref.ref(instance)
    del instance
    gc.collect()
    assert gone() is None
    assert kind.method.cache_info().currsize == 0


def test_a_result_that_refers_to_its_instance_does_not_keep_it_alive():
    instance = Plain("ann")
    assert instance.itself() is instance
    gone = weakref.ref(instance)
    del instance
    gc.collect()
    assert gone() is None


def test_an_instance_at_the_address_of_a_dead_one_starts_empty():
    for number in range(50):
        instance = Slotted(number)
        assert instance.method(1) == (number, 1, 2)


def test_a_copy_does_not_share_results_and_can_be_pickled():
    ann = Plain("ann")
    ann.method(1)
    for other in (copy.copy(ann), copy.deepcopy(ann), pickle.loads(pickle.dumps(ann))):
        other.name = "other"
        assert other.method(1) == ("other", 1, 2)
    assert ann.method(1) == ("ann", 1, 2) and ann.runs == 1


def test_an_instance_without_dictionary_and_weak_references_is_not_memoized_and_says_so():
    class Bare:
        __slots__ = ()

        @memoize
        def method(self, a):
            return object()

    bare = Bare()
    with pytest.warns(RuntimeWarning, match=r'Bare are not memoized.*add "__weakref__"'):
        first = bare.method(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bare.method(1) is not first
    assert bare.method.contains(1) is False and bare.method.invalidate(1) is False


def test_class_and_static_methods_are_memoized_whichever_decorator_is_outside():
    class Child(Plain):
        pass

    assert Plain.of_class(1) is Plain.of_class(1) and Plain("x").of_class(1) is Plain.of_class(1)
    assert Child.of_class(1) == (Child, 1) and Child.of_class_too(1) is Child.of_class_too(1)
    assert Plain.static(1) is Plain("x").static(1) is Plain.static(1)


def test_properties_are_memoized_in_their_instance():
    ann = Plain("ann")
    assert [ann.inner_property, ann.inner_property, ann.outer_property, ann.outer_property] == ["ann"] * 4
    assert ann.runs == 2
    gone = weakref.ref(ann)
    del ann
    gc.collect()
    assert gone() is None


def test_an_overridden_method_and_its_parents_keep_apart():
    class Child(Plain):
        @memoize
        def method(self, a, b=2):
            return "child", super().method(a, b)

    child = Child("ann")
    assert child.method(1) == ("child", ("ann", 1, 2)) == child.method(1)
    assert child.runs == 1


def test_key_and_ignored_self_share_among_instances():
    runs = []

    class User:
        def __init__(self, number):
            self.number = number

        @memoize(key=lambda self, page: (self.number, page))
        def by_key(self, page):
            runs.append(page)
            return page

        @memoize(ignore="self")
        def by_page(self, page):
            runs.append(page)
            return page

    User(1).by_key(1), User(1).by_key(1), User(2).by_key(1)
    assert len(runs) == 2
    User(1).by_page(1), User(2).by_page(1)
    assert len(runs) == 3


def test_a_memoized_method_looks_like_a_bound_one():
    ann = Plain("ann")
    assert str(inspect.signature(ann.method)) == "(a, b=2)"
    assert ann.method.__name__ == "method" and ann.method.__self__ is ann
    assert ann.method == ann.method and hash(ann.method) == hash(ann.method)
    assert ann.method != Plain("ann").method
    assert "Plain.method of" in repr(ann.method)
    function = ann.method
    assert function(1) is ann.method(1)
    assert pickle.loads(pickle.dumps(Plain("bob").method))(1) == ("bob", 1, 2)


def test_clearing_through_an_instance_concerns_that_instance():
    class Tagged:
        @memoize(tags=lambda self, a: [f"a:{a}"])
        def method(self, a):
            return object()

    one, two = Tagged(), Tagged()
    kept = two.method(1)
    one.method(1), one.method(2)
    assert one.method.invalidate_tag("a:1") == 1 and one.method.contains(2)
    one.method.cache_clear()
    assert not one.method.contains(2) and two.method(1) is kept
    assert Tagged.method.invalidate_tag("a:1") == 1
    two.method(1)
    Tagged.method.cache_clear()
    assert not two.method.contains(1) and Tagged.method.cache_info() == (0, 0, None, 0)


def test_a_cached_property_is_computed_once_and_again_after_its_life_or_deletion():
    clock, runs = ManualClock(), []

    class Owner:
        @cached_property(ttl=10, clock=clock)
        def value(self):
            """The value."""
            runs.append(1)
            return len(runs)

        @cached_property
        def plain(self):
            return object()

    owner, other = Owner(), Owner()
    assert (owner.value, owner.value, other.value) == (1, 1, 2)
    clock.advance(10)
    assert owner.value == 3
    del owner.value
    assert owner.value == 4
    with pytest.raises(AttributeError, match="'value' is computed"):
        owner.value = 5
    assert Owner.value.__doc__ == "The value." and Owner.value.stats().loads == 4
    assert owner.plain is owner.plain
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_a_metaclass_method_has_a_memory_in_each_class():
    class Meta(type):
        @memoize
        def method(self, a):
            return self.__name__, a

    one, two = Meta("one", (), {}), Meta("two", (), {})
    assert one.method(1) == ("one", 1) and two.method(1) == ("two", 1)
    assert one.method(1) is one.method(1)


def test_methods_of_pydantic_models_are_memoized_and_leave_the_model_as_it_is():
    pydantic = pytest.importorskip("pydantic")

    class Model(pydantic.BaseModel):
        name: str
        runs: list = []

        @memoize
        def method(self, a):
            self.runs.append(a)
            return self.name, a

        @cached_property
        def value(self):
            return [self.name]

    class Frozen(pydantic.BaseModel, frozen=True):
        name: str

        @lru_cache
        def method(self, a):
            return [self.name, a]

    model, other = Model(name="ann"), Model(name="ann")
    assert model.method(1) == ("ann", 1) == model.method(1) and model.runs == [1]
    assert model.value is model.value
    model.runs.clear()
    assert model == other and model.model_dump() == other.model_dump() == {"name": "ann", "runs": []}
    assert model.model_dump_json() == other.model_dump_json()
    copied = model.model_copy(update={"name": "bob"})
    assert copied.method(1) == ("bob", 1) and copied.value == ["bob"]
    frozen = Frozen(name="ann")
    assert frozen.method(1) is frozen.method(1)
