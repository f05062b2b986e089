"""Reads the folders of diskcache 5.6: its `Cache` and its `FanoutCache`, without importing it.

Invariants: the folder is opened read-only and nothing in it changes; and a pickle is only opened by rules that name what
may come back, or not at all, unless the caller allows whatever it says.
"""

import codecs
import io
import os
import pickle
import sqlite3
from typing import NamedTuple

# How a value is kept: `mode` of the table.
_NONE, _RAW, _BINARY_FILE, _TEXT_FILE, _PICKLE = range(5)

_SAFE_GLOBALS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


class Entry(NamedTuple):
    """An entry as it is kept: `pickled_key` where `raw` is false, and one of `value` and `pickled`."""

    key: object
    pickled_key: bytes
    value: object
    pickled: bytes
    expires: float
    tag: object
    written: float

    def restricted(self, codec):
        """The value, its pickle read by rules; None if it may not come back."""
        if self.pickled is None:
            return self.value
        try:
            return _RestrictedUnpickler(self.pickled, codec).load()
        except Exception:
            return None

    def unrestricted(self):
        """`(key, value)`, whatever their pickles say."""
        key = self.key if self.pickled_key is None else pickle.loads(self.pickled_key)
        return key, self.value if self.pickled is None else pickle.loads(self.pickled)


def is_diskcache(directory):
    """Whether a folder is one of diskcache's."""
    return bool(_databases(directory))


def entries(directory):
    """Goes through the entries of a folder that are not expired, in the order in which they were written."""
    databases = _databases(directory)
    if not databases:
        raise FileNotFoundError(f"{directory}: no folder of diskcache; there is no cache.db in it")
    for database in databases:
        yield from _rows(database)


def count(directory):
    """How many entries a folder has, expired ones included."""
    return sum(
        _connect(database).execute("SELECT COUNT(*) FROM Cache").fetchone()[0] for database in _databases(directory)
    )


def _databases(directory):
    names = ["", *sorted(name for name in os.listdir(directory) if len(name) == 3 and name.isdigit())]
    paths = (os.path.join(directory, name, "cache.db") for name in names)
    return [path for path in paths if os.path.isfile(path)]


def _connect(database):
    return sqlite3.connect(
        f"file:{database.replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode=ro", uri=True
    )


def _rows(database):
    columns = "key, raw, value, mode, filename, expire_time, tag, store_time"
    query = (
        f"SELECT {columns} FROM Cache WHERE expire_time IS NULL OR expire_time > strftime('%s', 'now') ORDER BY rowid"
    )
    connection = _connect(database)
    try:
        for row in connection.execute(query):
            entry = _entry(os.path.dirname(database), *row)
            if entry is not None:
                yield entry
    finally:
        connection.close()


def _entry(folder, key, raw, value, mode, filename, expires, tag, written):
    try:
        content = value if filename is None else _read(os.path.join(folder, filename), mode)
    except (OSError, UnicodeDecodeError):
        # It was removed meanwhile, or is not what it says.
        return None
    pickled = bytes(content) if mode == _PICKLE else None
    plain = None if mode in (_NONE, _PICKLE) else content
    known = (key, None) if raw else (None, bytes(key))
    return Entry(*known, plain, pickled, expires, tag, written)


def _read(path, mode):
    if mode == _TEXT_FILE:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    with open(path, "rb") as file:
        return file.read()


class _RestrictedUnpickler(pickle.Unpickler):
    """Finds only models of the packages that the codec trusts, its classes, and what numpy's arrays are made of."""

    def __init__(self, pickled, codec):
        super().__init__(io.BytesIO(pickled))
        self._codec = codec

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        if (module, name) in _SAFE_GLOBALS:
            return super().find_class(module, name)
        return self._codec.find_allowed(f"{module}:{name}")
