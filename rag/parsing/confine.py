"""What the process that reads documents may not do: reach the network, write files, start programs, grow without bound.

Three layers, each where the system has it: rlimits (POSIX), a seccomp filter that refuses sockets in the kernel
(Linux on x86-64 and arm64), and an audit hook, which Python code cannot take off again (everywhere).
"""

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rag.parsing.limits import Limits

SPARE_ADDRESS_BYTES = 2**30  # libraries and fonts that are mapped but not used
CPU_MARGIN_S = 5
# Number of each call in the kernel's tables: (audit architecture, socket, ptrace, process_vm_writev).
CALLS = {"x86_64": (0xC000003E, 41, 101, 311), "aarch64": (0xC00000B7, 198, 117, 271)}
IO_URING_SETUP = 425  # makes sockets of its own
FIRST_X32_CALL = 0x40000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 13  # the call gives EACCES
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
REFUSED_EVENTS = (
    *("socket.", "os.system", "os.exec", "os.fork", "os.spawn", "os.startfile", "os.remove", "os.rename", "os.mkdir"),
    *("os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.kill", "shutil."),
    *("ftplib.", "http.client.", "urllib.", "smtplib.", "webbrowser.", "code.__new__"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


def confine(limits: Limits, program: str | None) -> None:
    """Take from this process, for good, what reading documents does not need. It may start `program`, if any."""
    _limit_resources(limits)
    if sys.platform == "linux":
        _refuse_sockets_in_kernel()
    sys.addaudithook(_guard(program))


def limit_cpu(seconds: float) -> None:
    """End this process when it has computed for so long from now on, in case its parent has gone and cannot."""
    if os.name != "posix":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = int(used.ru_utime + used.ru_stime + seconds) + CPU_MARGIN_S
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _limit_resources(limits: Limits) -> None:
    if os.name != "posix":
        return
    import resource

    wanted = {
        "RLIMIT_CORE": 0,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": limits.num_open_files,
        "RLIMIT_AS": limits.memory_bytes + SPARE_ADDRESS_BYTES,
    }
    for name, value in wanted.items():
        if name == "RLIMIT_AS" and sys.platform == "darwin":
            continue  # refused there; the parent watches the memory
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (limit, limit))


def _refuse_sockets_in_kernel() -> None:
    """Install the filter; a kernel without seccomp leaves the audit hook alone."""
    calls = CALLS.get(platform.machine())
    if calls is None or struct.calcsize("P") != 8:
        return
    architecture, *refused = calls
    program = _filter(architecture, [*refused, IO_URING_SETUP])
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0)


def _filter(architecture: int, refused: list[int]) -> bytes:
    """A program of the kernel's packet filter: (code, jump if true, jump if false, value) each."""
    to_refusal = len(refused) + 2  # from the first test of the call's number
    program = [
        (LOAD, 0, 0, 4),  # the architecture that the call was made for
        (JUMP_IF_EQUAL, 0, to_refusal + 1, architecture),
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_IF_AT_LEAST, to_refusal - 1, 0, FIRST_X32_CALL),
    ]
    for i, number in enumerate(refused):
        program.append((JUMP_IF_EQUAL, len(refused) - i, 0, number))
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _guard(program: str | None) -> Callable[[str, tuple[Any, ...]], None]:
    folders = (sys.prefix, sys.base_prefix, str(Path(os.__file__).parent), str(Path(__file__).parents[2]))
    readable = tuple({str(Path(folder).resolve()) + os.sep for folder in folders})

    def guard(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            _check_open(args, readable)
        elif event == "subprocess.Popen":
            if program is None or not _is_call_of(program, args):
                raise PermissionError("a document's reader may start no program")
        elif event.startswith(REFUSED_EVENTS):
            raise PermissionError(f"a document's reader may not call {event}")

    return guard


def _is_call_of(program: str, args: tuple[Any, ...]) -> bool:
    """Whether `subprocess` starts this program: POSIX names it, Windows has it in the command line alone."""
    executable, command = args[:2]
    return executable == program if executable else str(command).lstrip('"').startswith(program)


def _check_open(args: tuple[Any, ...], readable: tuple[str, ...]) -> None:
    """Files: those of Python's own folders, to read. The document itself has come through a pipe."""
    path, _, flags = args
    if isinstance(path, int) or path in {os.devnull, "/dev/null"}:
        return
    name = os.path.realpath(os.fsdecode(path))
    if (flags or 0) & WRITING or not name.startswith(readable):
        raise PermissionError(f"a document's reader may not open {name}")
