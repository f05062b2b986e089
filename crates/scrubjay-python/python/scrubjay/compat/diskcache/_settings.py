"""The settings of a folder, which those who open it later find: a JSON file beside the entries.

Invariant: the file is replaced as a whole, by whoever has the turn to write. One that is damaged says nothing, and where it
cannot be written, settings belong to the object that was given them.
"""

import contextlib
import json
import os


class Settings:
    """What was set for the caches on one folder, besides the defaults."""

    def __init__(self, directory):
        self._file = os.path.join(directory, "diskcache.json")

    def read(self):
        """What is kept, by name."""
        try:
            with open(self._file, encoding="utf-8") as file:
                settings = json.load(file)
        except (OSError, ValueError, RecursionError):
            return {}
        return settings if type(settings) is dict else {}

    def write(self, settings):
        """Keep these, and nothing else."""
        text = json.dumps(settings)
        with contextlib.suppress(OSError):
            unfinished = f"{self._file}.{os.getpid()}"
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(unfinished, self._file)
