"""The variant fits the processor, and those that cannot run here compile to the instructions they are named for."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from core import kernels
from core.errors import ConfigError
from core.kernels import simd
from core.kernels.variant import best_variant, chosen_variant

AVX2 = {"avx2": True, "fma": True, "f16c": True}
# The same product through each variant: nibbles and bytes, one row and four.
SCRIPT = """
import torch
from tests.core.kernels.products import quantised, through_kernels
for bits in (4, 8):
    generator = torch.Generator().manual_seed(bits)
    layer = quantised(torch.randn(16, 96, generator=generator), bits=bits, group=32)
    x = torch.randn(5, 96, generator=generator)
    print(through_kernels(x, layer).tolist(), through_kernels(x[:1], layer).tolist())
"""


@pytest.mark.parametrize(
    ("machine", "features", "variant"),
    [
        ("x86_64", AVX2, "avx2"),
        ("AMD64", AVX2, "avx2"),
        ("x86_64", AVX2 | {"avxvnni": True}, "vnni"),
        ("x86_64", AVX2 | {"avx512vnni": True, "avx512vl": True}, "vnni"),
        ("x86_64", AVX2 | {"avx512vnni": True}, "avx2"),
        ("x86_64", {"avx2": True}, "generic"),
        ("x86_64", {}, "generic"),
        ("aarch64", {"dotprod": True}, "neon"),
        ("arm64", {"dotprod": True}, "neon"),
        ("aarch64", {"neon": True}, "generic"),
    ],
)
def test_the_fastest_variant_that_the_processor_has_is_taken(
    machine: str, features: dict[str, bool], variant: str
) -> None:
    assert best_variant(machine, features) == variant


def test_a_variant_that_there_is_not_is_named() -> None:
    assert chosen_variant("generic") == "generic"
    with pytest.raises(ConfigError, match="ASTRAI_KERNELS is 'AVX2'"):
        chosen_variant("AVX2")


def test_a_numba_that_does_not_load_counts_as_none_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "core.kernels.variant", None)
    assert not kernels.are_available.__wrapped__()
    assert "numba does not load" in caplog.text


def assembly(emit: Callable[..., ir.Value], triple: str, features: str) -> str:
    """A function of one product of bytes, compiled for another processor."""
    module = ir.Module()
    arguments = [simd.i32x8.llvm, simd.i8x32.llvm, simd.i8x32.llvm]
    function = ir.Function(module, ir.FunctionType(simd.i32x8.llvm, arguments), "product")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(emit(builder, *function.args))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=3)
    return target.emit_assembly(llvm.parse_assembly(str(module)))


@pytest.mark.parametrize("features", ["+avx2,+avxvnni", "+avx2,+avx512vnni,+avx512vl"])
def test_vnni_multiplies_four_bytes_in_one_instruction(features: str) -> None:
    text = assembly(simd._vpdpbusd, "x86_64-unknown-linux-gnu", features)
    assert text.count("vpdpbusd") == 1


def test_neon_multiplies_with_its_dot_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simd, "VARIANT", "neon")
    text = assembly(simd._dot, "aarch64-unknown-linux-gnu", "+neon,+dotprod")
    assert text.count("sdot") == 2


@pytest.mark.parametrize(
    ("triple", "features", "instruction"),
    [
        ("aarch64-unknown-linux-gnu", "+neon", "smull"),
        ("x86_64-unknown-linux-gnu", "+sse2", "pmullw"),
        ("riscv64-unknown-linux-gnu", "+v", "vwmul"),
    ],
)
def test_the_generic_form_becomes_vector_code_elsewhere(
    triple: str, features: str, instruction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simd, "VARIANT", "generic")
    assert instruction in assembly(simd._dot, triple, features)


@pytest.mark.slow
@pytest.mark.long
def test_the_generic_form_gives_the_same_bits_here() -> None:
    outputs = []
    for variant in ("", "generic"):
        environment = os.environ | {"ASTRAI_KERNELS": variant}
        command = [sys.executable, "-c", SCRIPT]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=110)
        outputs.append(result.stdout)
    assert outputs[0].count("[") > 8
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_the_whole_product_compiles_for_a_processor_with_vnni(tmp_path: Path) -> None:
    script = """
from numba import types
from core.kernels.matmul import Inputs, product
product.compile((types.int64, types.NamedUniTuple(types.int64, 5, Inputs), *[types.int64] * 4))
print(next(iter(product.inspect_asm().values())).count("vpdpbusd"))
"""
    names = {
        "ASTRAI_KERNELS": "vnni",
        "NUMBA_CPU_NAME": "sapphirerapids",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | names, check=True, timeout=110
    )
    assert int(result.stdout) > 20
