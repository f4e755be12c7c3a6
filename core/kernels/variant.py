"""Which vector code this processor runs, and where its compiled form is kept.

`ASTRAI_KERNELS` overrides the choice: vnni, avx2, neon, generic, or torch for none at all.
"""

import hashlib
import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import llvmlite.binding as llvm
import numba

from core.errors import ConfigError
from core.folders import data_dir

VARIANTS = ("vnni", "avx2", "neon", "generic", "torch")
logger = logging.getLogger(__name__)

# Run by this project on real processors; of the others only the assembly has been read.
TRIED_VARIANTS = ("avx2", "generic")


def best_variant(machine: str, features: Mapping[str, bool]) -> str:
    """The fastest variant for LLVM's names of a processor's features."""
    if all(features.get(name) for name in ("avx2", "fma", "f16c")):
        has_vnni = features.get("avxvnni") or (features.get("avx512vnni") and features.get("avx512vl"))
        return "vnni" if has_vnni else "avx2"
    return "neon" if machine in ("aarch64", "arm64") and features.get("dotprod") else "generic"


def chosen_variant(name: str | None) -> str:
    """The variant of this name, or without one the best here. Raises ConfigError for a name that there is not."""
    if name and name not in VARIANTS:
        raise ConfigError(f"ASTRAI_KERNELS is {name!r}.", f"Set it to one of {', '.join(VARIANTS)}, or leave it out.")
    return name or best_variant(platform.machine(), llvm.get_host_cpu_features())


def cache_folder() -> Path | None:
    """The folder of compiled kernels for these sources, this numba and this processor; None if it cannot be made.

    numba itself watches only the file of the function that it keeps. NUMBA_CACHE_DIR moves the folder.
    """
    digest = hashlib.sha256(f"{numba.__version__} {VARIANT} {llvm.get_host_cpu_name()}".encode())
    digest.update(llvm.get_host_cpu_features().flatten().encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    home = os.environ.get("NUMBA_CACHE_DIR")
    try:
        folder = (Path(home) if home else data_dir() / "kernels") / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        logger.warning("%s: the kernels are compiled anew at every start", exc)
        return None
    return folder


def is_compiled() -> bool:
    """Whether the kernels need not be compiled any more."""
    folder = cache_folder()
    return folder is not None and any(folder.rglob("decoder.decode-*.nbc"))


VARIANT = chosen_variant(os.environ.get("ASTRAI_KERNELS"))
