"""What this machine is: processor, memory, disk, graphics cards, libraries, and what it lacks.

Read from psutil, the system's own files and torch; nothing is changed. torch is imported only by the
functions that need it, so that a machine whose torch does not load still gets a report.
"""

import functools
import importlib.metadata
import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from app.paths import starter_dir
from core.folders import data_dir
from core.model.device import num_usable_cores

INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "fma": "FMA",
    "f16c": "F16C",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512-VNNI",
    "avx512_bf16": "AVX-512-BF16",
    "amx_int8": "AMX-INT8",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "asimddp": "dot product",
    "i8mm": "I8MM",
    "bf16": "BF16",
    "sve": "SVE",
}
PACKAGES = (
    "torch", "numpy", "transformers", "tokenizers", "sentencepiece", "safetensors", "sentence-transformers",
    "faiss-cpu", "gradio", "fastapi", "bitsandbytes", "pyarrow", "numba", "llguidance", "gguf",
)  # fmt: skip
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
COMMAND_TIMEOUT_S = 10
GEMM_SIZE = 1024
MAX_READ_BYTES = 2**30
REPEATS = 3


def processor() -> dict[str, Any]:
    """Model, cores and the instruction sets that matter here."""
    text = _processor_text()
    flags = set(" ".join(line.partition(":")[2] for line in text.lower().splitlines()).split())
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return {
        "model": names[0] if names else platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "num_physical_cores": psutil.cpu_count(logical=False),
        "num_logical_cores": psutil.cpu_count(),
        "num_usable_cores": num_usable_cores(),
        "instruction_sets": [name for flag, name in INSTRUCTION_SETS.items() if flag in flags],
    }


def storage() -> dict[str, int]:
    """Memory of the machine and room on the disk of the data folder, in bytes."""
    memory = psutil.virtual_memory()
    return {
        "memory_bytes": memory.total,
        "memory_free_bytes": memory.available,
        "disk_free_bytes": shutil.disk_usage(data_dir()).free,
    }


def graphics() -> list[dict[str, Any]]:
    """The NVIDIA cards that the driver reports: name, memory in MiB, driver version."""
    query = "--query-gpu=name,memory.total,driver_version"
    output = _output_of(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    rows = [line.split(", ") for line in output.splitlines()]
    return [{"name": row[0], "memory_mib": int(row[1]), "driver": row[2]} for row in rows if len(row) == 3]


def computing() -> dict[str, Any]:
    """What torch will use: device, precision of training, threads. Imports torch."""
    import torch

    from core.model.device import resolve_device
    from core.trainer.precision import resolve_precision

    device = resolve_device("auto")
    return {
        "device": device.type,
        "cuda_devices": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "cuda_build": torch.version.cuda,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "training_precision": str(resolve_precision("auto", device)).removeprefix("torch."),
        "num_threads": torch.get_num_threads(),
    }


def kernels() -> dict[str, Any]:
    """The vector code that runs quantised models on this processor, and where it lies compiled. Imports numba."""
    from core.kernels.variant import TRIED_VARIANTS, VARIANT, cache_folder, is_compiled

    return {
        "variant": VARIANT,
        "is_tried": VARIANT in TRIED_VARIANTS,
        "threading": "own threads with a barrier, no library",
        "cache": str(cache_folder() or "none"),
        "is_compiled": is_compiled(),
    }


def versions() -> dict[str, str | None]:
    """Version of Python, of the system and of each important package; None is not installed."""
    found = {"python": platform.python_version(), "system": platform.platform(), "sqlite": sqlite3.sqlite_version}
    return found | {name: _version(name) for name in PACKAGES}


def missing() -> list[dict[str, str]]:
    """What this machine lacks: what for, and how to get it."""
    checks: list[tuple[bool, str, str, str]] = [
        (not starter_dir().is_dir(), "models/starter", "answering without a download", "clone the repository again"),
        (
            not any(map(shutil.which, CHROMIUM_NAMES)),
            "chromium",
            "the browser tests only",
            "sudo apt install chromium",
        ),
        (
            sys.platform == "linux" and not _output_of(["fc-list", ":lang=zh"]),
            "a Chinese font",
            "Chinese text on screenshots of the browser tests",
            "sudo apt install fonts-noto-cjk fonts-noto-color-emoji",
        ),
    ]
    return [{"name": name, "for": purpose, "remedy": how} for is_missing, name, purpose, how in checks if is_missing]


def measure() -> dict[str, float]:
    """How fast memory is read (GB/s) and matrices are multiplied (GFLOP/s), best of a few. Imports torch."""
    import torch

    speeds = {"read_gb_per_s": read_gb_per_s()}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.ones(GEMM_SIZE, GEMM_SIZE, dtype=dtype)
        speeds[f"{name}_gflop_per_s"] = 2 * GEMM_SIZE**3 / 1e9 / _best_s(functools.partial(torch.mm, matrix, matrix))
    return {name: round(speed, 1) for name, speed in speeds.items()}


def read_gb_per_s() -> float:
    """How fast memory is read, best of a few. Imports torch."""
    import torch

    num_bytes = min(MAX_READ_BYTES, psutil.virtual_memory().available // 4)
    memory = torch.ones(num_bytes // 4)
    return memory.numel() * 4 / 1e9 / _best_s(memory.sum)


def _best_s(work: Callable[[], object]) -> float:
    """The shortest of some runs, in seconds: what the machine can do when it is left alone."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _processor_text() -> str:
    """`name: value` lines that name the processor and its flags, in the words of Linux."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        return path.read_text(encoding="utf-8", errors="replace")
    brand = _output_of(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
    has_neon = platform.machine() == "arm64"
    flags = "asimd asimddp" if has_neon else _output_of(["sysctl", "-n", "machdep.cpu.leaf7_features"])
    return f"model name: {brand}\nflags: {flags}" if brand else ""


def _output_of(command: list[str]) -> str:
    """What a command of the system writes; empty if there is none or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
