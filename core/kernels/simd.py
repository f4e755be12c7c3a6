"""Vector registers for numba: 256-bit types and the operations on them, written as LLVM instructions.

A kernel is plain Python over these operations and over addresses, which are integers; numba compiles it, LLVM
keeps the vectors in registers. Nothing here checks a bound. Where the instruction sets differ, `VARIANT` decides
when the module is imported: `vnni` and `avx2` on x86, `neon` on ARM with its dot product, `generic` elsewhere,
whose plain LLVM vector code any processor can run.

Sources: LLVM Language Reference (vectors, atomics); Intel Intrinsics Guide (pmaddubsw, pmaddwd, vpdpbusd).
"""

import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from llvmlite import ir
from llvmlite.ir import IRBuilder as Builder
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from core.kernels.variant import VARIANT, cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])
CACHE = cache_folder()
if CACHE is not None:
    numba.config.CACHE_DIR = str(CACHE)  # read when a function is declared


def inlined(function: Function) -> Function:
    """Compile a part of a kernel into its callers. Division by zero gives infinity, as in C."""
    return numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)


def compiled(function: Function) -> Function:
    """Compile a part of a kernel as a function of its own."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def entry(function: Function) -> Function:
    """Compile a kernel that Python calls, without the interpreter's lock; kept on disk for the next start."""
    return numba.njit(nogil=True, error_model="numpy", cache=CACHE is not None)(function)


class Register:
    """A vector in annotations; the values exist in compiled code alone."""


class Vector(types.Type):  # type: ignore[misc]
    """numba's type of a register of `lanes` equal elements."""

    def __init__(self, name: str, element: ir.Type, lanes: int) -> None:
        self.llvm = ir.VectorType(element, lanes)
        super().__init__(name=name)

    def constant(self, value: float) -> ir.Constant:
        """The register with one value in every lane."""
        return ir.Constant(self.llvm, [value] * self.llvm.count)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


I8, I16, I32, I64, F16, F32 = *map(ir.IntType, (8, 16, 32, 64)), ir.HalfType(), ir.FloatType()
i8x32, i16x16, i32x8, f32x8 = (
    Vector("i8x32", I8, 32),
    Vector("i16x16", I16, 16),
    Vector("i32x8", I32, 8),
    Vector("f32x8", F32, 8),
)
i64, f32, void = types.int64, types.float32, types.void
# Sums of products on their way to i32x8: AVX2 adds up in 16 bits first.
sums = i16x16 if VARIANT == "avx2" else i32x8


