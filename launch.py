"""AstrAI: `python launch.py [WORD ...]` makes the environment it needs, then runs the word in it.

Without a word the assistant opens in the browser; `python launch.py --help` lists the others. Only the
standard library is used here, and the syntax is kept so old that any Python can read the file and say
what it lacks.
"""

from __future__ import print_function

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

OLDEST, NEWEST = (3, 11), (3, 14)
TORCH = "torch==2.13.0"
TORCH_WHEELS = "https://download.pytorch.org/whl/"
CUDA_WHEELS = "cu130"
CUDA_PACKAGE = re.compile(r"^(nvidia-|cuda-|triton$)")
# Measured on Linux; said before anything is downloaded.
PACKAGES_MB, TORCH_CPU_MB, TORCH_CUDA_MB, TEST_MB = 350, 200, 2800, 90
TEST_WORDS = ("test", "check")

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
STAMP = os.path.join(VENV, "astrai-stamp.json")
RUNTIME_LOCK = os.path.join(ROOT, "requirements.lock")
TEST_LOCK = os.path.join(ROOT, "requirements-test.lock")


class SetupFailed(Exception):
    """One sentence for the user: what went wrong and what to do."""


def main():
    use_supported_python()
    torch_choice, words = split_arguments(sys.argv[1:])
    try:
        prepare_environment(torch_choice, bool(words) and words[0] in TEST_WORDS)
    except SetupFailed as exc:
        sys.stderr.write("{}\n".format(exc))
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. Run the same command again to go on where it was.\n")
        return 130
    return run_word(words)


