"""The README's examples run as they are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = [
    pytest.param(match[1], id=f"{path.parent.name}-{number}")
    for path in (ROOT / "README.md", ROOT.parents[1] / "README.md")
    for number, match in enumerate(re.finditer(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example(example):
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


def test_there_are_examples_in_both():
    assert len(EXAMPLES) >= 6
