"""What is said about a machine, from the texts that machines give."""

from pathlib import Path

import pytest

from app import machine

LINUX_X86 = """\
processor\t: 0
model name\t: Example CPU @ 3.00GHz
flags\t\t: fpu sse2 fma f16c avx2 avx512f avx512_vnni avx512_bf16 amx_int8
"""
LINUX_ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINUX_X86, ["AVX2", "FMA", "F16C", "AVX-512", "AVX-512-VNNI", "AVX-512-BF16", "AMX-INT8"]),
        (LINUX_ARM, ["NEON", "dot product", "I8MM", "BF16"]),
        ("", []),
    ],
)
def test_instruction_sets_are_read_from_what_the_system_says(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    monkeypatch.setattr(machine, "_processor_text", lambda: text)
    assert machine.processor()["instruction_sets"] == expected


def test_the_name_of_the_processor_is_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_processor_text", lambda: LINUX_X86)
    assert machine.processor()["model"] == "Example CPU @ 3.00GHz"


def test_graphics_cards_are_read_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_output_of", lambda command: "NVIDIA H200, 143771, 570.1\nbroken line\n")
    assert machine.graphics() == [{"name": "NVIDIA H200", "memory_mib": 143771, "driver": "570.1"}]


def test_what_is_missing_comes_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "starter_dir", lambda: tmp_path / "nowhere")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    remedies = {item["name"]: item["remedy"] for item in machine.missing()}
    assert remedies["chromium"] == "sudo apt install chromium"
    assert "models/starter" in remedies


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package"))
    found = machine.versions()
    assert found["numpy"]
    assert found["no-such-package"] is None


def test_memory_and_disk_are_real_numbers() -> None:
    assert all(value > 2**20 for value in machine.storage().values())
