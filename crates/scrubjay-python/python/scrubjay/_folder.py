"""The folders of `disk=`: opened when they are first needed, one store for each, and who is above it.

Invariants: nothing is opened or made before the first miss; every invalidation on a folder reaches the memories above it, at once
in its own process, within some 20 ms in others; what cannot be opened is off, which is said once; and no lock of this
module is held while anything but this module runs.
"""

import atexit
import os
import threading
import weakref

from scrubjay import _native
from scrubjay._warn import warn_once

# How long a watcher may keep a store whose users are gone, unless it is told that they are.
_LOOK_AT_LEAST = 1.0


class Folder:
    """A place that may be opened. Given as a path, a store, or something that has a folder already."""

    def __init__(self, place):
        self._opened = None
        self._is_off = False
        self.path = None
        if isinstance(place, _native.Store):
            self._opened = _share(place)
        elif isinstance(getattr(place, "_folder", None), Folder):
            self._opened, self.path = place._folder._opened, place._folder.path
        elif isinstance(place, (str, os.PathLike)) and os.fspath(place):
            # Absolute now: a program may change its working directory before the first miss.
            self.path = os.path.abspath(os.path.expanduser(os.fspath(place)))
        else:
            raise TypeError(f"disk= is a folder's name, or a Cache that has one, not {place!r}")

    def opened(self, make=True):
        """The open folder; None if it cannot be used, or, unless it may be made, if it is not there."""
        if self._opened is None and not self._is_off and (make or os.path.isdir(self.path)):
            self._open()
        return self._opened

    def _open(self):
        try:
            self._opened = _share(_native.Store(self.path))
        except (OSError, ValueError) as error:
            self._is_off = True
            warn_once(self, "open", f"{error}; results are kept in memory only")


class Opened:
    """A store, and the tiers of this process that use it."""

    def __init__(self, store):
        self.store = store
        self._tiers = {}
        self._seen = store.fence()
        self._watch = self._thread = None
        self._watching = threading.Lock()

    def attach(self, tier):
        """Add a tier that hears of invalidations from now on."""
        number = id(tier)
        tiers = self._tiers
        tiers[number] = weakref.ref(tier, lambda _gone: tiers.pop(number, None))
        # Taken by whoever is first, and never given back.
        if self._watching.acquire(blocking=False):
            self.watch()

    def tell(self, kind, target=None):
        """Pass an invalidation on to the memories of this process."""
        for tier in [reference() for reference in list(self._tiers.values())]:
            if tier is not None:
                tier.hear(kind, target)

    def watch(self):
        """Hear of what other processes invalidate, from the point on up to which it was heard."""
        watch = self.store.watch(self._seen)
        thread = threading.Thread(target=_listen, args=(weakref.ref(self), watch), name="scrubjay-watch", daemon=True)
        self._thread, self._watch = thread, watch
        try:
            thread.start()
        except RuntimeError as error:
            # No more threads, or the interpreter is shutting down: nobody would hear, so nothing is taken from the
            # disk.
            self.store.distrust()
            warn_once(self, "watch", f"{self.store!r} is not used: {error}")

    def heard(self, news, at):
        for kind, target in news:
            self.tell(kind, target)
        self._seen = at

    def close(self):
        """Stop watching, and write what is queued."""
        if self._watch is not None:
            self._watch.stop()
            if self._thread is not threading.current_thread() and self._thread.is_alive():
                self._thread.join()
        try:
            self.store.flush()
        except OSError as error:
            warn_once(self, "flush", f"not all results could be written: {error}")

    def __del__(self):
        if self._watch is not None:
            self._watch.stop()


def _listen(reference, watch):
    while True:
        heard = watch.wait(_LOOK_AT_LEAST)
        opened = reference()
        if heard is None or opened is None:
            return
        opened.heard(*heard)
        del opened


_lock = threading.Lock()
_all: "weakref.WeakValueDictionary[str, Opened]" = weakref.WeakValueDictionary()


def _share(store):
    """The one `Opened` of a store in this process."""
    made, path = Opened(store), str(store.directory)
    with _lock:
        return _all.setdefault(path, made)


def _living():
    """All that are open, though other threads may open more meanwhile."""
    return [opened for reference in _all.valuerefs() if (opened := reference()) is not None]


@atexit.register
def _close():
    # Threads that come back from native code while the interpreter goes would be in its way.
    for opened in _living():
        opened.close()


def _forked():
    """A child has the memories of its parent, but none of its threads."""
    global _lock
    _lock = threading.Lock()
    for opened in _living():
        if opened._watching.locked():
            opened.watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
