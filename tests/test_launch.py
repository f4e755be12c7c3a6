"""launch.py as a user meets it: old Pythons, a fresh clone, interruptions, failures of pip.

The clones are real copies of launch.py and app/bootstrap with lock files that name tiny wheels made here,
and a program that only says how it was started; so everything runs without network and in seconds.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.bootstrap.environment import Environment

ROOT = Path(__file__).resolve().parents[1]
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
OLD_PYTHONS = sorted(
    path
    for pattern in ("2.*", "3.?.*", "3.10.*")
    for path in PYENV.glob(f"versions/{pattern}/bin/python{pattern[0]}")
    if path.exists()
)
PYTHON = os.path.realpath(sys.executable)
PROGRAM = """
import json, os, sys
names = ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE")
print(json.dumps({"argv": sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd()} | {n: os.environ[n] for n in names}))
"""
posix_only = pytest.mark.skipif(os.name != "posix", reason="uses POSIX signals and symbolic links")


def make_wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel with one module and return the line that locks it."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "VALUE = 1\n" * 100,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={digest(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(member, text)
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone as git makes it, without .venv."""
    return make_clone(tmp_path / "clone with a space")


@pytest.fixture(scope="session")
def installed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that was started; only to be copied."""
    folder = make_clone(tmp_path_factory.mktemp("origin") / "clone")
    assert launch(folder, "--torch", "cpu").returncode == 0
    return folder


@pytest.fixture
def installed_clone(installed_once: Path, tmp_path: Path) -> Path:
    """A clone in which everything but the test packages is installed, moved to a place of its own."""
    return shutil.copytree(installed_once, tmp_path / "clone", symlinks=True)


def make_clone(folder: Path) -> Path:
    """The files of a clone, with lock files that name tiny wheels."""
    wheels = folder / "wheels"
    wheels.mkdir(parents=True)
    for name in ("app/bootstrap", "app/commands"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "core").mkdir()
    for name in ("app/variables.py", "launch.py", "app/__init__.py", "core/__init__.py", "core/errors.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "app/__main__.py").write_text(PROGRAM)
    setup = folder / "app/bootstrap/setup.py"  # the pip that comes with this Python may not know "raw"
    setup.write_text(setup.read_text().replace('"raw"', '"off"'))
    (folder / "requirements-pip.lock").write_text(make_wheel(wheels, "tinypip", "1.0"))
    (folder / "requirements.lock").write_text(
        "# made by a test\n" + make_wheel(wheels, "alpha", "1.0") + make_wheel(wheels, "beta", "2.0")
    )
    (folder / "requirements-test.lock").write_text(make_wheel(wheels, "gamma", "3.0"))
    make_wheel(wheels, "torch", "2.13.0")
    (folder / "requirements-torch.txt").write_text("torch==2.13.0\n")
    return folder


def variables(clone: Path, **more: str) -> dict[str, str]:
    """An environment in which pip knows the clone's wheels and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "HF_", "GRADIO_"))}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (clone / "wheels").as_uri()}
    return kept | pip | more


