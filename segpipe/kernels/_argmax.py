"""The compiled argmax: floats are compared as whole numbers, of which NaN is the largest.

A float is a sign and a magnitude, and magnitudes sort as whole numbers do. So its bits, with the magnitude
negated where the sign says so, are a signed number, the *key*, that sorts as the float does: -0.0 and 0.0
have the same key, and no float16 is converted. NaN, of either sign, gets a key above that of infinity, so
that the largest key of a pixel also tells whether there is a NaN among its channels.

There are three ways, by how the pixels lie:

* PLANES: the pixels of a channel lie side by side. Four channels at a time are merged into a strip of largest
  keys and a strip of their channels, which stay in the L1 cache.
* ROWS: the channels of a pixel lie side by side. Of few channels the largest key is found first, then its
  channel. Many are folded into a vector of largest keys and a vector of their channels, and as many pixels
  as a vector has lanes are then settled together: nothing is read twice, and no branch depends on data.
* PACKED: neither, or the bytes are swapped: a strip is copied as planes.

What is read is asked for some KiB ahead: a CPU that looks ahead by itself stops at the end of each page.

As in `segpipe.kernels._runs` everything is an int64, nothing is allocated, and nothing checks an address:
`segpipe.kernels.argmax`, the only caller, owns all memory that is named here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.unsafe import ndarray as unsafe
from numpy.typing import NDArray

from segpipe.kernels.jit import compiled, inlined, part

STRIP = 2048
"""Pixels whose largest keys are kept at a time."""

PLANES, ROWS, PACKED = 0, 1, 2

VECTOR_BYTES = 64
"""Of pixels of one channel, or channels of one pixel, that are compared at a time."""

LINE_BYTES = 64
"""Of a cache; at least so much memory comes when some of it is asked for."""

AHEAD_BYTES = 8 << 10
"""So far ahead memory is asked for; what lies behind the scores may be asked for, and is not read."""

LANES = {16: 16, 32: 8, 64: 8}
"""Bits of a float -> channels of one pixel that are compared at a time; among more it takes longer to find
the largest one. Pixels with more than four times so many have many channels."""

KINDS: dict[int, Any] = {2: np.uint16, 4: np.uint32, 8: np.uint64}
"""Bytes of a float -> the type that is compiled for it."""

INFINITY = {16: 0x7C00, 32: 0x7F800000, 64: 0x7FF0000000000000}
"""Bits of a float -> the key of infinity (IEEE 754: all bits of the exponent are 1, those after it 0)."""

I32 = np.uint32
I64 = ir.IntType(64)
TWO: Any = cast(Any, types).UniTuple(types.int64, 2)


class Scores(NamedTuple):
    """Where the channels lie, in bytes; the steps from pixel to pixel are those of `Grid`.

    Attributes:
        address: channel 0 of the first pixel.
        channels, channel_step: how many, and how far apart.
        swapped: 1 if the bytes of a float are in the other order than the machine's.
        method: PLANES, ROWS or PACKED.
        low, high: the keys between which the largest key of a pixel must lie.
    """

    address: int
    channels: int
    channel_step: int
    swapped: int
    method: int
    low: int
    high: int


class Grid(NamedTuple):
    """What is walked: `axes` axes of rows, int64 (axis, 3) at `rows`, then columns.

    The numbers of an axis are its length, the step of the scores and the step of the labels.
    """

    rows: int
    axes: int
    columns: int
    score_step: int
    label_step: int


class Scratch(NamedTuple):
    """Addresses.

    Attributes:
        keys, best: largest keys of a strip of pixels, and their channels.
        folded: of as many pixels as a vector has lanes, a vector of keys for each, then one of channels.
        packed: `packed_px` pixels of each channel, a multiple of a vector.
    """

    keys: int
    best: int
    folded: int
    packed: int
    packed_px: int


class Labels(NamedTuple):
    """Where int32 labels go, and which stand for NaN and for a largest value that is out of bounds."""

    address: int
    nan: int
    beyond: int


to_fixed_tuple: Any = unsafe.to_fixed_tuple
SCORES, GRID, SCRATCH, LABELS = (len(record._fields) for record in (Scores, Grid, Scratch, Labels))


# Instructions that Numba has no words for. -------------------------------------------------------------
# Some stand in `_runs` as well: the cache of machine code notices a change of a function's own file only.


def _instruction(define: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(define))


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _at(builder: Any, address: Any, offset: int, step: Any = None) -> Any:
    """`offset` steps behind an address."""
    distance = ir.Constant(I64, offset)
    return builder.add(address, distance if step is None else builder.mul(step, distance))


def _all_lanes(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds the low bits of a value of 64 bits in every lane."""
    lane = builder.trunc(value, vector.element) if vector.element.width < 64 else value
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), lane, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), lanes)


