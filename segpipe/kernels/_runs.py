"""The compiled pass: count runs of equal (truth, pred) pairs, not pixels.

In a label map that shows something, a pixel is nearly always like the one before it. So a strip of some
4000 pixels is taken in four steps, each of which reads what the one before has left in the L1 cache:

1. mark: compare 64 pixels with themselves shifted by one; the 64 answers are one word of `ends`, whose bit
   says that a run ends at that pixel. The words of pred are or-ed to those of truth: a pair ends when
   either of the two does.
2. list: turn the bits into a list of positions, without a branch for up to six runs in a word.
3. name: look up the cell of the pair at the end of each run.
4. tally: add the length of the run to the cell.

Only steps 1 and 2 are paid per pixel, and they do not know what a class is. Where the pixels are noise,
which step 1 tells, steps 3 and 4 are done for every pixel.

Where both sides are bytes, steps 3 and 4 are one: the pairs themselves are counted, in small counters, and
their codes are looked up when the image is done.

**Everything is an int64**: addresses, indexes, counts and words of bits. Arrays are not passed around,
because Numba then counts references in the innermost loop (50 times slower), and unsigned numbers are not
used, because Numba makes a float of an unsigned and a signed one. Sums wrap around as in C, which is what
modular arithmetic wants. The price is that nothing here checks an address: `segpipe.kernels.confusion`, the
only caller, owns all memory that is named here, and nothing is allocated here, so nothing can fail midway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.unsafe import ndarray as unsafe
from numpy.typing import NDArray

from segpipe.kernels.jit import compiled, inlined, part

STRIP = 64 * 64 + 1
"""Pixels; the comparison of 64 pixels with the next ones reads 65, so one more fills the words exactly."""

STRIP_ENDS_BYTES = 8 * (STRIP // 64 + 1)
STRIP_POSITIONS_BYTES = 4 * (STRIP + 64)
"""Step 2 may write up to 13 positions too many."""

NOISE_PX = 3
"""Under this mean length of a run every pixel is counted for itself."""

PITCH = 256 + 8
"""Slots from one row of byte pairs to the next; 256 would put all rows into a few sets of the cache."""

PAIRS = 256 * PITCH

MOST_PAIRS_PX = (1 << 32) - 1 - STRIP
"""Pixels; when more than these are in the counters of pairs, which have 32 bits, they are emptied."""

LARGE_PX = 2 * PAIRS
"""An image of so many pixels may have noise counted without a list of its pairs: all are looked at then."""

UNLISTED = 1 << 20
"""Added to the number of pairs of bytes that are listed: there are others as well."""

PROBE_PX = 4 * 64 + 1
"""Pixels at the beginning of a strip by which noise is known before the rest is marked in vain."""

BYTES, TABLE, HASH_TABLE = 0, 1, 2
"""How values are looked up: as they are (both sides are bytes), at their own place, in a hash table."""

HASH_FACTOR = -0x61C8864680B583EB
"""2^64 over the golden ratio, as a signed number: Fibonacci hashing (Knuth, TAOCP 3, 6.4)."""

CELLS, HASHED = 0, 1
"""Where a cell is tallied: at its own number, or in a hash table (matrices too large for the scratch)."""

U8, U16, U32, I64 = np.uint8, np.uint16, np.uint32, np.int64
KINDS: dict[int, Any] = {1: U8, 2: U16, 4: U32, 8: I64}
"""Bytes of a pixel -> the type that is compiled for it."""


class Side(NamedTuple):
    """Truth or pred: where its pixels lie and how they are looked up. All numbers are ints.

    Attributes:
        address, image_step, step: first pixel; bytes from image to image and from column to column.
        width: bytes of a pixel, 1, 2, 4 or 8.
        swapped: 1 if the bytes of a pixel are in the other order than the machine's.
        method: BYTES, TABLE or HASH_TABLE.
        low, span: first value and length of the table; the number of slots (2^n) of a hash table.
        keys, codes: addresses, int64 and uint16.
        alike: address, uint16 (span,); for BYTES, the first value that has the same code.
        invalid: the code of a value that is not found.
        strip: address of STRIP * 8 bytes, where a strip with gaps is packed.
    """

    address: int
    image_step: int
    step: int
    width: int
    swapped: int
    method: int
    low: int
    span: int
    keys: int
    codes: int
    alike: int
    invalid: int
    strip: int


class Scratch(NamedTuple):
    """Memory of one thread; all but `slots` are addresses.

    Attributes:
        ends: int64 words of bits.
        positions, cells: uint32 (STRIP + 64,); of the runs of a strip.
        everywhere: uint32 (STRIP,); 0, 1, 2, ...
        pairs: uint32 (PAIRS,); pixels of each pair of bytes, all 0 between images.
        pairs_touched: uint32 (PAIRS,); the pairs that are not 0.
        table: int64 (slots,); pixels in each slot, all 0 between images.
        cell_of: uint32 (slots,); the cell in a slot of a hash table.
        touched: uint32 (slots,); the slots that are not 0.
        slots: how many; PAIRS for bytes, S * S for CELLS, a power of two for HASHED.
    """

    ends: int
    positions: int
    cells: int
    everywhere: int
    pairs: int
    pairs_touched: int
    table: int
    cell_of: int
    touched: int
    slots: int


class Grid(NamedTuple):
    """What is walked: images, then `axes` axes of rows, int64 (axis, 3) at `rows`, then columns."""

    images: int
    rows: int
    axes: int
    columns: int


class Output(NamedTuple):
    """Where cells go: int64 (image + 1,), uint32 (room,) and int64 (room,); unsorted within an image."""

    offsets: int
    cells: int
    counts: int
    room: int


to_fixed_tuple: Any = unsafe.to_fixed_tuple
GRID, SIDE, SCRATCH, OUTPUT = (len(record._fields) for record in (Grid, Side, Scratch, Output))


# Instructions that Numba has no words for. -------------------------------------------------------------


def _instruction(define: Callable[..., Any]) -> Callable[..., int]:
    return cast(Callable[..., int], intrinsic(define))


def _lanes(dtype: Any, lanes: int) -> Any:
    return ir.VectorType(ir.IntType(dtype.dtype.bitwidth), lanes)


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


@_instruction
def _load(typing_context: Any, dtype: Any, address: Any) -> Any:
    """The unsigned number of type `dtype` at `address`, which need not be aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(dtype.dtype.bitwidth)
        value = builder.load(_pointer(builder, arguments[1], kind), align=1)
        return builder.zext(value, ir.IntType(64)) if kind.width < 64 else value

    return types.int64(dtype, types.int64), generate


