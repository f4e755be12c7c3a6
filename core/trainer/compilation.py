"""Whether a run translates the model's blocks by torch.compile, which takes a compiler on this machine.

On a GPU the translated blocks save most of the memory traffic between matrix products, for half a minute at the first
step; on a CPU the blocks of `core.model.fused` are as fast as what torch.compile makes of the plain ones, and take less
memory (`bench train --compile`).
"""

import importlib.util
import os
import shutil

import torch

from core.config.train_config import TrainConfig
from core.errors import ConfigError, Sentence

# Below so many parameters a run is over before the translation has paid for itself.
MIN_PARAMETERS = 50_000_000


def resolve_compile(config: TrainConfig, device: torch.device, num_parameters: int) -> bool:
    """What `compile` means for this run. Raises ConfigError for `on` without a compiler."""
    if config.compile == "off":
        return False
    missing = _missing_compiler(device)
    if config.compile == "on":
        if missing:
            raise ConfigError("compile is on, and {missing}.", "Install it, or set compile to auto.", missing=missing)
        return True
    pays = device.type == "cuda" and num_parameters >= MIN_PARAMETERS and config.adapter == "none"
    return pays and missing is None


def _missing_compiler(device: torch.device) -> Sentence | None:
    """What torch.compile would want here and does not find."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return Sentence("Triton is not installed")
    names, variable = (("gcc", "clang", "cc"), "CC") if device.type == "cuda" else (("g++", "clang++", "cl"), "CXX")
    if any(shutil.which(name) for name in (os.environ.get(variable, ""), *names) if name):
        return None
    return Sentence("no compiler is on the PATH ({names})", names=", ".join(names))