def _ask_for(builder: Any, address: Any) -> Any:
    """Have a line of memory brought to the caches; there may be no memory at all."""
    kinds = [ir.IntType(8).as_pointer(), *[ir.IntType(32)] * 3]
    ask = _declared(builder, "llvm.prefetch.p0", ir.VoidType(), kinds)
    to_read, to_all_caches, data = (ir.Constant(ir.IntType(32), number) for number in (0, 3, 1))
    builder.call(ask, [_pointer(builder, address, ir.IntType(8)), to_read, to_all_caches, data])


def _splat(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _keys(builder: Any, bits: Any) -> Any:
    """The keys of floats, given as vectors of their bits."""
    vector, width = bits.type, bits.type.element.width
    magnitude = builder.and_(bits, _splat(vector, (1 << (width - 1)) - 1))
    sign = builder.ashr(bits, _splat(vector, width - 1))
    key = builder.sub(builder.xor(magnitude, sign), sign)
    is_nan = builder.icmp_signed(">", magnitude, _splat(vector, INFINITY[width]))
    return builder.select(is_nan, magnitude, key)


@_instruction
def _load(typing_context: Any, dtype: Any, address: Any) -> Any:
    """The signed number as wide as `dtype` at `address`, which need not be aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(dtype.dtype.bitwidth)
        value = builder.load(_pointer(builder, arguments[1], kind), align=1)
        return builder.sext(value, I64) if kind.width < 64 else value

    return types.int64(dtype, types.int64), generate


@_instruction
def _store(typing_context: Any, dtype: Any, address: Any, value: Any) -> Any:
    """Write the low bits of `value` as a number of type `dtype`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(dtype.dtype.bitwidth)
        narrow = builder.trunc(arguments[2], kind) if kind.width < 64 else arguments[2]
        builder.store(narrow, _pointer(builder, arguments[1], kind), align=1)
        return context.get_dummy_value()

    return types.void(dtype, types.int64, types.int64), generate


@_instruction
def _swap(typing_context: Any, dtype: Any, value: Any) -> Any:
    """The low bytes of `value`, as many as `dtype` has, in the other order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(dtype.dtype.bitwidth)
        value = builder.trunc(arguments[1], kind) if kind.width < 64 else arguments[1]
        value = builder.bswap(value)
        return builder.sext(value, I64) if kind.width < 64 else value

    return types.int64(dtype, types.int64), generate


@_instruction
def _bytes_of(typing_context: Any, dtype: Any) -> Any:
    """The bytes of a number of type `dtype`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(I64, dtype.dtype.bitwidth // 8)

    return types.int64(dtype), generate


@_instruction
def _infinity(typing_context: Any, dtype: Any) -> Any:
    """The key of infinity."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(I64, INFINITY[dtype.dtype.bitwidth])

    return types.int64(dtype), generate


def _merging(channels: int) -> Callable[..., Any]:
    """An instruction that takes some channels of a vector of pixels into account."""

    @_instruction
    def merge(
        typing_context: Any, dtype: Any, address: Any, step: Any, first: Any, keys: Any, best: Any
    ) -> Any:
        """Channels `first`, `first + 1`, ... of the pixels at `address`, which is that of channel `first`.

        To do it twice does what once does: a key replaces smaller ones only.
        """

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, address, step, first, keys, best = arguments
            vector = _vector(dtype)
            keys, best = (_pointer(builder, where, vector) for where in (keys, best))
            at_start = builder.icmp_signed("==", first, ir.Constant(I64, 0))
            below_all = _splat(vector, -(1 << (vector.element.width - 1)))
            largest = builder.select(at_start, below_all, builder.load(keys, align=1))
            where = builder.load(best, align=1)
            for channel in range(channels):
                place = _at(builder, address, channel, step)
                _ask_for(builder, _at(builder, place, AHEAD_BYTES // channels))
                key = _loaded_keys(builder, place, vector)
                number = _all_lanes(builder, _at(builder, first, channel), vector)
                greater = builder.icmp_signed(">", key, largest)
                largest = builder.select(greater, key, largest)
                where = builder.select(greater, number, where)
            builder.store(largest, keys, align=1)
            builder.store(where, best, align=1)
            return context.get_dummy_value()

        return types.void(dtype, *[types.int64] * 5), generate

    return merge


_merge_4, _merge_1 = _merging(4), _merging(1)


def _few(dtype: Any) -> Any:
    """`_lanes` channels of one pixel."""
    width = dtype.dtype.bitwidth
    return ir.VectorType(ir.IntType(width), LANES[width])


def _vector(dtype: Any) -> Any:
    """As many pixels of one channel, or channels of one pixel, as a vector holds."""
    width = dtype.dtype.bitwidth
    return ir.VectorType(ir.IntType(width), 8 * VECTOR_BYTES // width)


def _loaded_keys(builder: Any, address: Any, vector: Any) -> Any:
    return _keys(builder, builder.load(_pointer(builder, address, vector), align=1))


def _larger_of(builder: Any, one: Any, other: Any) -> Any:
    """The larger key in each lane."""
    return builder.select(builder.icmp_signed(">", one, other), one, other)


def _lower_of(builder: Any, one: Any, other: Any) -> Any:
    """The lower channel in each lane."""
    return builder.select(builder.icmp_unsigned("<", one, other), one, other)


def _largest_lane(builder: Any, keys: Any) -> Any:
    """The largest key of a vector, as 64 bits."""
    vector = keys.type
    name = f"llvm.vector.reduce.smax.v{vector.count}i{vector.element.width}"
    function = _declared(builder, name, vector.element, [vector])
    largest = builder.call(function, [keys])
    return builder.sext(largest, I64) if vector.element.width < 64 else largest


def _declared(builder: Any, name: str, result: Any, arguments: list[Any]) -> Any:
    """An instruction of LLVM; it may be declared only once."""
    known = builder.module.globals.get(name)
    return known or ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def _equal_bits(builder: Any, keys: Any, key: Any) -> Any:
    """The lanes that have a key, as the bits of a word, the first one lowest."""
    equal = builder.icmp_signed("==", keys, _all_lanes(builder, key, keys.type))
    return builder.zext(builder.bitcast(equal, ir.IntType(keys.type.count)), I64)


def _first_bit(builder: Any, bits: Any) -> Any:
    return builder.cttz(bits, ir.Constant(ir.IntType(1), 0))


@_instruction
def _lanes(typing_context: Any, dtype: Any) -> Any:
    """How many channels of one pixel are looked at together."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(I64, _few(dtype).count)

    return types.int64(dtype), generate


@_instruction
def _largest_of_few(typing_context: Any, dtype: Any, address: Any, channels: Any) -> Any:
    """The largest key of a pixel, and the first channel that has it; at most `_lanes` channels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _few(dtype)
        lanes = ir.Constant(vector, list(range(vector.count)))
        there = builder.icmp_unsigned("<", lanes, _all_lanes(builder, arguments[2], vector))
        _ask_for(builder, _at(builder, arguments[1], AHEAD_BYTES))
        keys = _keys(builder, _masked_load(builder, arguments[1], there, vector))
        largest = _largest(builder, [keys], [ir.Constant(I64, 0)])
        return context.make_tuple(builder, signature.return_type, largest)

    return TWO(dtype, types.int64, types.int64), generate


def _largest_of(blocks: int) -> Callable[..., Any]:
    """An instruction for pixels of more than `blocks - 1` and at most `blocks` times `_lanes` channels."""

    @_instruction
    def largest_of_blocks(typing_context: Any, dtype: Any, address: Any, channels: Any) -> Any:
        """The largest key of a pixel, and the first channel that has it: no branch that could be mistaken."""

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _, address, channels = arguments
            vector = _few(dtype)
            starts: list[Any] = [ir.Constant(I64, block * vector.count) for block in range(blocks - 1)]
            # The last block overlaps the one before it; where they overlap they say the same.
            starts.append(builder.sub(channels, ir.Constant(I64, vector.count)))
            size = ir.Constant(I64, vector.element.width // 8)
            places = [builder.add(address, builder.mul(start, size)) for start in starts]
            for offset in range(0, blocks * vector.count * vector.element.width // 8, LINE_BYTES):
                _ask_for(builder, _at(builder, address, AHEAD_BYTES + offset))
            keys = [_loaded_keys(builder, place, vector) for place in places]
            return context.make_tuple(builder, signature.return_type, _largest(builder, keys, starts))

        return TWO(dtype, types.int64, types.int64), generate

    return largest_of_blocks


def _largest(builder: Any, blocks: list[Any], starts: list[Any]) -> list[Any]:
    """The largest key among some blocks of channels, and the first channel that has it."""
    largest = _largest_lane(builder, reduce(partial(_larger_of, builder), blocks))
    equal = [_equal_bits(builder, keys, largest) for keys in blocks]
    bits = reduce(builder.or_, map(builder.shl, equal, starts))
    return [largest, _first_bit(builder, bits)]


_largest_of_2, _largest_of_3, _largest_of_4 = map(_largest_of, (2, 3, 4))


@_instruction
def _lanes_of_vector(typing_context: Any, dtype: Any) -> Any:
    """How many numbers of type `dtype` a vector has."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(I64, _vector(dtype).count)

    return types.int64(dtype), generate


@_instruction
def _fold(typing_context: Any, dtype: Any, address: Any, last: Any, keys: Any, best: Any) -> Any:
    """Write the largest key in each lane of a pixel of many channels, and the first channel that has it.

    The last vector of channels begins at `last`, and may overlap the one before it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, address, last, keys_at, best_at = arguments
        vector = _vector(dtype)
        lanes = ir.Constant(vector, list(range(vector.count)))
        size = ir.Constant(I64, vector.element.width // 8)
        _ask_for(builder, _at(builder, address, AHEAD_BYTES))
        largest = _loaded_keys(builder, address, vector)
        start, body = builder.block, builder.append_basic_block("fold")
        builder.branch(body)
        builder.position_at_end(body)
        at, keys, best = builder.phi(I64), builder.phi(vector), builder.phi(vector)
        following = _at(builder, at, VECTOR_BYTES)
        following = builder.select(builder.icmp_signed("<", following, last), following, last)
        _ask_for(builder, _at(builder, following, AHEAD_BYTES))
        here = _loaded_keys(builder, following, vector)
        first = builder.udiv(builder.sub(following, address), size)
        channels = builder.add(lanes, _all_lanes(builder, first, vector))
        greater = builder.icmp_signed(">", here, keys)
        larger = builder.select(greater, here, keys)
        where = builder.select(greater, channels, best)
        for value, before, after in ((at, address, following), (keys, largest, larger), (best, lanes, where)):
            value.add_incoming(before, start)
            value.add_incoming(after, body)
        end = builder.append_basic_block("folded")
        builder.cbranch(builder.icmp_signed("<", following, last), body, end)
        builder.position_at_end(end)
        builder.store(larger, _pointer(builder, keys_at, vector), align=1)
        builder.store(where, _pointer(builder, best_at, vector), align=1)
        return context.get_dummy_value()

    return types.void(dtype, *[types.int64] * 4), generate


@_instruction
def _settle(typing_context: Any, dtype: Any, folded: Any, keys: Any, best: Any) -> Any:
    """Write the largest keys of pixels that were folded, a vector of them, and the first channels with these.

    Lanes that do not have the largest key of their pixel have no say in which channel it is.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, folded, keys_at, best_at = arguments
        vector = _vector(dtype)
        places = [
            _pointer(builder, _at(builder, folded, VECTOR_BYTES * at), vector)
            for at in range(2 * vector.count)
        ]
        loaded = [builder.load(place, align=1) for place in places]
        keys, channels = loaded[: vector.count], loaded[vector.count :]
        largest = _across(keys, partial(_larger_of, builder), builder)
        nowhere = _splat(vector, -1)
        for pixel, own in enumerate(keys):
            has_it = builder.icmp_signed(
                "==", own, _picked(builder, largest, largest, [pixel] * vector.count)
            )
            channels[pixel] = builder.select(has_it, channels[pixel], nowhere)
        best = _across(channels, partial(_lower_of, builder), builder)
        builder.store(largest, _pointer(builder, keys_at, vector), align=1)
        builder.store(best, _pointer(builder, best_at, vector), align=1)
        return context.get_dummy_value()

    return types.void(dtype, *[types.int64] * 3), generate


def _across(vectors: list[Any], choose: Callable[[Any, Any], Any], builder: Any) -> Any:
    """What is chosen among the lanes of each of some vectors, as many as they have lanes, in order.

    Neighbouring lanes of two vectors become one vector of half as many lanes of each, and so on.
    """
    lanes = vectors[0].type.count
    even, odd = (list(range(first, 2 * lanes, 2)) for first in (0, 1))
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [choose(_picked(builder, *pair, even), _picked(builder, *pair, odd)) for pair in pairs]
    return vectors[0]


def _picked(builder: Any, one: Any, other: Any, lanes: list[int]) -> Any:
    """Lanes of two vectors; those of the second come after those of the first."""
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _masked_load(builder: Any, address: Any, there: Any, vector: Any) -> Any:
    """Lanes that are not there are not read, and are minus infinity."""
    name = f"llvm.masked.load.v{vector.count}i{vector.element.width}.p0"
    pointer = _pointer(builder, address, vector)
    load = _declared(builder, name, vector, [pointer.type, ir.IntType(32), there.type, vector])
    lowest = _splat(vector, INFINITY[vector.element.width] | 1 << (vector.element.width - 1))
    return builder.call(load, [pointer, ir.Constant(ir.IntType(32), 1), there, lowest])


# Planes. ------------------------------------------------------------------------------------------------


@part
def _merge_planes(dtype: Any, address: int, scores: Scores, step: int, pixels: int, scratch: Scratch) -> None:
    """The largest key of each of some pixels, and its channel; at least a vector of pixels."""
    size = _bytes_of(dtype)
    last = pixels * size - VECTOR_BYTES
    channel = 0
    while channel < scores.channels:
        here = address + channel * step
        four = channel + 4 <= scores.channels
        # The last vector overlaps the one before it: to merge a channel twice changes nothing.
        for offset in range(0, last + VECTOR_BYTES, VECTOR_BYTES):
            at = min(offset, last)
            keys, best = scratch.keys + at, scratch.best + at
            if four:
                _merge_4(dtype, here + at, step, channel, keys, best)
            else:
                _merge_1(dtype, here + at, step, channel, keys, best)
        channel += 4 if four else 1


@inlined
def _label(dtype: Any, key: int, channel: int, scores: Scores, labels: Labels) -> int:
    if scores.low <= key <= scores.high:
        return channel
    return labels.nan if key > _infinity(dtype) else labels.beyond


@part
def _write_labels(
    dtype: Any, pixels: int, scores: Scores, scratch: Scratch, out: int, out_step: int, labels: Labels
) -> None:
    channels = (1 << 16) - 1
    for pixel in range(pixels):
        at = pixel * _bytes_of(dtype)
        key, channel = _load(dtype, scratch.keys + at), _load(dtype, scratch.best + at) & channels
        _store(I32, out + pixel * out_step, _label(dtype, key, channel, scores, labels))


@part
def _pack(dtype: Any, address: int, pixel_step: int, pixels: int, scores: Scores, scratch: Scratch) -> None:
    """Copy some pixels as planes; what stands behind them in a plane is of no account."""
    size = _bytes_of(dtype)
    for channel in range(scores.channels):
        source = address + channel * scores.channel_step
        target = scratch.packed + channel * scratch.packed_px * size
        for pixel in range(pixels):
            value = _load(dtype, source + pixel * pixel_step)
            _store(dtype, target + pixel * size, _swap(dtype, value) if scores.swapped else value)


# Rows. --------------------------------------------------------------------------------------------------


@inlined
def _best_of_row(dtype: Any, address: int, channels: int) -> tuple[int, int]:
    """The largest key of a pixel of few channels, and the first channel that has it."""
    lanes = _lanes(dtype)
    if channels <= lanes:
        return _largest_of_few(dtype, address, channels)  # type: ignore[no-any-return]
    if channels <= 2 * lanes:
        return _largest_of_2(dtype, address, channels)  # type: ignore[no-any-return]
    if channels <= 3 * lanes:
        return _largest_of_3(dtype, address, channels)  # type: ignore[no-any-return]
    return _largest_of_4(dtype, address, channels)  # type: ignore[no-any-return]


# All pixels. --------------------------------------------------------------------------------------------


@part
def _row_offset(grid: Grid, row: int, side: int) -> int:
    """Bytes from the first pixel to the first of a row; side is 1 for scores, 2 for labels."""
    offset = 0
    for axis in range(grid.axes - 1, -1, -1):
        length = _load(np.uint64, grid.rows + 24 * axis)
        offset += (row % length) * _load(np.uint64, grid.rows + 24 * axis + 8 * side)
        row //= length
    return offset


@part
def _label_few(dtype: Any, at: int, out: int, scores: Scores, grid: Grid, labels: Labels) -> None:
    """One row of pixels whose few channels lie side by side."""
    for pixel in range(grid.columns):
        key, channel = _best_of_row(dtype, at + pixel * grid.score_step, scores.channels)
        _store(I32, out + pixel * grid.label_step, _label(dtype, key, channel, scores, labels))


@part
def _label_many(
    dtype: Any, at: int, out: int, scores: Scores, grid: Grid, scratch: Scratch, labels: Labels
) -> None:
    """One row of pixels whose many channels lie side by side."""
    lanes = _lanes_of_vector(dtype)
    to_last = scores.channels * _bytes_of(dtype) - VECTOR_BYTES
    best = scratch.folded + lanes * VECTOR_BYTES
    for start in range(0, grid.columns, lanes):
        pixels = min(lanes, grid.columns - start)
        for pixel in range(pixels):
            source, offset = at + (start + pixel) * grid.score_step, pixel * VECTOR_BYTES
            _fold(dtype, source, source + to_last, scratch.folded + offset, best + offset)
        _settle(dtype, scratch.folded, scratch.keys, scratch.best)
        _write_labels(dtype, pixels, scores, scratch, out + start * grid.label_step, grid.label_step, labels)


@part
def _label_planes(
    dtype: Any, at: int, out: int, scores: Scores, grid: Grid, scratch: Scratch, labels: Labels
) -> None:
    """One row of pixels, strip by strip."""
    size, packed = _bytes_of(dtype), scores.method == PACKED
    strip = scratch.packed_px if packed else STRIP
    vector = VECTOR_BYTES // size
    for start in range(0, grid.columns, strip):
        # A plane is read in whole vectors, and no further than it goes: the last strip may begin earlier.
        first = start if packed else min(start, grid.columns - vector)
        pixels = min(strip, grid.columns - first)
        source, step = at + first * grid.score_step, scores.channel_step
        if packed:
            _pack(dtype, source, grid.score_step, pixels, scores, scratch)
            source, step = scratch.packed, scratch.packed_px * size
        _merge_planes(dtype, source, scores, step, max(pixels, vector), scratch)
        _write_labels(dtype, pixels, scores, scratch, out + first * grid.label_step, grid.label_step, labels)


def argmax(width: int, scores: Scores, grid: Grid, scratch: Scratch, labels: Labels) -> None:
    """Write the label of every pixel; `width` is the bytes of a float."""
    numbers = np.array([*scores, *grid, *scratch, *labels], np.int64)
    _argmax(numbers, KINDS[width])


@compiled
def _argmax(numbers: NDArray[np.int64], dtype: Any) -> None:
    """`argmax`, compiled anew for each width."""
    scores, rest = Scores(*to_fixed_tuple(numbers, SCORES)), numbers[SCORES:]
    grid, rest = Grid(*to_fixed_tuple(rest, GRID)), rest[GRID:]
    scratch, rest = Scratch(*to_fixed_tuple(rest, SCRATCH)), rest[SCRATCH:]
    labels = Labels(*to_fixed_tuple(rest, LABELS))
    rows = 1
    for axis in range(grid.axes):
        rows *= _load(np.uint64, grid.rows + 24 * axis)
    for row in range(rows):
        at = scores.address + _row_offset(grid, row, 1)
        out = labels.address + _row_offset(grid, row, 2)
        if scores.method == ROWS and scores.channels <= 4 * _lanes(dtype):
            _label_few(dtype, at, out, scores, grid, labels)
        elif scores.method == ROWS:
            _label_many(dtype, at, out, scores, grid, scratch, labels)
        else:
            _label_planes(dtype, at, out, scores, grid, scratch, labels)
