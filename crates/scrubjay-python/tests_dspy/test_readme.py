"""The README's example for DSPy runs as it is."""

import re
from pathlib import Path

import scrubjay.dspy


def test_the_example_runs(upstream, monkeypatch, tmp_path):
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.url)
    readme = Path(__file__).parents[1] / "README.md"
    (example,) = re.findall(r"```py\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    try:
        exec(compile(example, "README.md", "exec"), {})
    finally:
        scrubjay.dspy.uninstall()
    assert upstream.calls == 1
