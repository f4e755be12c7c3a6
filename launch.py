# -*- coding: utf-8 -*-
"""Start AstrAI: `python launch.py [--torch auto|cpu|cuda] [WORD] [options]`.

This file must parse on every Python there is, even 2.7, so that an old one gets a sentence and not a
syntax error: no annotations, no f-strings. It only finds an interpreter that is new enough; the work
(making .venv, installing, starting the program in it) is in app/bootstrap.
"""

from __future__ import print_function

import os
import subprocess
import sys

OLDEST = (3, 11)
NEWEST = (3, 14)
PROBE = "import sys; print('%d.%d.%d' % (sys.version_info[:2] + (sys.maxsize > 2 ** 32,)))"


def main():
    if is_usable(sys.version_info[:2], sys.maxsize > 2**32):
        from app.bootstrap import launch

        return launch(sys.argv[1:])
    for command in candidates():
        if is_usable(*probe(command)):
            return run(command + [os.path.abspath(__file__)] + sys.argv[1:])
    sys.stderr.write(
        "AstrAI needs a 64-bit Python %d.%d to %d.%d, and this is Python %d.%d with no newer one on PATH. "
        "Install one (python.org, or your system's package manager) and start again.\n"
        % (OLDEST + NEWEST + tuple(sys.version_info[:2]))
    )
    return 1


def is_usable(version, is_64_bit):
    """Whether AstrAI runs on this version (major, minor)."""
    return is_64_bit and OLDEST <= version <= NEWEST


def candidates():
    """The commands by which a newer Python may be found, the newest first."""
    minors = range(NEWEST[1], OLDEST[1] - 1, -1)
    if os.name == "nt":
        return [["py", "-3.%d" % minor] for minor in minors] + [["python"]]
    return [["python3.%d" % minor] for minor in minors] + [["python3"]]


def probe(command):
    """The version of a Python and whether it is a 64-bit one; ((0, 0), False) if it does not run."""
    try:
        process = subprocess.Popen(command + ["-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        numbers = [int(part) for part in process.communicate()[0].decode("ascii", "replace").split(".")]
    except (OSError, ValueError):
        return (0, 0), False
    return (numbers[0], numbers[1]), bool(numbers[2])


def run(command):
    """Go on in another interpreter."""
    if os.name == "nt":
        return subprocess.call(command)
    sys.stdout.flush()
    return os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