def use_supported_python():
    """Go on under a supported Python, or leave with one sentence."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        candidate = find_program("python3.{}".format(minor))
        if candidate and os.environ.get("ASTRAI_REEXEC") != candidate:
            os.environ["ASTRAI_REEXEC"] = candidate
            os.execv(candidate, [candidate, os.path.abspath(__file__)] + sys.argv[1:])
    sys.stderr.write(
        "AstrAI needs Python {}.{} to {}.{}, this is {}.{}: install one from python.org or your system.\n".format(
            OLDEST[0], OLDEST[1], NEWEST[0], NEWEST[1], sys.version_info[0], sys.version_info[1]
        )
    )
    sys.exit(1)


def find_program(name):
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for suffix in ("", ".exe"):
            path = os.path.join(folder, name + suffix)
            if os.path.isfile(path) and os.access(path, os.X_OK) and works(path):
                return path
    return None


def works(python):
    """A version manager leaves stubs on the path that only print an error."""
    with open(os.devnull, "w") as null:
        return subprocess.call([python, "-c", ""], stdout=null, stderr=null) == 0


def split_arguments(arguments):
    """(torch choice, the rest): `--torch auto|cpu|cuda` belongs to the set-up, wherever it stands."""
    choice, rest, i = "auto", [], 0
    while i < len(arguments):
        name, _, value = arguments[i].partition("=")
        if name == "--torch":
            if not value:
                i += 1
                value = arguments[i] if i < len(arguments) else ""
            if value not in ("auto", "cpu", "cuda"):
                sys.exit("--torch is {!r}: use auto, cpu or cuda.".format(value))
            choice = value
        else:
            rest.append(arguments[i])
        i += 1
    return choice, rest


def prepare_environment(torch_choice, with_tests):
    """Make `.venv` complete; costs nothing when its stamp agrees."""
    wanted = stamp_of(torch_choice, with_tests)
    if is_complete(read_stamp(), wanted):
        return
    with Lock(os.path.join(ROOT, ".venv.lock")):
        done = read_stamp()
        if is_complete(done, wanted):
            return
        install(torch_choice, with_tests, done, wanted)


def stamp_of(torch_choice, with_tests):
    """What a complete environment says of itself."""
    python = "{}.{}.{}".format(*sys.version_info[:3])
    stamp = {"python": python, "runtime": file_hash(RUNTIME_LOCK), "torch": TORCH, "torch_choice": torch_choice}
    if with_tests:
        stamp["test"] = file_hash(TEST_LOCK)
    return stamp


def is_complete(done, wanted):
    """`auto` is content with whatever torch was chosen before."""
    fields = [name for name in wanted if name != "torch_choice" or wanted[name] != "auto"]
    return os.path.exists(venv_python()) and all(done.get(name) == wanted[name] for name in fields)


def install(torch_choice, with_tests, done, wanted):
    start = time.time()
    steps = steps_to_do(torch_choice, with_tests, done, wanted)
    size = sum(step[1] for step in steps)
    print("Setting up AstrAI in {}: {} steps, about {} MB to download, once.".format(VENV, len(steps), size))
    for number, (title, megabytes, action) in enumerate(steps, start=1):
        note = " (about {} MB)".format(megabytes) if megabytes else ""
        print("[{}/{}] {}{}".format(number, len(steps), title, note))
        sys.stdout.flush()
        action()
    write_stamp(dict(done, **wanted) if done.get("python") == wanted["python"] else wanted)
    print("Ready after {:.0f} s.".format(time.time() - start))
    sys.stdout.flush()


def steps_to_do(torch_choice, with_tests, done, wanted):
    """(title, megabytes, action) of what is not there yet."""
    is_usable = os.path.exists(venv_python()) and works_with_pip(venv_python())
    is_new = not is_usable or done.get("python", wanted["python"]) != wanted["python"]
    steps = []
    if is_new:
        done.clear()
        steps.append(("Making the environment", 0, make_venv))
    if done.get("runtime") != wanted["runtime"]:
        steps.append(("Installing packages", PACKAGES_MB, lambda: pip_lock(RUNTIME_LOCK)))
    choice_differs = torch_choice != "auto" and done.get("torch_choice") != torch_choice
    if done.get("torch") != wanted["torch"] or choice_differs:
        megabytes = TORCH_CUDA_MB if torch_choice == "cuda" or (torch_choice == "auto" and has_nvidia()) else TORCH_CPU_MB
        steps.append(("Installing PyTorch", megabytes, lambda: install_torch(torch_choice)))
    if with_tests and done.get("test") != wanted["test"]:
        steps.append(("Installing test tools", TEST_MB, lambda: pip_lock(TEST_LOCK)))
    return steps


def make_venv():
    if subprocess.call([sys.executable, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) != 0:
        raise SetupFailed(
            "This Python has no ensurepip, so it cannot make an environment: on Debian or Ubuntu run "
            "`sudo apt install python3-venv`, elsewhere install Python from python.org."
        )
    shutil.rmtree(VENV, ignore_errors=True)
    result = subprocess.run([sys.executable, "-m", "venv", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise SetupFailed("The environment could not be made: {}".format(last_line(result.stdout.decode())))


def works_with_pip(python):
    return subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0


def pip_lock(lock):
    with open(lock) as lines:
        total = sum(1 for line in lines if re.match(r"^[a-z0-9]", line))
    pip(["install", "--require-hashes", "--no-deps", "-r", lock], total)


def install_torch(choice):
    """`auto` takes what the configured pip would, unless that brings CUDA to a machine without a GPU."""
    if choice == "auto":
        plan = torch_plan()
        if plan is not None and not any(CUDA_PACKAGE.match(name) for name in plan):
            pip(["install", TORCH], 1)
            return
        choice = "cuda" if has_nvidia() else "cpu"
    index = TORCH_WHEELS + (CUDA_WHEELS if choice == "cuda" else "cpu")
    pip(["install", TORCH] if sys.platform == "darwin" else ["install", "--index-url", index, TORCH], 1)


def torch_plan():
    """Names of the packages that the configured pip would install for torch, or None."""
    command = [venv_python(), "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", TORCH]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if result.returncode != 0:
        return None
    return [item["metadata"]["name"].lower() for item in json.loads(result.stdout.decode())["install"]]


def has_nvidia():
    return os.path.exists("/proc/driver/nvidia") or shutil.which("nvidia-smi") is not None


def pip(arguments, total):
    """Run pip, show a line per package, and explain a failure in one sentence."""
    command = [venv_python(), "-m", "pip", "--disable-pip-version-check", "--no-input"] + arguments
    process = subprocess.Popen(
        command + ["--progress-bar", "off"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    output, count = [], 0
    for line in process.stdout:
        output.append(line)
        name = re.match(r"\s*(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9_.\-]+)", line)
        size = re.match(r"\s*Downloading .*\((.+B)\)", line)
        if name:
            count += 1
            progress("{:3d}/{} {}".format(min(count, total), total, name.group(1)))
        elif size:
            progress("{:3d}/{} downloading {}".format(min(count, total), total, size.group(1)))
        elif line.startswith("Installing collected"):
            progress("unpacking")
    progress("")
    if process.wait() != 0:
        raise SetupFailed(explain("".join(output)))


def progress(text):
    if sys.stdout.isatty():
        sys.stdout.write("\r      {:60.60}".format(text) if text else "\r{:66}\r".format(""))
        sys.stdout.flush()


def explain(output):
    if "No space left" in output:
        free = shutil.disk_usage(ROOT).free // 2**20
        return "The disk is full ({} MB free in {}): free some space and run the same command again.".format(free, ROOT)
    if re.search(r"(NewConnectionError|Failed to establish|name resolution|timed out|ProxyError)", output):
        return "The packages could not be downloaded: check the network and run the same command again."
    if "DO NOT MATCH THE HASHES" in output:
        return "A downloaded package is not the one that was tested (its hash differs): try again, or another mirror."
    return "pip failed: {} Run the same command again.".format(last_line(output))


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output."])[-1]


def run_word(words):
    environment = dict(os.environ)
    for name, value in (("GRADIO_ANALYTICS_ENABLED", "False"), ("HF_HUB_DISABLE_TELEMETRY", "1")):
        environment.setdefault(name, value)
    environment["PYTHONPATH"] = os.pathsep.join([ROOT] + [p for p in [environment.get("PYTHONPATH")] if p])
    command = [venv_python(), "-m", "app"] + words
    if os.name == "nt":
        try:
            return subprocess.call(command, env=environment)
        except KeyboardInterrupt:
            return 130
    os.execve(command[0], command, environment)


def venv_python():
    return os.path.join(VENV, "Scripts", "python.exe") if os.name == "nt" else os.path.join(VENV, "bin", "python")


def read_stamp():
    try:
        with open(STAMP) as file:
            return dict(json.load(file))
    except (OSError, IOError, ValueError):
        return {}


def write_stamp(stamp):
    with open(STAMP + ".tmp", "w") as file:
        json.dump(stamp, file, indent=1)
    os.replace(STAMP + ".tmp", STAMP)


def file_hash(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Lock(object):
    """One set-up at a time: a second one waits, and says so. A killed one leaves no lock behind."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.file = open(self.path, "a+")
        if not self.take():
            print("Another AstrAI is setting up this folder; waiting for it.")
            sys.stdout.flush()
            while not self.take():
                time.sleep(0.5)
        return self

    def take(self):
        try:
            if os.name == "nt":
                import msvcrt

                msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (IOError, OSError):
            return False
        return True

    def __exit__(self, *_):
        self.file.close()


if __name__ == "__main__":
    sys.exit(main())
