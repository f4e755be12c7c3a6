"""Installing what .venv lacks, part by part, with what it costs said before.

Parts are packages (requirements.lock), torch (the build for this machine) and test packages
(requirements-test.lock). An install that was killed is found by the stamp; packages that it left half
written are found by their own list of files and are installed anew.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from csv import reader
from pathlib import Path

from app.bootstrap import pip, torch_build
from app.bootstrap.environment import Environment
from core.errors import SetupError

# Measured on Linux x86_64 with Python 3.11: what is downloaded, and what it fills of the disk.
DOWNLOAD_MB = {"pip": 2, "packages": 290, "torch cpu": 190, "torch cuda": 3000, "test packages": 90}
DISK_MB = {"venv": 20, "pip": 10, "packages": 1200, "torch cpu": 760, "torch cuda": 7000, "test packages": 350}


def set_up(environment: Environment, *, is_testing: bool, choice: str | None) -> None:
    """Install the missing parts. A second start meanwhile waits, then finds nothing to do.

    `choice` is the build of torch asked for, None keeps the one that is there.
    Raises: SetupError if the machine, the disk or the network does not allow it.
    """
    build = torch_build.wanted_build(choice) if choice else None
    try:
        with environment.locked() as lock:
            missing = environment.missing(is_testing=is_testing, torch=build)
            if missing:
                _install(environment, missing, choice=choice, lock=lock)
    except OSError as exc:
        raise SetupError(
            f"{environment.folder} cannot be written: {exc}.",
            "Free some disk space, or put AstrAI where you may write.",
        ) from exc


def _install(environment: Environment, missing: list[str], *, choice: str | None, lock: int) -> None:
    started = time.monotonic()
    choice = choice or environment.installed().get("torch build", "auto")
    sizes = [f"torch {torch_build.wanted_build(choice)}" if part == "torch" else part for part in missing]
    check_disk(environment, sizes)
    announce(environment, sizes)
    for number, part in enumerate(missing, start=1):
        title = f"[{number}/{len(missing)}] {part}"
        if part == "venv":
            make_venv(environment, title=title)
        elif part == "torch":
            install_torch(environment, choice=choice, title=title, lock=lock)
        else:
            install_locked(environment, part, title=title, lock=lock)
    elapsed_s = int(time.monotonic() - started)
    sys.stderr.write(f"Installed in {elapsed_s // 60}:{elapsed_s % 60:02d}.\n")


def check_disk(environment: Environment, sizes: list[str]) -> None:
    """Raises: SetupError if the disk clearly lacks the room for these parts."""
    if environment.folder.exists():
        return  # some of it is there, so what it still needs is not known
    needed_mb = sum(DISK_MB[size] for size in sizes)
    free_mb = shutil.disk_usage(environment.root).free / 1e6
    if free_mb < needed_mb:
        raise SetupError(
            f"AstrAI needs about {needed_mb:,} MB on the disk of {environment.root}; {free_mb:,.0f} MB are free.",
            "Free some space, or put this folder on another disk.",
        )


def announce(environment: Environment, sizes: list[str]) -> None:
    """Say what comes, and how big it is, before the first byte."""
    parts = [f"{size} about {DOWNLOAD_MB[size]:,} MB" for size in sizes if size in DOWNLOAD_MB]
    total_mb = sum(DOWNLOAD_MB.get(size, 0) for size in sizes)
    disk_mb = sum(DISK_MB[size] for size in sizes)
    sys.stderr.write(
        f"Installing into {environment.folder}, once. To download: {', '.join(parts)}; together about {total_mb:,} MB, "
        f"and about {disk_mb:,} MB on the disk. What is already here is kept. "
        "Ctrl-C stops it; the next start goes on from there.\n"
    )


def make_venv(environment: Environment, *, title: str) -> None:
    """Make .venv with this Python, or make it anew if it is there and its Python does not run.

    Raises: SetupError if this Python was installed without its venv parts.
    """
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            "This Python cannot make virtual environments: ensurepip is missing.",
            f"On Debian or Ubuntu: sudo apt install python3-venv (or python{version}-venv). Then start again.",
        )
    started = time.monotonic()
    if not _is_usable(environment):
        command = [sys.executable, "-m", "venv", "--clear", str(environment.folder)]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if result.returncode:
            raise _venv_failure(result.stdout + result.stderr)
    environment.update_stamp(interpreter=os.path.realpath(environment.python))
    sys.stderr.write(f"{title}: Python {sys.version.split()[0]}, {time.monotonic() - started:.0f} s\n")


def install_locked(environment: Environment, part: str, *, title: str, lock: int) -> None:
    """Install a lock file, exactly: every file must have a hash that is in it."""
    discard_half_written(environment)
    environment.update_stamp(drop=part)
    path = environment.lock_file(part)
    # The pip that came with Python may be too old to report the bytes of a download.
    progress_bar = "off" if part == "pip" else "raw"
    pins = sum(line[:1].isalnum() for line in path.read_text(encoding="utf-8").splitlines())
    pip.install(
        environment.python,
        ["--progress-bar", progress_bar, "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(path)],
        progress=pip.Progress(title=title, total=pins),
        log=environment.log,
        lock=lock,
    )
    environment.update_stamp(**{part: environment.digest(part)})


def install_torch(environment: Environment, *, choice: str, title: str, lock: int) -> None:
    """Install the torch of requirements-torch.txt in the build that fits."""
    discard_half_written(environment)
    lines = environment.lock_file("torch").read_text(encoding="utf-8").splitlines()
    requirement = next(line for line in lines if line.startswith("torch"))
    plan = torch_build.parse_plan(pip.dry_run(environment.python, requirement))
    index = torch_build.index_url(plan, choice=choice)
    build = torch_build.wanted_build(choice) if index else plan.build
    if environment.installed().get("torch build", build) != build:
        pip.uninstall(environment.python, "torch")  # or pip would call the other build good enough
    environment.update_stamp(drop="torch")
    pip.install(
        environment.python,
        ["--progress-bar", "raw", *(["--index-url", index] if index else []), requirement],
        progress=pip.Progress(title=f"{title} from PyTorch's own index" if index else title, total=len(plan.packages)),
        log=environment.log,
        lock=lock,
    )
    environment.update_stamp(**{"torch": environment.digest("torch"), "torch build": build})


def discard_half_written(environment: Environment) -> None:
    """Take the mark of being installed off every package that lacks some of its files."""
    for site_packages in environment.folder.glob("[lL]ib*/**/site-packages"):
        for info in site_packages.glob("*.dist-info"):
            if not _is_whole(info):
                shutil.rmtree(info)


def _is_whole(info: Path) -> bool:
    """Whether every file that a package lists is there in its full size."""
    try:
        with (info / "RECORD").open(encoding="utf-8", newline="") as file:
            rows = [row for row in reader(file) if len(row) == 3 and row[2]]
        return all((info.parent / name).stat().st_size == int(size) for name, _, size in rows)
    except (OSError, ValueError):
        return False


def _is_usable(environment: Environment) -> bool:
    """Whether .venv has this version of Python, and pip."""
    program = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    command = [str(environment.python), "-c", program]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _venv_failure(output: str) -> SetupError:
    if "No space left" in output:
        return SetupError("The disk is full.", "Free some space and start again.")
    reason = output.strip().splitlines()[-1] if output.strip() else "no reason given"
    return SetupError(
        f"The virtual environment could not be made: {reason}.", "On Debian or Ubuntu: sudo apt install python3-venv."
    )
