"""No module needs at import what Windows, or macOS, lacks: each is imported with those parts hidden."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_architecture import PACKAGES, SOURCES, name_of

MODULES = sorted(
    name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for path in SOURCES
    if path.stem != "__main__"
)
# What Unix alone has is hidden from our modules; other libraries have their own ways around it.
PROGRAM = """
import builtins, importlib, os, signal, sys, types
OURS = ("app", "core", "rag", "studio")
HIDDEN = {"fcntl", "resource", "termios", "pwd", "grp", "syslog", "pty", "tty"}
def without(module, *names):
    copy = types.ModuleType(module.__name__)
    vars(copy).update({name: value for name, value in vars(module).items() if name not in names})
    return copy
POORER = {
    "os": without(os, "fork", "forkpty", "setsid", "killpg", "getuid", "geteuid", "getpgid", "wait4", "getpriority",
                  "setpriority", "sched_setaffinity", "sched_getaffinity", "O_DIRECTORY", "O_NOFOLLOW"),
    "signal": without(signal, "SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGSTOP", "SIGCONT"),
}
real = builtins.__import__
def poorer_import(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {}).get("__name__", "").partition(".")[0] in OURS:
        if name in HIDDEN:
            raise ImportError(name + " is hidden")
        if name in POORER:
            return POORER[name]
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = poorer_import
failed = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as exc:
        failed.append(f"{name}: {type(exc).__name__}: {exc}")
print("\\n".join(failed))
"""


@pytest.mark.slow
def test_every_module_imports_without_what_windows_lacks() -> None:
    assert {name.partition(".")[0] for name in MODULES} == set(PACKAGES)
    command = [sys.executable, "-c", PROGRAM, *MODULES]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "", result.stdout
    assert result.returncode == 0, result.stderr