@_instruction
def _load_swapped(typing_context: Any, dtype: Any, address: Any) -> Any:
    """As `_load`, of a number whose bytes are in the other order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(dtype.dtype.bitwidth)
        value = builder.load(_pointer(builder, arguments[1], kind), align=1)
        value = builder.bswap(value) if kind.width > 8 else value
        return builder.zext(value, ir.IntType(64)) if kind.width < 64 else value

    return types.int64(dtype, types.int64), generate


@_instruction
def _bytes_of(typing_context: Any, dtype: Any) -> Any:
    """The bytes of a number of type `dtype`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.IntType(64), dtype.dtype.bitwidth // 8)

    return types.int64(dtype), generate


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
def _differ_64(typing_context: Any, dtype: Any, address: Any) -> Any:
    """Bit j is 1 where pixel j differs from pixel j + 1, 0 <= j < 64; reads 65 pixels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _lanes(dtype, 64)
        width = ir.Constant(ir.IntType(64), dtype.dtype.bitwidth // 8)
        here, following = (
            builder.load(_pointer(builder, address, vector), align=1)
            for address in (arguments[1], builder.add(arguments[1], width))
        )
        return builder.bitcast(builder.icmp_unsigned("!=", here, following), ir.IntType(64))

    return types.int64(dtype, types.int64), generate


@_instruction
def _fetch(typing_context: Any, address: Any) -> Any:
    """Have the cache line at `address` brought near; any address will do, for nothing is read."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, *[ir.IntType(32)] * 3])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        reading, near, data = (ir.Constant(ir.IntType(32), number) for number in (0, 3, 1))
        builder.call(prefetch, [pointer, reading, near, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@_instruction
def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """The position of the lowest 1 bit; 64 if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), generate


@_instruction
def _count_bits(typing_context: Any, word: Any) -> Any:
    """How many bits are 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.int64), generate


# Step 1: mark. ------------------------------------------------------------------------------------------


@part
def _mark(dtype: Any, address: int, pixels: int, ends: int, before: int) -> int:
    """Set the bits of `ends` where a run of one side ends, and count them; the last pixel ends a run.

    `before` is 0, or -1 to keep what is there.
    """
    words = (pixels - 1) >> 6
    found = 0
    for word in range(words):
        bits = _differ_64(dtype, address + 64 * word * _bytes_of(dtype)) | (
            before & _load(I64, ends + 8 * word)
        )
        _store(I64, ends + 8 * word, bits)
        found += _count_bits(bits)
    rest = _mark_rest(dtype, address, pixels) | (before & _load(I64, ends + 8 * words))
    _store(I64, ends + 8 * words, rest)
    return found + _count_bits(rest)


@inlined
def _mark_rest(dtype: Any, address: int, pixels: int) -> int:
    """The last word: the ends among the last 1 to 64 pixels."""
    left = (pixels - 1) & 63
    start = address + (pixels - 1 - left) * _bytes_of(dtype)
    bits = 1 << left
    if pixels > 64 and left:
        # The 64 pixels before the last one, of which the first were marked already.
        overlapping = _differ_64(dtype, address + (pixels - 65) * _bytes_of(dtype))
        return bits | ((overlapping >> (64 - left)) & (bits - 1))
    for pixel in range(left):
        here = start + pixel * _bytes_of(dtype)
        bits |= int(_load(dtype, here) != _load(dtype, here + _bytes_of(dtype))) << pixel
    return bits


# Step 2: list. ------------------------------------------------------------------------------------------


@part
def _list_ends(kinds: Any, truth_at: int, pred_at: int, pixels: int, scratch: Scratch) -> None:
    """Write the positions of the 1 bits, in order.

    How many bits a word has cannot be foreseen, and a wrong guess of the processor costs more than six
    writes. So six are always written; what is too much is overwritten by the next word.

    The memory is idle in this step. So the pixels that follow the strip are fetched meanwhile.
    """
    at = scratch.positions
    for word in range(((pixels - 1) >> 6) + 1):
        _fetch_64(kinds[0], truth_at + (pixels + 64 * word) * _bytes_of(kinds[0]))
        _fetch_64(kinds[1], pred_at + (pixels + 64 * word) * _bytes_of(kinds[1]))
        bits = _load(I64, scratch.ends + 8 * word)
        count = _count_bits(bits)
        for ahead in range(6):
            _store(U32, at + 4 * ahead, 64 * word + _lowest_bit(bits))
            bits &= bits - 1
        if count > 6:
            for ahead in range(6, 14):
                _store(U32, at + 4 * ahead, 64 * word + _lowest_bit(bits))
                bits &= bits - 1
            for ahead in range(14, count):
                _store(U32, at + 4 * ahead, 64 * word + _lowest_bit(bits))
                bits &= bits - 1
        at += 4 * count


@inlined
def _fetch_64(dtype: Any, address: int) -> None:
    """Fetch 64 pixels: as many cache lines as a pixel has bytes."""
    for line in range(_bytes_of(dtype)):
        _fetch(address + 64 * line)


# Step 3: name. ------------------------------------------------------------------------------------------


def spread(value: Any) -> Any:
    """An int64 of which the low bits depend on all bits of the value; also for arrays, in NumPy."""
    return (value ^ (value >> 32)) * HASH_FACTOR >> 40


_spread = inlined(spread)


@inlined
def _code(side: Side, value: int) -> int:
    """The code of a raw value, read as unsigned."""
    if side.method == TABLE:
        place = value - side.low
        place &= (1 << (8 * side.width)) - 1 if side.width < 8 else -1
        # One comparison says it: as a signed number, whatever lies behind 2^63 is negative.
        return _load(U16, side.codes + 2 * place) if 0 <= place < side.span else side.invalid
    slot = _spread(value) & (side.span - 1)
    code = _load(U16, side.codes + 2 * slot)
    while code != side.invalid and _load(I64, side.keys + 8 * slot) != value:
        slot = (slot + 1) & (side.span - 1)
        code = _load(U16, side.codes + 2 * slot)
    return code


@part
def _name(
    dtype: Any, side: Side, address: int, positions: int, runs: int, cells: int, before: int, factor: int
) -> None:
    """Write `factor` times the code of one side, added to what is there if `before` is -1, not 0."""
    for run in range(runs):
        here = address + _load(U32, positions + 4 * run) * _bytes_of(dtype)
        value = _load_swapped(dtype, here) if side.swapped else _load(dtype, here)
        cell = (before & _load(U32, cells + 4 * run)) + factor * _code(side, value)
        _store(U32, cells + 4 * run, cell)


# Step 4: tally. -----------------------------------------------------------------------------------------


@part
def _tally(scratch: Scratch, positions: int, runs: int, touched: int) -> int:
    """Add the runs to the table; returns how many slots are touched now."""
    last = -1
    for run in range(runs):
        slot = _load(U32, scratch.cells + 4 * run)
        end = _load(U32, positions + 4 * run)
        pixels = _load(I64, scratch.table + 8 * slot)
        if pixels == 0:
            _store(U32, scratch.touched + 4 * touched, slot)
            touched += 1
        _store(I64, scratch.table + 8 * slot, pixels + end - last)
        last = end
    return touched


@inlined
def _add_pair(truth: int, pred: int, pixels: int, scratch: Scratch, touched: int) -> int:
    """Count a pair of bytes at two addresses; returns how many pairs are touched now."""
    pair = _load(U8, truth) * PITCH + _load(U8, pred)
    before = _load(U32, scratch.pairs + 4 * pair)
    if before == 0:
        _store(U32, scratch.pairs_touched + 4 * touched, pair)
        touched += 1
    _store(U32, scratch.pairs + 4 * pair, before + pixels)
    return touched


@part
def _tally_byte_runs(truth: int, pred: int, positions: int, runs: int, scratch: Scratch, touched: int) -> int:
    """Steps 3 and 4 for bytes; returns how many pairs are touched now."""
    last = -1
    for run in range(runs):
        end = _load(U32, positions + 4 * run)
        touched = _add_pair(truth + end, pred + end, end - last, scratch, touched)
        last = end
    return touched


@part
def _tally_byte_noise(truth: int, pred: int, pixels: int, scratch: Scratch) -> None:
    """As `_tally_byte_runs`, where every pixel is a run, and nothing is listed."""
    for pixel in range(pixels):
        counter = scratch.pairs + 4 * (_load(U8, truth + pixel) * PITCH + _load(U8, pred + pixel))
        _store(U32, counter, _load(U32, counter) + 1)


@part
def _tally_hashed(scratch: Scratch, positions: int, runs: int, touched: int) -> int:
    """As `_tally`; a cell stands in the first slot, from its own on, that is its own or was empty."""
    last = -1
    for run in range(runs):
        cell = _load(U32, scratch.cells + 4 * run)
        slot = ((cell * 0x9E3779B1) >> 16) & (scratch.slots - 1)
        pixels = _load(I64, scratch.table + 8 * slot)
        while pixels and _load(U32, scratch.cell_of + 4 * slot) != cell:
            slot = (slot + 1) & (scratch.slots - 1)
            pixels = _load(I64, scratch.table + 8 * slot)
        if not pixels:
            _store(U32, scratch.cell_of + 4 * slot, cell)
            _store(U32, scratch.touched + 4 * touched, slot)
            touched += 1
        end = _load(U32, positions + 4 * run)
        _store(I64, scratch.table + 8 * slot, pixels + end - last)
        last = end
    return touched


# One strip, one image, all images. ----------------------------------------------------------------------


@part
def _packed(dtype: Any, side: Side, address: int, pixels: int) -> int:
    """The address of a strip without gaps: where it is, or a copy."""
    if side.step == side.width:
        return address
    for pixel in range(pixels):
        _store(dtype, side.strip + pixel * _bytes_of(dtype), _load(dtype, address + pixel * side.step))
    return side.strip


@part
def _mark_strip(kinds: Any, truth_at: int, pred_at: int, pixels: int, ends: int) -> int:
    """Step 1 for both sides: the number of runs; or `pixels` as soon as the first of them are noise."""
    probed, start = 0, 0
    if pixels > PROBE_PX:
        _mark(kinds[0], truth_at, PROBE_PX, ends, 0)
        probed = _mark(kinds[1], pred_at, PROBE_PX, ends, -1) - 1
        if probed * NOISE_PX > PROBE_PX:
            return pixels
        start = PROBE_PX - 1
    ends += start // 8
    _mark(kinds[0], truth_at + start * _bytes_of(kinds[0]), pixels - start, ends, 0)
    return probed + _mark(kinds[1], pred_at + start * _bytes_of(kinds[1]), pixels - start, ends, -1)


@part
def _count_strip(
    kinds: Any,
    truth: Side,
    truth_at: int,
    pred: Side,
    pred_at: int,
    pixels: int,
    scratch: Scratch,
    large: int,
    hashed: int,
    touched: int,
) -> int:
    """Count 1 to STRIP pixels; returns how many slots, or pairs of bytes, are touched now (see UNLISTED)."""
    truth_at = _packed(kinds[0], truth, truth_at, pixels)
    pred_at = _packed(kinds[1], pred, pred_at, pixels)
    runs = _mark_strip(kinds, truth_at, pred_at, pixels, scratch.ends)
    noise = runs * NOISE_PX > pixels
    if truth.method == BYTES and noise and large:
        _tally_byte_noise(truth_at, pred_at, pixels, scratch)
        return touched | UNLISTED
    positions, runs = (scratch.everywhere, pixels) if noise else (scratch.positions, runs)
    if not noise:
        _list_ends(kinds, truth_at, pred_at, pixels, scratch)
    if truth.method == BYTES:
        listed = touched & (UNLISTED - 1)
        return touched & UNLISTED | _tally_byte_runs(truth_at, pred_at, positions, runs, scratch, listed)
    _name(kinds[0], truth, truth_at, positions, runs, scratch.cells, 0, truth.invalid + 1)
    _name(kinds[1], pred, pred_at, positions, runs, scratch.cells, -1, 1)
    if hashed:
        return _tally_hashed(scratch, positions, runs, touched)
    return _tally(scratch, positions, runs, touched)


@part
def _row_offset(grid: Grid, row: int, side: int) -> int:
    """Bytes from the first pixel of an image to the first of a row; side is 1 for truth, 2 for pred."""
    offset = 0
    for axis in range(grid.axes - 1, -1, -1):
        length = _load(I64, grid.rows + 24 * axis)
        offset += (row % length) * _load(I64, grid.rows + 24 * axis + 8 * side)
        row //= length
    return offset


@part
def _num_rows(grid: Grid) -> int:
    rows = 1
    for axis in range(grid.axes):
        rows *= _load(I64, grid.rows + 24 * axis)
    return rows


@part
def _count_image(
    kinds: Any, image: int, grid: Grid, truth: Side, pred: Side, scratch: Scratch, hashed: int
) -> tuple[int, int]:
    """Count one image: how many slots are touched, and 1 if a hash table is too small, else 0."""
    touched, listed, pairs_px, rows = 0, 0, 0, _num_rows(grid)
    large = rows * grid.columns >= LARGE_PX
    for row in range(rows):
        truth_at = truth.address + image * truth.image_step + _row_offset(grid, row, 1)
        pred_at = pred.address + image * pred.image_step + _row_offset(grid, row, 2)
        for start in range(0, grid.columns, STRIP):
            if hashed and 2 * (listed + STRIP) > scratch.slots:
                return listed, 1
            strip = (truth, truth_at + start * truth.step, pred, pred_at + start * pred.step)
            pixels = min(STRIP, grid.columns - start)
            listed = _count_strip(kinds, *strip, pixels, scratch, large, hashed, listed)
            pairs_px += pixels
            if truth.method == BYTES and pairs_px > MOST_PAIRS_PX:
                touched, listed, pairs_px = _empty_pairs(truth, pred, scratch, listed, touched), 0, 0
    return _empty_pairs(truth, pred, scratch, listed, touched) if truth.method == BYTES else listed, 0


@part
def _empty_pairs(truth: Side, pred: Side, scratch: Scratch, pairs: int, touched: int) -> int:
    """Move what was counted for pairs of bytes to the table; pairs with the same codes get one slot."""
    unlisted = pairs & UNLISTED
    for index in range(PAIRS if unlisted else pairs):
        pair = index if unlisted else _load(U32, scratch.pairs_touched + 4 * index)
        if _load(U32, scratch.pairs + 4 * pair) == 0:
            continue
        row, column = pair // PITCH, pair % PITCH
        slot = _load(U16, truth.alike + 2 * row) * PITCH + _load(U16, pred.alike + 2 * column)
        before = _load(I64, scratch.table + 8 * slot)
        if before == 0:
            _store(U32, scratch.touched + 4 * touched, slot)
            touched += 1
        _store(I64, scratch.table + 8 * slot, before + _load(U32, scratch.pairs + 4 * pair))
        _store(U32, scratch.pairs + 4 * pair, 0)
    return touched


@inlined
def _cell(slot: int, truth: Side, pred: Side, scratch: Scratch, hashed: int) -> int:
    if hashed:
        return _load(U32, scratch.cell_of + 4 * slot)
    if truth.method == BYTES:
        row = _load(U16, truth.codes + 2 * (slot // PITCH))
        return row * (truth.invalid + 1) + _load(U16, pred.codes + 2 * (slot % PITCH))
    return slot


def count_images(
    first: int, grid: Grid, truth: Side, pred: Side, scratch: Scratch, hashed: int, output: Output
) -> tuple[int, int, int]:
    """Count the images from `first` on; the scratch is clean before and after.

    Returns:
        How many images are done in all; and if that is not all of them, the room that the output needs at
        least for the next one (0 if that is enough), and whether a larger hash table is needed (0 or 1).
    """
    numbers = np.array([first, hashed, *grid, *truth, *pred, *scratch, *output], np.int64)
    done, room, too_small = _count_images(numbers, KINDS[truth.width], KINDS[pred.width])
    return done, room, too_small


@compiled
def _count_images(numbers: NDArray[np.int64], truth_kind: Any, pred_kind: Any) -> tuple[int, int, int]:
    """`count_images`, compiled anew for each pair of widths, so that nobody waits for those he does not use.

    Numba takes longer to unpack five records than to count a small label map: hence `numbers`.
    """
    kinds = (truth_kind, pred_kind)
    first, hashed, rest = numbers[0], numbers[1], numbers[2:]
    grid, rest = Grid(*to_fixed_tuple(rest, GRID)), rest[GRID:]
    truth, rest = Side(*to_fixed_tuple(rest, SIDE)), rest[SIDE:]
    pred, rest = Side(*to_fixed_tuple(rest, SIDE)), rest[SIDE:]
    scratch, rest = Scratch(*to_fixed_tuple(rest, SCRATCH)), rest[SCRATCH:]
    output = Output(*to_fixed_tuple(rest, OUTPUT))
    for image in range(first, grid.images):
        touched, too_small = _count_image(kinds, image, grid, truth, pred, scratch, hashed)
        written = _load(I64, output.offsets + 8 * image)
        fits = not too_small and written + touched <= output.room
        for index in range(touched):
            slot = _load(U32, scratch.touched + 4 * index)
            if fits:
                cell = _cell(slot, truth, pred, scratch, hashed)
                _store(U32, output.cells + 4 * (written + index), cell)
                _store(I64, output.counts + 8 * (written + index), _load(I64, scratch.table + 8 * slot))
            _store(I64, scratch.table + 8 * slot, 0)
        if not fits:
            return image, written + touched, too_small
        _store(I64, output.offsets + 8 * (image + 1), written + touched)
    return grid.images, 0, 0
