"""The stubs: users' code passes strict checkers, and they say what is there at run time."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USES = Path(__file__).with_name("typing_uses.py")
STORE_USES = Path(__file__).with_name("typing_uses_of_the_store.py")


def run(checker, *arguments, folder):
    if importlib.util.find_spec(checker.partition(".")[0]) is None:
        pytest.skip(f"{checker} is not installed for this interpreter")
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_users_code_passes_mypy(tmp_path):
    copies = [str(shutil.copy(uses, tmp_path)) for uses in (USES, STORE_USES)]
    run("mypy", "--strict", *copies, folder=tmp_path)


@pytest.mark.timeout(300)
def test_users_code_passes_pyright(tmp_path):
    copies = [Path(shutil.copy(uses, tmp_path)).name for uses in (USES, STORE_USES)]
    config = {"typeCheckingMode": "strict", "include": copies}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    run("pyright", "--pythonpath", sys.executable, folder=tmp_path)


@pytest.mark.timeout(300)
def test_the_stubs_are_what_is_there(tmp_path):
    config = Path(__file__).parents[1] / "pyproject.toml"
    run("mypy.stubtest", "--mypy-config-file", str(config), "scrubjay", folder=tmp_path)
