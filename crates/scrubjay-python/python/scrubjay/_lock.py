"""A lock that a forked child finds free, whatever the threads of its parent were doing."""

import os
import threading

# Locks of modules, which live as long as the interpreter.
_locks: list["Lock"] = []


class Lock:
    """`with lock.raw:` is held for a few steps of the package's own code, never while the user's code runs."""

    __slots__ = ("raw",)

    def __init__(self):
        self.raw = threading.Lock()
        _locks.append(self)


def _renew():
    for lock in _locks:
        lock.raw = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
