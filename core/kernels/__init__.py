"""Compiled code for quantised models on a CPU. Without numba, or with ASTRAI_KERNELS=torch, there is none."""

import importlib.util


def are_available() -> bool:
    """Whether there is compiled code for this processor; importing it costs a third of a second."""
    if importlib.util.find_spec("numba") is None:
        return False
    from core.kernels.variant import VARIANT

    return VARIANT != "torch"
