"""`copy="freeze"`: an immutable form of a value, handed out to everyone alike."""

import types
from collections import deque


def freeze(value):
    """Lists become tuples, dictionaries read-only views, sets frozensets, bytearrays bytes; arrays refuse writes.

    Objects of other types stay as they are.
    """
    kind = type(value)
    if kind in (list, tuple, deque):
        return tuple(freeze(part) for part in value)
    if kind is dict:
        return types.MappingProxyType({key: freeze(part) for key, part in value.items()})
    if kind in (set, frozenset):
        return frozenset(value)
    if kind is bytearray:
        return bytes(value)
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
        value = value.copy()
        value.flags.writeable = False
    return value
