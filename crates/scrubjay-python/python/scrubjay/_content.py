"""The content of arguments that Python cannot hash, in a form that it can.

What equals what: arguments that are hashable are compared by their own `==` and by type. Others are compared by content:
same type, and equal parts of the same types in the same places (`[1]`, `[1.0]` and `[True]` are three). The order of a
dictionary's or a set's items does not matter. Buffers (arrays, bytearrays) are compared by type, shape and the BLAKE3
digest of their bytes.
"""

import dataclasses
import types
from collections import OrderedDict, deque

from scrubjay import _native
from scrubjay._attributes import attributes_of

_NUMBERS = (bool, float, complex)


class Content:
    """A frozen argument. Equal to other frozen arguments only: were it a tuple, one of the user's could equal it."""

    __slots__ = ("_parts",)

    def __init__(self, parts):
        self._parts = parts

    def __eq__(self, other):
        return type(other) is Content and self._parts == other._parts

    def __hash__(self):
        return hash(self._parts)


def content(value):
    """The content of an argument; TypeError if it has none that can be known."""
    return _content(value, ())


def _content(value, above):
    kind = type(value)
    if kind is str or kind is int or kind is bytes or value is None:
        return value
    if kind in _NUMBERS:
        return Content((kind, value))
    if id(value) in above:
        raise TypeError(f"an argument contains itself; pass key= or ignore= to memoize ({kind.__qualname__})")
    above = (*above, id(value))
    if kind in (list, tuple):
        return Content((kind, *(_content(part, above) for part in value)))
    if kind is dict:
        return Content((kind, _items(value, above)))
    if kind is OrderedDict:
        return Content((kind, *((_content(key, above), _content(part, above)) for key, part in value.items())))
    if kind in (set, frozenset):
        return Content((kind, frozenset(_content(part, above) for part in value)))
    if kind in (bytearray, memoryview):
        return Content((kind, *_buffer(value)))
    return _content_of_object(value, kind, above)


def _content_of_object(value, kind, above):
    library = kind.__module__.partition(".")[0]
    if library == "numpy" and hasattr(value, "dtype"):
        return _array(value, kind, above)
    if dataclasses.is_dataclass(value) and kind.__hash__ is None:
        fields = dataclasses.fields(value)
        compared = (field.name for field in fields if field.compare)
        return Content((kind, *((name, _content(getattr(value, name), above)) for name in compared)))
    if hasattr(kind, "__pydantic_fields__") and kind.__hash__ is None:
        return Content((kind, *(_items(part, above) for part in model_parts(value))))
    try:
        hash(value)
    except TypeError:
        pass
    else:
        # Numbers, texts and the like are equal to others of other types; what only equals itself is not.
        return value if kind.__eq__ is object.__eq__ or kind is types.BuiltinFunctionType else Content((kind, value))
    if library == "pandas":
        return _pandas(value, kind, above)
    # Other containers: their items, their type, and what they hold besides.
    if isinstance(value, dict):
        return Content((kind, _items(value, above), *_state(value, above)))
    if isinstance(value, (list, tuple, deque)):
        return Content((kind, *(_content(part, above) for part in value), *_state(value, above)))
    if isinstance(value, (set, frozenset)):
        return Content((kind, frozenset(_content(part, above) for part in value), *_state(value, above)))
    raise TypeError(
        f"unhashable type: '{kind.__qualname__}', and its content is not known to memoize; "
        "pass key= with a function that names the call, or ignore= the argument"
    )


def model_parts(model):
    """The fields of a pydantic model, its extra ones and its private ones: what its `==` compares."""
    held = model.__dict__
    fields = {name: held[name] for name in type(model).__pydantic_fields__ if name in held}
    return fields, getattr(model, "__pydantic_extra__", None) or {}, getattr(model, "__pydantic_private__", None) or {}


def _items(mapping, above):
    return frozenset((_content(key, above), _content(part, above)) for key, part in mapping.items())


def _state(value, above):
    """What a container holds besides its items: the attributes of a subclass, a factory of defaults, a bound."""
    held = attributes_of(value)
    if isinstance(value, deque):
        held["maxlen"] = value.maxlen
    return (_items(held, above),) if held else ()


def _buffer(value):
    view = memoryview(value)
    if not view.c_contiguous:
        view = memoryview(view.tobytes())
    return view.format, view.shape, _native.digest(view)


def _array(value, kind, above):
    masked = () if getattr(value, "mask", None) is None else _mask(value, above)
    if value.dtype.hasobject:
        return Content((kind, str(value.dtype), value.shape, _content(value.tolist(), above), *masked))
    import numpy

    # Dates and records have no buffer of their own kind; bytes are bytes.
    flat = numpy.ascontiguousarray(value)
    plain = flat.view(numpy.ndarray).reshape(-1).view(numpy.uint8)
    return Content((kind, str(value.dtype), value.dtype.descr.__repr__(), value.shape, _native.digest(plain), *masked))


def _mask(value, above):
    """What a masked array has besides its numbers."""
    import numpy

    parts = numpy.asarray(value.mask), numpy.asarray(value.fill_value)
    return (*(_array(part, numpy.ndarray, above) for part in parts), value.hardmask)


def _pandas(value, kind, above):
    name = kind.__name__
    if name == "DataFrame":
        columns = tuple(_column(value.iloc[:, position], above) for position in range(value.shape[1]))
        columns = (_pandas(value.columns, type(value.columns), above), columns)
        return Content((kind, *columns, _index(value, above), _content(value.attrs, above)))
    if name == "Series":
        return Content((kind, _index(value, above), _column(value, above), _content(value.attrs, above)))
    if hasattr(value, "to_numpy"):
        names = tuple(getattr(value, "names", ()) or (getattr(value, "name", None),))
        return Content((kind, names, getattr(value, "freqstr", None), _column(value, above)))
    raise TypeError(f"unhashable type: '{kind.__qualname__}'; pass key= to memoize")


def _index(value, above):
    return _pandas(value.index, type(value.index), above)


def _column(value, above):
    dtype, details = value.dtype, ()
    if hasattr(dtype, "tz"):
        import numpy

        # As moments: in their zone they would be objects, one for each.
        array = numpy.asarray(value, dtype=f"M8[{dtype.unit}]")
    else:
        array = value.to_numpy()
    if hasattr(dtype, "categories"):
        # Which there are, and their order, is more than the values and the name of the type say.
        details = (_pandas(dtype.categories, type(dtype.categories), above), dtype.ordered)
    return Content((str(dtype), *details, getattr(value, "name", None), _array(array, type(array), above)))
