"""Compiled code for quantised models on a CPU. Without numba, or with ASTRAI_KERNELS=torch, there is none."""

import functools
import importlib.util
import logging

logger = logging.getLogger(__name__)


@functools.cache
def are_available() -> bool:
    """Whether there is compiled code for this processor; importing it costs a third of a second.

    A numba that does not load, because of a newer numpy for instance, counts as none. Raises ConfigError.
    """
    if importlib.util.find_spec("numba") is None:
        return False
    try:
        from core.kernels.variant import VARIANT
    except (ImportError, OSError) as exc:
        logger.warning("numba does not load: %s", exc)
        return False
    return VARIANT != "torch"
