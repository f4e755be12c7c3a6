"""Which build of torch this machine gets: what the configured pip offers, or PyTorch's own wheel index.

On Linux the plain package brings 3 GB of CUDA, on Windows it never does; so a machine for which the plain
plan is wrong takes the build from PyTorch's index. What pip was configured to offer comes first, so a
mirror or a folder of wheels is used as it is.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from core.errors import SetupError

WHEEL_INDEX = "https://download.pytorch.org/whl/"
WHEEL_INDEX_FOLDERS = {"cpu": "cpu", "cuda": "cu130"}
CUDA_PACKAGES = ("nvidia-", "cuda-", "triton")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What pip would install: name and version of each package."""

    packages: dict[str, str]

    @property
    def has_cuda(self) -> bool:
        return any(name.lower().startswith(CUDA_PACKAGES) for name in self.packages)

    @property
    def build(self) -> str:
        """What would be installed: "cuda" or "cpu"."""
        return "cuda" if self.has_cuda or "+cu" in self.packages.get("torch", "") else "cpu"

    @property
    def is_chosen_build(self) -> bool:
        """Whether somebody put a certain build there: plain PyPI has no local label such as +cpu."""
        return "+" in self.packages.get("torch", "")


def parse_plan(report: str) -> Plan:
    """Read the JSON of `pip install --dry-run --report -`.

    Raises: SetupError if it is not one.
    """
    try:
        items = json.loads(report[report.index("{") :])["install"]
        return Plan(packages={item["metadata"]["name"]: item["metadata"]["version"] for item in items})
    except (ValueError, KeyError, TypeError) as exc:
        raise SetupError("pip did not say which torch it would install.", "Start again with --torch cpu.") from exc


def wanted_build(choice: str) -> str:
    """Turn auto into the build that fits this machine: "cuda" or "cpu"."""
    if choice != "auto":
        return choice
    return "cuda" if has_nvidia_gpu() else "cpu"


def index_url(plan: Plan, *, choice: str) -> str | None:
    """Where to take torch from; None is where pip is configured to look."""
    build = wanted_build(choice)
    if plan.build == build or sys.platform == "darwin":
        return None
    if choice == "auto" and plan.is_chosen_build:
        return None
    return WHEEL_INDEX + WHEEL_INDEX_FOLDERS[build]


def has_nvidia_gpu() -> bool:
    """Whether the driver of an NVIDIA card is here."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
