"""What several files of tests set up."""

import os
import subprocess

import pytest


@pytest.fixture
def mount(tmp_path):
    """`mount(*options)` mounts something on a folder, or mounts that anew with `remount`; the folder. Undone afterwards."""
    folder, done = tmp_path / "mount", []
    folder.mkdir()

    def mount(*options):
        if os.geteuid() != 0 or subprocess.run(["mount", *options, folder], capture_output=True).returncode:
            pytest.skip("nothing can be mounted here: run as root, with the right to mount")
        done.append(options)
        return folder

    yield mount
    if done:
        subprocess.run(["umount", "-l", folder], check=True)
