"""A copy of what a `Cache` has in memory, as bytes.

The format (integers little-endian):

| bytes | what |
|---|---|
| 8 | `b"scrubpy\\0"` |
| 4 | format version, 1 |
| then, for every entry: 4 | length of its payload, at most 1 GiB |
| 1 | how it is encoded, as records of a store say it |
| length | `(key, value, seconds left or None, tags)` |
| at the end: 4 | 2**32 - 1 |
| 8 | number of entries |
| 32 | BLAKE2b of all bytes before |

Invariants: a snapshot is loaded whole or not at all: nothing is decoded before every byte was compared with the digest,
and nothing stored before everything was decoded. No length is believed before the bytes are there, nothing that was read
is executed, and a file has either the old content or the new.
"""

import contextlib
import hashlib
import os
import struct
import tempfile

from scrubjay._codec import Unstorable

_MAGIC = b"scrubpy\0"
_VERSION = 1
_LONGEST = 1 << 30
_END = 0xFFFFFFFF
# Read at once, so that a length that is a lie takes no memory.
_CHUNK = 1 << 20
# What pickled entries are signed with, in the place of an entry's digest.
_CONTEXT = b"scrubjay snapshot"


def save(entries, codec, target):
    """Write entries to a path or a binary file; how many."""
    records = [_encoded(codec, entry) for entry in entries]
    if not hasattr(target, "write"):
        _replace(os.fspath(target), records)
    else:
        _write(target, records)
    return len(records)


def load(codec, source):
    """The entries of a snapshot at a path or in a binary file. ValueError if it is not a whole one."""
    if hasattr(source, "read"):
        return _read(source, codec)
    with open(source, "rb") as file:
        return _read(file, codec)


def _encoded(codec, entry):
    try:
        kind, payload = codec.encode(entry, _CONTEXT)
    except Unstorable as error:
        raise TypeError(f"nothing was saved, because the entry {entry[0]!r} cannot be: {error}") from None
    if len(payload) > _LONGEST:
        raise ValueError(f"nothing was saved, because the entry {entry[0]!r} takes more than 1 GiB")
    return struct.pack("<IB", len(payload), kind) + payload


def _replace(path, records):
    folder, name = os.path.split(path)
    # Readable by its owner only.
    descriptor, draft = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with open(descriptor, "wb") as file:
            _write(file, records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _write(file, records):
    digest = hashlib.blake2b(digest_size=32)
    end = struct.pack("<IQ", _END, len(records))
    for part in (_MAGIC + struct.pack("<I", _VERSION), *records, end):
        digest.update(part)
        file.write(part)
    file.write(digest.digest())


def _read(file, codec):
    reader = _Reader(file)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _refused("it is not one")
    (version,) = reader.numbers("<I")
    if version != _VERSION:
        raise _refused(f"it has the format {version}, and this version reads {_VERSION} only")
    payloads = []
    while (length := reader.numbers("<I")[0]) != _END:
        if length > _LONGEST:
            raise _refused("it is damaged")
        (kind,) = reader.numbers("<B")
        payloads.append((kind, reader.take(length)))
    (count,) = reader.numbers("<Q")
    expected = reader.digest.digest()
    if reader.take(len(expected)) != expected or count != len(payloads) or file.read(1):
        raise _refused("it is damaged")
    return [_decoded(codec, kind, payload) for kind, payload in payloads]


def _decoded(codec, kind, payload):
    try:
        key, value, left, tags = codec.decode(kind, payload, _CONTEXT)
    except ValueError as error:
        raise _refused(str(error)) from None
    return key, value, left, tags


def _refused(why):
    return ValueError(f"the snapshot was not loaded, and nothing changed: {why}")


class _Reader:
    """Takes bytes out of a file, as many as are asked for and no fewer, and adds them to the digest."""

    def __init__(self, file):
        self._file = file
        self.digest = hashlib.blake2b(digest_size=32)

    def take(self, count):
        taken = bytearray()
        while len(taken) < count:
            part = self._file.read(min(_CHUNK, count - len(taken)))
            if not part:
                raise _refused("it ends in the middle")
            taken += part
        self.digest.update(taken)
        return bytes(taken)

    def numbers(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))
