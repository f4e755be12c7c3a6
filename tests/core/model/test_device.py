"""The device, its memory and the cores, on machines that are made up here."""

import os

import psutil
import pytest
import torch

from core.errors import ConfigError
from core.model.device import free_memory_bytes, num_usable_cores, resolve_device

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process")


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_cuda_then_mps_then_the_processor(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, has_mps: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert resolve_device("auto").type == expected


def test_a_device_that_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda' is not available here"):
        resolve_device("cuda")


def test_the_free_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 7))
    memory = psutil.virtual_memory()._replace(available=3)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert free_memory_bytes(torch.device("cuda")) == 5
    assert free_memory_bytes(torch.device("cpu")) == 3


@needs_affinity
@pytest.mark.parametrize(("physical", "bound", "expected"), [(8, 16, 8), (8, 1, 1), (None, 2, 2)])
def test_cores_that_this_process_may_not_use_do_not_count(
    monkeypatch: pytest.MonkeyPatch, physical: int | None, bound: int, expected: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 16 if logical else physical)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(bound)))
    assert num_usable_cores() == expected
