"""Other processes, which tests talk to by lines."""

import subprocess
import sys
import textwrap


class Process:
    """A Python program that is told what to do on its standard input."""

    def __init__(self, program, *arguments, cwd=None):
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, arguments)]
        self._popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd, bufsize=1
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.kill()

    def hear(self):
        """The next line that it prints."""
        return self._popen.stdout.readline().rstrip("\n")

    def say(self, line=""):
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()

    def ask(self, line):
        self.say(line)
        return self.hear()

    def kill(self):
        self._popen.kill()
        self._popen.communicate()

    def end(self):
        """Let it end by itself; what it still printed."""
        rest, _ = self._popen.communicate(timeout=60)
        assert self._popen.returncode == 0
        return rest


def run(program, *arguments, cwd=None, check=True):
    """What a program prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout if check else done
