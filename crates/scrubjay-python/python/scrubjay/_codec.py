"""The safe codec: which values may be stored, and which may come back.

Built-in types are encoded by the native module. Everything else is reduced here to a name and a state, and restored by
looking the name up. Invariants: nothing that was read is executed. A class comes back only if this process has imported
it already (or, for the packages that are trusted by name, by importing those), its attributes are set without running
its code, and a class that is no dataclass, enum or named tuple must be allowed. Pickle is off unless asked for, and then
signed with a key that is not in the store.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import hashlib
import hmac
import importlib
import os
import pathlib
import pickle
import sys
import uuid

from scrubjay._attributes import attributes_of, dict_of, slots_of
from scrubjay._native import PYTHON, decode, encode

# How a payload is encoded, as records of a store say it; `PYTHON` is the safe way.
PICKLE = 4

_SIGNATURE_BYTES = 32


class Unstorable(TypeError):
    """The value has a part that cannot be stored; the message names its type."""


class Codec:
    """Turns values into payloads and back.

    `classes` may come back although they are neither dataclasses nor enums nor named tuples; so may the pydantic models
    of the `packages` named. With `listed_only`, dataclasses, enums and named tuples must be among the classes too. With `allow_pickle`, what is still unknown is pickled, and signed with the key in `key_file`,
    which is made if it is not there (default: `scrubjay/pickle.key` in the user's data folder). `advice` says which
    options of the codec's user help where a type is not known.
    """

    def __init__(self, *, classes=(), packages=(), listed_only=False, allow_pickle=False, key_file=None, advice=""):
        classes = tuple(classes) if hasattr(classes, "__iter__") else (classes,)
        if not all(isinstance(cls, type) for cls in classes):
            raise TypeError(f"classes= are classes whose objects may be read, not {classes!r}")
        self._classes = {_name_of(cls): cls for cls in classes}
        self._packages = tuple(packages)
        self._listed_only = listed_only
        self._key_file = _default_key_file() if key_file is None else os.fspath(key_file)
        self._allow_pickle = allow_pickle
        self._advice = advice

    def encode(self, value, digest):
        """`(codec, payload)` for a value under this digest. Raises `Unstorable`."""
        try:
            return PYTHON, encode(value, self._reduce)
        except Exception as error:
            # Whatever the value's own code raised while it was taken apart.
            if not self._allow_pickle:
                advice = self._advice if isinstance(error, Unstorable) else ""
                raise Unstorable(f"{error}{advice}") from error
        try:
            pickled = pickle.dumps(value)
        except Exception as error:
            raise Unstorable(f"{type(value).__qualname__} cannot be pickled: {error}") from error
        return PICKLE, self._sign(digest, pickled) + pickled

    def decode(self, codec, payload, digest):
        """The value of a payload. Raises `ValueError` where it must not or cannot come back."""
        if codec == PYTHON:
            return decode(payload, self.restore)
        if codec != PICKLE:
            raise ValueError(f"a stored value is in an encoding that Python does not read ({codec})")
        if not self._allow_pickle:
            raise ValueError("a stored value is pickled; `allow_pickle=True` reads those that this user signed")
        signature, pickled = payload[:_SIGNATURE_BYTES], payload[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(digest, pickled)):
            raise ValueError("a stored value is pickled, and not signed with this user's key")
        try:
            return pickle.loads(pickled)
        except Exception as error:
            raise ValueError(f"a stored value cannot be unpickled: {error}") from error

    def _sign(self, digest, pickled):
        # The digest is signed too: a payload must not be moved to another key.
        return hmac.digest(_read_key(self._key_file), digest + pickled, hashlib.sha256)

    def _reduce(self, value):
        kind = type(value)
        known = _REDUCERS.get(kind)
        if known is not None:
            return known(value)
        if kind.__module__ == "numpy":
            return _reduce_array(value)
        form, state = self._take_apart(kind, value)
        name = _name_of(kind)
        if form is None or self._found(name) is not kind:
            raise Unstorable(f"{kind.__module__}.{kind.__qualname__} is not a type that can be stored")
        return f"{form}:{name}", state

    def _take_apart(self, kind, value):
        name = _name_of(kind)
        if name in self._classes and not _is_model(kind) and _is_plain(kind):
            return "object", attributes_of(value)
        if "__dataclass_fields__" in kind.__dict__ and not hasattr(kind, "__del__") and _is_plain(kind):
            return "dataclass", attributes_of(value)
        if isinstance(value, enum.Enum) and kind.__members__.get(value.name) is value:
            return "enum", value.name
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return "record", dict(zip(kind._fields, value, strict=True))
        if _is_model(kind) and self._allows(name):
            return "model", value.__getstate__()
        return None, None

    def _found(self, name):
        """The class that would come back under this name, or None."""
        try:
            return self._find(name)
        except (KeyError, ValueError, ImportError):
            return None

    def restore(self, name, state):
        """The object of a name and a state, for the native part."""
        known = _RESTORERS.get(name)
        try:
            if known is not None:
                return known(state)
            form, _, name = name.partition(":")
            kind = self._find(name)
            lacking = self._lacking(form, name, kind, state)
            if not lacking:
                return _RESTORE_AS[form](kind, state)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"a stored value cannot come back: {name}: {error}") from error
        raise ValueError(f"a stored {name} is of before its class had {', '.join(lacking)}")

    def _lacking(self, form, name, kind, state):
        """The fields that a class has and the state of an object has not, because it was stored before."""
        if dataclasses.is_dataclass(kind):
            # What is never set may have a value all the same, its class's.
            needed = (each for each in dataclasses.fields(kind) if each.init or each.default is dataclasses.MISSING)
            return [each.name for each in needed if each.name not in state]
        # Packages make some of theirs without all fields, and take others away.
        if form == "model" and name in self._classes:
            return [each for each in kind.__pydantic_fields__ if each not in state["__dict__"]]
        return []

    def find_allowed(self, name):
        """A class by its name, `module:qualname`, if it is one that had to be allowed and was."""
        if not self._allows(name):
            raise ValueError(f"{name} is not among the classes that may be read")
        found = self._find(name)
        if name not in self._classes and not _is_model(found):
            raise ValueError(f"{name} is no model")
        return found

    def _allows(self, name):
        module = name.partition(":")[0]
        return name in self._classes or any(
            module == package or module.startswith(package + ".") for package in self._packages
        )

    def _find(self, name):
        allowed = self._classes.get(name)
        if allowed is not None:
            return allowed
        module, _, qualname = name.partition(":")
        if module not in sys.modules and self._allows(name):
            importlib.import_module(module)
        found = sys.modules[module]
        for part in qualname.split("."):
            found = vars(found)[part]
        if not isinstance(found, type) or _name_of(found) != name:
            raise ValueError(f"{name} is not a class")
        if (self._listed_only or _is_model(found)) and not self._allows(name):
            raise ValueError(f"{name} is not among the classes that may be read")
        return found


def _name_of(cls):
    # The second is what multiprocessing calls the program in a process that it spawned.
    module = "__main__" if cls.__module__ == "__mp_main__" else cls.__module__
    return f"{module}:{cls.__qualname__}"


def _is_model(kind):
    """Whether it is a pydantic model, without importing pydantic for those who have none."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def _is_plain(kind):
    """Whether attributes are all that its objects hold: not so for subclasses of dictionaries, numbers and the like."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return True


def _restore_dataclass(cls, state):
    if "__dataclass_fields__" not in cls.__dict__ or hasattr(cls, "__del__"):
        raise ValueError(f"{_name_of(cls)} is not a dataclass that can come back")
    return _restore_object(cls, state)


def _restore_object(cls, state):
    """An object with these attributes. Neither its `__init__` nor a setter runs."""
    made = object.__new__(cls)
    slots, attributes = slots_of(cls), dict_of(made)
    for name, part in state.items():
        if name in slots:
            slots[name].__set__(made, part)
        else:
            attributes[name] = part
    return made


def _restore_enum(cls, name):
    if not issubclass(cls, enum.Enum):
        raise ValueError(f"{_name_of(cls)} is not an enum")
    return cls.__members__[name]


def _restore_record(cls, state):
    if not issubclass(cls, tuple) or tuple(state) != cls._fields:
        raise ValueError(f"{_name_of(cls)} is not a named tuple of {', '.join(state)}")
    return tuple.__new__(cls, state.values())


def _restore_model(cls, state):
    import pydantic

    made = object.__new__(cls)
    # The base's own way of taking a state back: it sets attributes and runs no validator.
    pydantic.BaseModel.__setstate__(made, state)
    return made


_RESTORE_AS = {
    "dataclass": _restore_dataclass,
    "enum": _restore_enum,
    "record": _restore_record,
    "model": _restore_model,
    "object": _restore_object,
}


def _reduce_array(value):
    numpy = sys.modules["numpy"]
    array = numpy.asarray(value)
    if type(value) is not numpy.ndarray and not isinstance(value, numpy.generic) or array.dtype.kind not in "biufcSUmM":
        raise Unstorable(f"{type(value).__qualname__} of {array.dtype} is not a type that can be stored")
    name = "array" if type(value) is numpy.ndarray else "array-scalar"
    return name, (array.dtype.str, array.shape, array.tobytes())


def _restore_array(state):
    import numpy

    dtype, shape, content = state
    dtype = numpy.dtype(dtype)
    if dtype.hasobject:
        raise ValueError("an array of objects does not come back")
    return numpy.frombuffer(bytearray(content), dtype).reshape(shape)


def _restore_zone(state):
    offset, name = state
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _reduce_zone(zone):
    # The name is there only if it was given.
    parts = zone.__getinitargs__()
    return "timezone", (parts[0], parts[1] if len(parts) > 1 else None)


def _reduce_datetime(moment):
    zone = moment.tzinfo
    if zone is not None and type(zone) is not datetime.timezone:
        raise Unstorable(f"a time in the zone {zone!r} cannot be stored; `.astimezone(datetime.timezone.utc)` can")
    return zone


def _restore_time(cls):
    def restore(state):
        text, zone, fold = state
        return cls.fromisoformat(text).replace(tzinfo=zone, fold=fold)

    return restore


def _time_reducer(name):
    def reduce(moment):
        zone = _reduce_datetime(moment)
        return name, (moment.replace(tzinfo=None).isoformat(), zone, moment.fold)

    return reduce


_REDUCERS = {
    decimal.Decimal: lambda value: ("decimal", str(value)),
    fractions.Fraction: lambda value: ("fraction", (value.numerator, value.denominator)),
    datetime.date: lambda value: ("date", value.toordinal()),
    datetime.datetime: _time_reducer("datetime"),
    datetime.time: _time_reducer("time"),
    datetime.timedelta: lambda value: ("timedelta", (value.days, value.seconds, value.microseconds)),
    datetime.timezone: _reduce_zone,
    type(pathlib.Path()): lambda value: ("path", str(value)),
    uuid.UUID: lambda value: ("uuid", value.bytes),
    range: lambda value: ("range", (value.start, value.stop, value.step)),
    slice: lambda value: ("slice", (value.start, value.stop, value.step)),
    type(Ellipsis): lambda value: ("ellipsis", None),
    type(NotImplemented): lambda value: ("not-implemented", None),
    collections.OrderedDict: lambda value: ("ordered-dict", dict(value)),
    collections.Counter: lambda value: ("counter", dict(value)),
    collections.deque: lambda value: ("deque", (list(value), value.maxlen)),
}

_RESTORERS = {
    "decimal": decimal.Decimal,
    "fraction": lambda state: fractions.Fraction(*state),
    "date": datetime.date.fromordinal,
    "datetime": _restore_time(datetime.datetime),
    "time": _restore_time(datetime.time),
    "timedelta": lambda state: datetime.timedelta(*state),
    "timezone": _restore_zone,
    "uuid": lambda state: uuid.UUID(bytes=state),
    "range": lambda state: range(*state),
    "slice": lambda state: slice(*state),
    "ellipsis": lambda _: Ellipsis,
    "not-implemented": lambda _: NotImplemented,
    "ordered-dict": collections.OrderedDict,
    "counter": collections.Counter,
    "deque": lambda state: collections.deque(state[0], state[1]),
    "path": pathlib.Path,
    "array": _restore_array,
    "array-scalar": lambda state: _restore_array(state)[()],
}


def _default_key_file():
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(data, "scrubjay", "pickle.key")


def _read_key(path):
    """The key in a file that only its owner can read; made if it is not there."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ValueError(f"{path}: others can read this key; `chmod 600` it, or remove it to have a new one")
            key = file.read()
    except FileNotFoundError:
        _make_key(path)
        return _read_key(path)
    if len(key) != _SIGNATURE_BYTES:
        raise ValueError(f"{path}: not a key of {_SIGNATURE_BYTES} bytes; remove it to have a new one")
    return key


def _make_key(path):
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    # Complete before it has its name, so that nobody reads half of it; whoever links first wins.
    draft = f"{path}.{uuid.uuid4().hex}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(os.urandom(_SIGNATURE_BYTES))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)