def launch(
    clone: Path, *arguments: str, python: str = PYTHON, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    command = [python, str(clone / "launch.py"), *arguments]
    environment = variables(clone, **more)
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def installed(clone: Path) -> set[str]:
    return {path.stem.partition("-")[0] for path in (clone / ".venv").rglob("*.dist-info")}


@pytest.mark.parametrize("python", OLD_PYTHONS, ids=lambda path: path.parts[-3])
def test_an_old_python_gets_a_sentence_and_no_traceback(python: Path, tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path)}
    command = [str(python), str(ROOT / "launch.py")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("AstrAI needs a 64-bit Python 3.11 to 3.14")
    assert result.stderr.count("\n") == 1


@posix_only
@pytest.mark.parametrize("python", OLD_PYTHONS, ids=lambda path: path.parts[-3])
def test_an_old_python_hands_over_to_a_newer_one_on_the_path(python: Path, tmp_path: Path) -> None:
    (tmp_path / "python3.12").symlink_to(PYTHON)
    environment = {"PATH": str(tmp_path)}
    command = [str(python), str(ROOT / "launch.py"), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0
    assert "doctor" in result.stdout


def test_help_and_a_mistyped_word_install_nothing(clone: Path) -> None:
    assert "doctor" in launch(clone, "--help").stdout
    mistyped = launch(clone, "docter")
    assert mistyped.returncode == 1
    assert 'There is no word "docter". Did you mean "doctor"?' in mistyped.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.slow
def test_a_fresh_clone_installs_once_and_starts_the_program(clone: Path, tmp_path: Path) -> None:
    first = launch(clone, "generate", "--prompt", "a b", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told["argv"] == ["generate", "--prompt", "a b"]
    assert Path(told["prefix"]) == clone / ".venv"
    assert told["cwd"] == str(tmp_path)
    assert (told["HF_HUB_DISABLE_TELEMETRY"], told["GRADIO_ANALYTICS_ENABLED"]) == ("1", "False")
    assert "about 190 MB" in first.stderr or "about 3,000 MB" in first.stderr
    assert installed(clone) >= {"tinypip", "alpha", "beta", "torch"}

    second = launch(clone, "test", HF_HUB_OFFLINE="0")
    assert json.loads(second.stdout)["HF_HUB_OFFLINE"] == "0"
    assert "gamma" in installed(clone)

    third = launch(clone, "doctor", PATH="")
    assert (third.returncode, third.stderr) == (0, "")


@pytest.mark.slow
@posix_only
def test_a_killed_install_goes_on_and_repairs_what_is_half_written(installed_clone: Path) -> None:
    environment = Environment(root=installed_clone)
    (module,) = (installed_clone / ".venv").rglob("alpha.py")
    module.write_text("half")
    environment.update_stamp(drop="packages")
    again = launch(installed_clone)
    assert again.returncode == 0, again.stderr
    assert module.read_text().count("VALUE") == 100


@posix_only
@pytest.mark.slow
def test_an_environment_whose_python_is_gone_is_made_anew(installed_clone: Path) -> None:
    python = Environment(root=installed_clone).python
    python.unlink()
    python.symlink_to("/nowhere/python3")
    again = launch(installed_clone)
    assert again.returncode == 0, again.stderr
    assert installed(installed_clone) >= {"alpha", "torch"}


@posix_only
@pytest.mark.slow
def test_ctrl_c_ends_with_a_sentence_and_leaves_no_stamp(clone: Path) -> None:
    command = [PYTHON, str(clone / "launch.py")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables(clone), process_group=0)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Installing into")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped. The next start goes on from here." in errors
    assert "Traceback" not in errors
    assert launch(clone).returncode == 0


def test_the_build_of_torch_that_is_there_is_not_installed_again(installed_clone: Path) -> None:
    again = launch(installed_clone, "--torch", "cpu", "doctor")
    assert (again.returncode, again.stderr) == (0, "")
    assert json.loads(again.stdout)["argv"] == ["doctor"]


def test_a_changed_package_is_refused(installed_clone: Path) -> None:
    make_wheel(installed_clone / "wheels", "delta", "4.0")
    lock = installed_clone / "requirements.lock"
    lock.write_text(f"delta==4.0 --hash=sha256:{'0' * 64}\n")
    result = launch(installed_clone)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("A downloaded package is not the one that was locked.")


def test_without_network_there_is_one_sentence(installed_clone: Path) -> None:
    lock = installed_clone / "requirements.lock"
    lock.write_text(f"delta==4.0 --hash=sha256:{'0' * 64}\n")
    offline = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "1"}
    result = launch(installed_clone, **offline)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("The package index cannot be reached.")
    assert "Traceback" not in result.stderr


@posix_only
def test_a_second_start_waits_for_the_first(installed_clone: Path) -> None:
    environment = Environment(root=installed_clone)
    environment.update_stamp(drop="packages")
    with environment.locked():
        command = [PYTHON, str(installed_clone / "launch.py")]
        waiting = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "Another start is installing here. Waiting for it.\n"
        environment.update_stamp(packages=environment.digest("packages"))
    output, errors = waiting.communicate(timeout=30)
    assert (waiting.returncode, errors) == (0, "")
    assert json.loads(output)["argv"] == []


def test_an_installed_machine_loses_little_time_before_the_program_starts() -> None:
    program = (
        "import time; start = time.perf_counter()\n"
        "from app.bootstrap import launch, Environment, ROOT\n"
        "Environment(root=ROOT).missing(is_testing=True, torch=None)\n"
        "print(time.perf_counter() - start)"
    )
    times = [subprocess.check_output([PYTHON, "-c", program], cwd=ROOT, text=True) for _ in range(3)]
    assert min(map(float, times)) < 0.1
