"""What the tests of the DSPy cache share: a server that stands for OpenAI's, and a cache that is DSPy's."""

import os
import sys
import tempfile

# Before DSPy is imported, so that no test touches the cache of whoever runs it.
os.environ["DSPY_CACHEDIR"] = tempfile.mkdtemp(prefix="scrubjay-dspy-")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
    os.environ.pop(name, None)
sys.path.insert(0, os.path.dirname(__file__))

import dspy
import pytest
import scrubjay.dspy
from scrubjay._flight import until_waiting
from upstream import Upstream


@pytest.fixture
def upstream():
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path):
    """A cache of this test's own, installed."""
    installed = scrubjay.dspy.install(disk_cache_dir=tmp_path / "cache")
    yield installed
    scrubjay.dspy.uninstall()


@pytest.fixture
def lm(upstream, cache):
    return model(upstream)


def model(upstream, name="openai/gpt-4o-mini", **options):
    options = {"api_base": upstream.url, "api_key": "secret", "num_retries": 0, **options}
    return dspy.LM(name, **options)


def wait_until_waiting(count):
    """Until so many callers wait for the calls of others."""
    assert until_waiting(count, 60), f"fewer than {count} callers wait"


IS_3_3 = dspy.__version__.startswith("3.3.")
