# mypy: disallow-untyped-calls=False
"""Sixteen float32 numbers at once, for numba: what one AVX-512 register holds.

Numba vectorises a loop only when LLVM can prove that its arrays do not overlap, which it rarely can. A kernel
written with these lanes is vector code by construction, on any processor: narrower ones take two or four
registers for each. Multiplications followed by additions are fused where the processor can do so.

Arrays are contiguous and one-dimensional, of float32, or of uint16 that holds the bits of bfloat16 numbers,
which are widened and rounded on the way. Indices are not checked. Everything works inside `numba.njit` only;
the functions here are given LLVM's builder and emit its instructions.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.typeconv.castgraph import Conversion
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from diffcl.networks.kernels import WIDTH

_FLOAT, _INT, _HALF = ir.FloatType(), ir.IntType(32), ir.IntType(16)
_FLOATS, _INTS, _HALVES = (ir.VectorType(kind, WIDTH) for kind in (_FLOAT, _INT, _HALF))
_INDEX = ir.IntType(64)
_LANES = sha256(Path(__file__).read_bytes() + bytes([WIDTH])).hexdigest()


def compiled(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, to run without Python's lock; keep the result on disk where that is possible."""
    fast: Any = numba.njit(kernel, nogil=True)
    with suppress(RuntimeError):  # numba found no folder that it can write to
        fast._cache = _Cache(kernel)  # noqa: SLF001 - as its enable_caching does
    kept: Callable[..., Any] = fast
    return kept


class _Cache(FunctionCache):
    """Numba's, for a kernel that is compiled anew also when this file has changed, and not only its own."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        super().__init__(kernel)
        locator = self._impl.locator
        self._cache_file = IndexDataCacheFile(
            cache_path=locator.get_cache_path(),
            filename_base=self._impl.filename_base,
            source_stamp=(locator.get_source_stamp(), _LANES),
        )


class LanesType(types.Type):
    """Numba's type of sixteen float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")

    def can_convert_from(self, _: Any, other: Any) -> Any:
        """A float32 beside lanes is spread over them."""
        return Conversion.safe if other is types.float32 else None


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, _FLOATS)


class _Memory:
    """An array argument: reads and writes one number of the LLVM type `_FLOAT`, or lanes, of `_FLOATS`."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder = builder
        self.halves = isinstance(kind.dtype, types.Integer)
        self.data = context.make_array(kind)(context, builder, array).data

    def read(self, index: Any, floats: Any) -> Any:
        if not self.halves:
            return self.builder.load(self._at(index, floats), align=4)
        integers, halves = (_INT, _HALF) if floats is _FLOAT else (_INTS, _HALVES)
        bits = self.builder.zext(self.builder.load(self._at(index, halves), align=2), integers)
        return self.builder.bitcast(self.builder.shl(bits, _constant(integers, 16)), floats)

    def write(self, index: Any, value: Any) -> None:
        if not self.halves:
            self.builder.store(value, self._at(index, value.type), align=4)
            return
        b = self.builder
        integers, halves = (_INT, _HALF) if value.type is _FLOAT else (_INTS, _HALVES)
        bits, sixteen = b.bitcast(value, integers), _constant(integers, 16)
        odd = b.and_(b.lshr(bits, sixteen), _constant(integers, 1))
        to_nearest = b.lshr(b.add(bits, b.add(odd, _constant(integers, 0x7FFF))), sixteen)  # ties to even
        not_a_number = b.fcmp_unordered("uno", value, value)
        rounded = b.select(not_a_number, _constant(integers, 0x7FC0), to_nearest)
        b.store(b.trunc(rounded, halves), self._at(index, halves), align=2)

    def _at(self, index: Any, kind: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [index]), kind.as_pointer())


def _constant_float(value: float) -> Any:
    return ir.Constant(_FLOATS, [value] * WIDTH)


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, [value] * WIDTH if isinstance(kind, ir.VectorType) else value)


def _function(returns: Any, *takes: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a numba function of one that emits code; it takes arrays as `_Memory`, others as LLVM values."""

    def made(emit: Callable[..., Any]) -> Any:
        def typed(_: Any, *given: Any) -> Any:
            kinds = [kind if take is types.Array else take for take, kind in zip(takes, given, strict=True)]

            def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
                arguments = [
                    _Memory(context, builder, kind, value) if isinstance(kind, types.Array) else value
                    for kind, value in zip(kinds, values, strict=True)
                ]
                result = emit(builder, *arguments)
                return context.get_dummy_value() if result is None else result

            return returns(*kinds), codegen

        functools.update_wrapper(typed, emit)  # numba reads the arguments that the wrapped function has
        return intrinsic(typed)

    return made


@_function(types.float32, types.Array, types.intp)
def read(_: Any, array: _Memory, index: Any) -> Any:
    """One number of an array."""
    return array.read(index, _FLOAT)


