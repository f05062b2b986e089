"""A pytest plugin that puts Scrubjay's cache in the place of DSPy's, for DSPy's own tests (`DSPY_TESTS`).

`DSPY_WAY` says how: `install`, with single-flight, or `class`, as by hand.
"""

import os
import shutil

import dspy.clients
import dspy.clients.cache
import pytest
import scrubjay.dspy

if os.environ["DSPY_WAY"] == "install":
    scrubjay.dspy.install()
else:
    dspy.clients.cache.Cache = dspy.clients.Cache = scrubjay.dspy.Cache

# Each with the reason why it is no test of the interface.
EXCLUDED = {
    "test_corrupt_disk_entries_return_none": "writes into the SQLite files of diskcache's shards, which there are none of",
    "test_old_disk_cache_hits_before_native_routing": "finds answers of DSPy's own folders at a miss; here `import_diskcache`"
    " brings them in when it is asked to",
}
SERVER = "asks LiteLLM's proxy, and there is no `litellm` on the path: install litellm[proxy]"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.originalname in EXCLUDED:
            item.add_marker(pytest.mark.skip(reason=EXCLUDED[item.originalname]))
        elif "litellm_test_server" in item.fixturenames and shutil.which("litellm") is None:
            item.add_marker(pytest.mark.skip(reason=SERVER))