def operation(result: types.Type, *arguments: types.Type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an operation of kernels from a function (builder, *values) that emits its instructions."""

    def make(emit: Callable[..., Any]) -> Callable[..., Any]:
        def define(context: Any, *_: Any) -> Any:
            def code(context: Any, builder: Builder, signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if result is void else value

            return result(*arguments), code

        define.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]
        define.__name__ = emit.__name__
        return intrinsic(define)

    return make


def _pointer(builder: Builder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    return builder.inttoptr(address, pointee.as_pointer())


def _splat(builder: Builder, vector: Vector, value: ir.Value) -> ir.Value:
    undefined = ir.Constant(vector.llvm, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, vector.llvm.count), None))


def _call(builder: Builder, name: str, result: ir.Type, *values: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


def _lanes(builder: Builder, value: ir.Value, lanes: range) -> ir.Value:
    return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


@operation(i8x32, i64)
def load_i8x32(b: Builder, address: ir.Value) -> ir.Value:
    return b.load(_pointer(b, address, i8x32.llvm), align=1)


@operation(i8x32, i64)
def load_4_bytes(b: Builder, address: ir.Value) -> ir.Value:
    """The same four bytes in every 32-bit lane."""
    return b.bitcast(_splat(b, i32x8, b.load(_pointer(b, address, I32), align=1)), i8x32.llvm)


@operation(f32x8, i64)
def load_f32x8(b: Builder, address: ir.Value) -> ir.Value:
    return b.load(_pointer(b, address, f32x8.llvm), align=4)


@operation(f32x8, i64)
def load_f16x8(b: Builder, address: ir.Value) -> ir.Value:
    return b.fpext(b.load(_pointer(b, address, ir.VectorType(F16, 8)), align=2), f32x8.llvm)


@operation(f32x8, i64)
def load_s8x8(b: Builder, address: ir.Value) -> ir.Value:
    return b.sitofp(b.load(_pointer(b, address, ir.VectorType(I8, 8)), align=1), f32x8.llvm)


@operation(f32x8, i64)
def splat_f32(b: Builder, address: ir.Value) -> ir.Value:
    """The float at an address in every lane."""
    return _splat(b, f32x8, b.load(_pointer(b, address, F32), align=4))


@operation(i32x8, i64)
def splat_i32(b: Builder, address: ir.Value) -> ir.Value:
    return _splat(b, i32x8, b.load(_pointer(b, address, I32), align=4))


@operation(void, i64, f32x8)
def store_f32x8(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store(value, _pointer(b, address, f32x8.llvm), align=4)


@operation(void, i64, f32x8)
def store_f16x8(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store(b.fptrunc(value, ir.VectorType(F16, 8)), _pointer(b, address, ir.VectorType(F16, 8)), align=2)


@operation(i64, i64, f32x8)
def store_rounded_s8x8(b: Builder, address: ir.Value, value: ir.Value) -> ir.Value:
    """Store to the nearest eight signed bytes; return their sum."""
    rounded = b.fptosi(_call(b, "llvm.rint.v8f32", f32x8.llvm, value), i32x8.llvm)
    b.store(b.trunc(rounded, ir.VectorType(I8, 8)), _pointer(b, address, ir.VectorType(I8, 8)), align=1)
    return b.sext(_call(b, "llvm.vector.reduce.add.v8i32", I32, rounded), I64)


@operation(f32, i64)
def read_f32(b: Builder, address: ir.Value) -> ir.Value:
    return b.load(_pointer(b, address, F32), align=4)


@operation(void, i64, f32)
def write_f32(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store(value, _pointer(b, address, F32), align=4)


@operation(f32, i64)
def read_f16(b: Builder, address: ir.Value) -> ir.Value:
    return b.fpext(b.load(_pointer(b, address, F16), align=2), F32)


@operation(void, i64, f32)
def write_f16(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store(b.fptrunc(value, F16), _pointer(b, address, F16), align=2)


@operation(i64, i64)
def read_s8(b: Builder, address: ir.Value) -> ir.Value:
    return b.sext(b.load(_pointer(b, address, I8), align=1), I64)


@operation(void, i64, f32)
def write_rounded_s8(b: Builder, address: ir.Value, value: ir.Value) -> None:
    rounded = b.fptosi(_call(b, "llvm.rint.f32", F32, value), I32)
    b.store(b.trunc(rounded, I8), _pointer(b, address, I8), align=1)


@operation(void, i64, i64)
def write_i32(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store(b.trunc(value, I32), _pointer(b, address, I32), align=4)


@operation(i64, i64)
def read_i64(b: Builder, address: ir.Value) -> ir.Value:
    return b.load(_pointer(b, address, I64), align=8)


@operation(void, i64)
def prefetch(b: Builder, address: ir.Value) -> None:
    """Ask for the line at an address, which need not exist, in the first-level cache."""
    _call(b, "llvm.prefetch.p0", ir.VoidType(), _pointer(b, address, I8), *(ir.Constant(I32, i) for i in (0, 3, 1)))


@operation(f32x8)
def zeros(b: Builder) -> ir.Value:
    return f32x8.constant(0.0)


@operation(f32x8, f32)
def splat(b: Builder, value: ir.Value) -> ir.Value:
    return _splat(b, f32x8, value)


@operation(f32x8, f32x8, f32x8)
def add(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.fadd(left, right)


@operation(f32x8, f32x8, f32x8)
def sub(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.fsub(left, right)


@operation(f32x8, f32x8, f32x8)
def mul(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.fmul(left, right)


@operation(f32x8, f32x8, f32x8)
def div(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.fdiv(left, right)


@operation(f32x8, f32x8, f32x8, f32x8)
def fma(b: Builder, left: ir.Value, right: ir.Value, addend: ir.Value) -> ir.Value:
    """left * right + addend."""
    return _call(b, "llvm.fma.v8f32", f32x8.llvm, left, right, addend)


@operation(f32x8, f32x8, f32x8)
def maximum(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    """The larger; NaN if either is."""
    return _call(b, "llvm.maximum.v8f32", f32x8.llvm, left, right)


@operation(f32x8, f32x8)
def absolute(b: Builder, value: ir.Value) -> ir.Value:
    return _call(b, "llvm.fabs.v8f32", f32x8.llvm, value)


@operation(f32, f32x8)
def total(b: Builder, value: ir.Value) -> ir.Value:
    """The sum of the lanes."""
    half = b.fadd(_lanes(b, value, range(4)), _lanes(b, value, range(4, 8)))
    pair = b.fadd(_lanes(b, half, range(2)), _lanes(b, half, range(2, 4)))
    return b.fadd(b.extract_element(pair, ir.Constant(I32, 0)), b.extract_element(pair, ir.Constant(I32, 1)))


@operation(f32, f32x8)
def largest(b: Builder, value: ir.Value) -> ir.Value:
    """The largest lane; NaN if one is."""
    return _call(b, "llvm.vector.reduce.fmaximum.v8f32", F32, value)


@operation(f32x8, i32x8)
def to_float(b: Builder, value: ir.Value) -> ir.Value:
    return b.sitofp(value, f32x8.llvm)


@operation(f32x8, f32x8)
def power_of_two(b: Builder, exponent: ir.Value) -> ir.Value:
    """2 to the power of whole numbers from -126 to 127."""
    biased = b.add(b.fptosi(exponent, i32x8.llvm), i32x8.constant(127))
    return b.bitcast(b.shl(biased, i32x8.constant(23)), f32x8.llvm)


@operation(f32x8, f32x8)
def square_root(b: Builder, value: ir.Value) -> ir.Value:
    return _call(b, "llvm.sqrt.v8f32", f32x8.llvm, value)


@operation(f32x8, f32x8)
def nearest(b: Builder, value: ir.Value) -> ir.Value:
    """Rounded to whole numbers."""
    return _call(b, "llvm.rint.v8f32", f32x8.llvm, value)


@operation(f32x8, f32x8, f32x8, f32x8)
def clamp(b: Builder, value: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    lower = _call(b, "llvm.minnum.v8f32", f32x8.llvm, value, high)
    return _call(b, "llvm.maxnum.v8f32", f32x8.llvm, lower, low)


@operation(i8x32, i8x32)
def low_nibbles(b: Builder, packed: ir.Value) -> ir.Value:
    return b.and_(packed, i8x32.constant(15))


@operation(i8x32, i8x32)
def high_nibbles(b: Builder, packed: ir.Value) -> ir.Value:
    shifted = b.lshr(b.bitcast(packed, i16x16.llvm), i16x16.constant(4))
    return b.and_(b.bitcast(shifted, i8x32.llvm), i8x32.constant(15))


@operation(i32x8)
def zero_sum(b: Builder) -> ir.Value:
    return i32x8.constant(0)


@operation(i32x8, i32x8, i32x8)
def subtract(b: Builder, left: ir.Value, right: ir.Value) -> ir.Value:
    return b.sub(left, right)


@operation(sums)
def begin(b: Builder) -> ir.Value:
    """No product yet. AVX2's 16 bits hold the sum of eight `multiply` of nibbles: 8 · 2 · 15 · 127 < 2¹⁵."""
    return sums.constant(0)


@operation(sums, sums, i8x32, i8x32)
def multiply(b: Builder, total: ir.Value, nibbles: ir.Value, signed: ir.Value) -> ir.Value:
    """Add the products of nibbles 0…15 and bytes -127…127."""
    if VARIANT == "avx2":
        return b.add(total, _call(b, "llvm.x86.avx2.pmadd.ub.sw", i16x16.llvm, nibbles, signed))
    if VARIANT == "vnni":
        return _vpdpbusd(b, total, nibbles, signed)
    return _dot(b, total, nibbles, signed)


@operation(i32x8, i32x8, sums)
def end(b: Builder, total: ir.Value, products: ir.Value) -> ir.Value:
    """Add the sums of each lane's four products."""
    if VARIANT == "avx2":
        return b.add(total, _call(b, "llvm.x86.avx2.pmadd.wd", i32x8.llvm, products, i16x16.constant(1)))
    return b.add(total, products)


@operation(i32x8, i32x8, i8x32, i8x32)
def multiply_s8(b: Builder, total: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    """Add each lane's four products of bytes -127…127.

    x86 multiplies unsigned by signed bytes, so the left one's sign moves to the right one; 2 · 127² < 2¹⁵.
    """
    if VARIANT not in ("avx2", "vnni"):
        return _dot(b, total, left, right)
    positive = _call(b, "llvm.abs.v32i8", i8x32.llvm, left, ir.Constant(ir.IntType(1), 0))
    signed = _call(b, "llvm.x86.avx2.psign.b", i8x32.llvm, right, left)
    if VARIANT == "vnni":
        return _vpdpbusd(b, total, positive, signed)
    pairs = _call(b, "llvm.x86.avx2.pmadd.ub.sw", i16x16.llvm, positive, signed)
    return b.add(total, _call(b, "llvm.x86.avx2.pmadd.wd", i32x8.llvm, pairs, i16x16.constant(1)))


def _vpdpbusd(b: Builder, total: ir.Value, unsigned: ir.Value, signed: ir.Value) -> ir.Value:
    return _call(b, "llvm.x86.avx512.vpdpbusd.256", i32x8.llvm, total, unsigned, signed)


def _dot(b: Builder, total: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    """Products of signed bytes, four to a lane."""
    if VARIANT == "neon":
        halves = []
        for lanes, quads in ((range(16), range(4)), (range(16, 32), range(4, 8))):
            operands = _lanes(b, total, quads), _lanes(b, left, lanes), _lanes(b, right, lanes)
            halves.append(_call(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", ir.VectorType(I32, 4), *operands))
        return b.shuffle_vector(*halves, ir.Constant(ir.VectorType(I32, 8), list(range(8))))
    wide = ir.VectorType(I16, 32)
    products = b.mul(b.sext(left, wide), b.sext(right, wide))
    pairs = ir.VectorType(I32, 16)
    even, odd = (b.sext(_lanes(b, products, range(start, 32, 2)), pairs) for start in (0, 1))
    two = b.add(even, odd)
    return b.add(total, b.add(_lanes(b, two, range(0, 16, 2)), _lanes(b, two, range(1, 16, 2))))


@operation(i64, i64, i64)
def fetch_add(b: Builder, address: ir.Value, value: ir.Value) -> ir.Value:
    """Add to a shared counter; return what it was before."""
    return b.atomic_rmw("add", _pointer(b, address, I64), value, "seq_cst")


@operation(i64, i64)
def load_shared(b: Builder, address: ir.Value) -> ir.Value:
    return b.load_atomic(_pointer(b, address, I64), "acquire", 8)


@operation(void, i64, i64)
def store_shared(b: Builder, address: ir.Value, value: ir.Value) -> None:
    b.store_atomic(value, _pointer(b, address, I64), "release", 8)


@operation(void)
def pause(b: Builder) -> None:
    """Tell the processor that this thread waits."""
    if VARIANT in ("avx2", "vnni"):
        _call(b, "llvm.x86.sse2.pause", ir.VoidType())


@operation(void)
def give_way(b: Builder) -> None:
    """Let another thread have the core."""
    _call(b, "SwitchToThread" if sys.platform == "win32" else "sched_yield", I32)