@_function(types.void, types.Array, types.intp, types.float32)
def write(_: Any, array: _Memory, index: Any, number: Any) -> None:
    """One number into an array."""
    array.write(index, number)


@_function(lanes, types.Array, types.intp)
def load(_: Any, array: _Memory, start: Any) -> Any:
    """Lanes from an array, from index `start` on."""
    return array.read(start, _FLOATS)


@_function(types.void, types.Array, types.intp, lanes)
def store(_: Any, array: _Memory, start: Any, value: Any) -> None:
    """Lanes into an array, from index `start` on."""
    array.write(start, value)


@_function(types.void, types.Array, types.intp, types.intp, types.Array, types.intp, types.intp)
def transpose(
    b: Any, source: _Memory, start: Any, stride: Any, target: _Memory, to: Any, to_stride: Any
) -> None:
    """Sixteen rows of sixteen numbers become sixteen columns; the strides are those between rows."""

    def place(first: Any, step: Any, row: int) -> Any:
        return b.add(first, b.mul(step, ir.Constant(_INDEX, row)))

    rows = [source.read(place(start, stride, row), _FLOATS) for row in range(WIDTH)]
    interleaved = [lane // 2 + lane % 2 * WIDTH for lane in range(2 * WIDTH)]
    masks = [
        ir.Constant(_INTS, interleaved[:WIDTH]),
        ir.Constant(_INTS, [8 + lane for lane in interleaved[:WIDTH]]),
    ]
    for _ in range(4):  # as often as sixteen is halved: interleave the first half of the rows with the second
        pairs = list(zip(rows[: WIDTH // 2], rows[WIDTH // 2 :], strict=True))
        rows = [b.shuffle_vector(*pair, mask) for pair in pairs for mask in masks]
    for row, value in enumerate(rows):
        target.write(place(to, to_stride, row), value)


@_function(lanes, types.Array, types.intp)
def row_sums(b: Any, array: _Memory, start: Any) -> Any:
    """Lane r is the sum of row r, of sixteen rows of sixteen numbers that follow each other."""
    rows = [array.read(b.add(start, ir.Constant(_INDEX, row * WIDTH)), _FLOATS) for row in range(WIDTH)]
    even, odd = (ir.Constant(_INTS, list(range(first, 2 * WIDTH, 2))) for first in (0, 1))
    while len(rows) > 1:  # neighbours of two rows are added, the sums stand beside each other
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [b.fadd(b.shuffle_vector(*pair, even), b.shuffle_vector(*pair, odd)) for pair in pairs]
    return rows[0]


@_function(lanes, lanes)
def power_of_two(b: Any, biased: Any) -> Any:
    """`2 ** (i - 127)` of lanes whose lowest mantissa bits hold i, from 0 (gives zero) to 255 (infinity)."""
    return b.bitcast(b.shl(b.bitcast(biased, _INTS), _constant(_INTS, 23)), _FLOATS)


@_function(lanes, lanes, lanes)
def minimum(b: Any, left: Any, right: Any) -> Any:
    """The smaller one in each lane; the left one if either is not a number."""
    return b.select(b.fcmp_ordered("<", right, left), right, left)


@_function(lanes, lanes, lanes)
def maximum(b: Any, left: Any, right: Any) -> Any:
    """The larger one in each lane; the left one if either is not a number."""
    return b.select(b.fcmp_ordered(">", right, left), right, left)


@_function(lanes, lanes, lanes, lanes)
def where_positive(b: Any, condition: Any, then: Any, otherwise: Any) -> Any:
    """Of each lane the one or the other."""
    return b.select(b.fcmp_ordered(">", condition, _constant_float(0.0)), then, otherwise)


def _spread(b: Any, number: Any) -> Any:
    nothing = ir.Constant(_FLOATS, ir.Undefined)
    return b.shuffle_vector(b.insert_element(nothing, number, _INT(0)), nothing, ir.Constant(_INTS, None))


@_function(lanes, types.float32)
def splat(b: Any, number: Any) -> Any:
    """The same number in every lane."""
    return _spread(b, number)


# A float32 beside an operator is spread over lanes.
lower_cast(types.float32, lanes)(lambda context, builder, source, target, number: _spread(builder, number))


def _define(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    """Make an operator of Python work between lanes; a product and a sum may become one instruction."""

    class Typing(ConcreteTemplate):
        key = symbol
        cases = (signature(lanes, lanes, lanes),)

    def emit(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values, flags=["contract"])

    infer_global(symbol)(Typing)
    lower_builtin(symbol, lanes, lanes)(emit)


_define(operator.add, "fadd")
_define(operator.sub, "fsub")
_define(operator.mul, "fmul")
_define(operator.truediv, "fdiv")
