"""What an object holds, by name, without running its code."""

import types

from scrubjay._native import Memory


def attributes_of(value):
    """The attributes and slots that are set. What its memoized methods remember is not among them."""
    held = {name: slot.__get__(value) for name, slot in slots_of(type(value)).items() if _is_set(slot, value)}
    held.update(dict_of(value) or {})
    return {name: part for name, part in held.items() if type(part) is not Memory}


def slots_of(kind):
    """The descriptors of the slots of a class, by name."""
    slots = {}
    for base in reversed(kind.__mro__):
        slots.update((name, slot) for name, slot in vars(base).items() if type(slot) is types.MemberDescriptorType)
    return slots


def dict_of(value):
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _is_set(slot, value):
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True
