"""`python -m scrubjay`: the tools of a folder, by the code of the `scrubjay` command."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from scrubjay import Cache, memoize


def scrubjay(*arguments, **options):
    command = [sys.executable, "-m", "scrubjay", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def folder(tmp_path):
    @memoize(disk=tmp_path, tags=["even"])
    def square(n):
        return n * n

    assert [square(n) for n in (1, 2)] == [1, 4]
    cache = Cache(disk=tmp_path)
    cache["name"] = "Ann"
    cache._folder.opened().store.flush()
    return tmp_path


def test_ls_shows_functions_and_arguments(folder):
    done = scrubjay("ls", folder)
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"square .* even .*\{\"n\": 1\}", done.stdout) and "scrubjay.Cache" in done.stdout
    lines = scrubjay("ls", folder, "--json", "--function", "scrubjay.Cache").stdout.splitlines()
    assert len(lines) == 1 and json.loads(lines[0])["function"] == "scrubjay.Cache"


def test_stats_verify_and_show(folder):
    assert "3 entries" in scrubjay("stats", folder).stdout
    done = scrubjay("verify", folder)
    assert done.returncode == 0 and done.stdout.startswith("3 entries")
    key = json.loads(scrubjay("ls", folder, "--json").stdout.splitlines()[0])["key"]
    assert key in scrubjay("show", folder, key[:12]).stdout
    assert scrubjay("show", folder, "zz").returncode == 1


def test_rm_and_purge_are_seen_by_the_program(folder):
    cache = Cache(disk=folder)
    assert cache["name"] == "Ann"
    key = json.loads(scrubjay("ls", folder, "--json", "--function", "scrubjay.Cache").stdout)["key"]
    assert scrubjay("rm", folder, key).stdout == "removed 1 entry\n"
    assert "name" not in Cache(disk=folder)
    assert scrubjay("purge", folder, "--tag", "even").stdout == "removed 2 entries\n"
    assert scrubjay("purge", folder).returncode == 2 and scrubjay("purge", folder, "--all").returncode == 0


def test_help_lists_everything_and_each_command_has_its_own():
    text = scrubjay("--help").stdout
    for name in ("ls", "show", "stats", "top", "rm", "purge", "verify", "export", "import"):
        assert re.search(rf"^  {name} +\S", text, re.MULTILINE), name
        own = scrubjay(name, "--help")
        assert own.returncode == 0 and "DIR" in own.stdout, name
    assert "Usage: python -m scrubjay" in text
    assert scrubjay("--version").stdout.startswith("scrubjay ")


def test_nonsense_is_status_2_with_advice():
    for arguments in ((), ("ls",), ("nothing",), ("ls", "--nothing", "x")):
        done = scrubjay(*arguments)
        assert done.returncode == 2 and done.stdout == "" and "Usage" in done.stderr


def test_a_folder_that_is_none_is_status_3(tmp_path):
    done = scrubjay("stats", tmp_path / "none")
    assert done.returncode == 3 and "there is no store in" in done.stderr and not (tmp_path / "none").exists()


def test_output_goes_to_the_streams_of_the_process(folder, tmp_path):
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-m", "scrubjay", "ls", folder], stdout=out, check=True)
    assert "scrubjay.Cache" in (tmp_path / "out").read_text()
    exported = tmp_path / "out.jsonl"
    assert scrubjay("export", folder, exported).returncode == 0 and len(exported.read_text().splitlines()) >= 3


def test_a_reader_that_goes_away_ends_it_quietly(folder):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.Popen([sys.executable, "-m", "scrubjay", "ls", folder], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.communicate(timeout=60)[1] == b"" and done.returncode == -signal.SIGPIPE


def test_control_c_ends_it(folder):
    cache = Cache(disk=folder)
    cache["large"] = os.urandom(1_000_000)
    cache._folder.opened().store.flush()
    # Nobody reads on, so it writes for ever.
    export = subprocess.Popen([sys.executable, "-m", "scrubjay", "export", folder], stdout=subprocess.PIPE)
    assert export.stdout.read(1)
    export.send_signal(signal.SIGINT)
    assert export.wait(60) == -signal.SIGINT
    export.stdout.close()
