"""Datasets drawn anew from the images of one: which images they are made of, and exact sums over them.

What is drawn is a cluster: an image, or all images of one video, site or patient, which are not independent.
A drawn dataset (a replicate) is known by how often each cluster is in it. Sums over it are integers and
exact, so that neither the order of images nor the cut of blocks nor the number of threads shows; and the
random numbers come from a counter-based generator, so that a replicate is a function of the seed, its own
number and the number of clusters alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from segpipe.kernels.draws import first_sums

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
CountArray = NDArray[np.uint16]

EXACT_BITS = 52
"""Integers that float64 adds and multiplies without rounding, whatever the order, are below 2^53."""

REPLICATES_AT_ONCE, FACTORS_AT_ONCE = 256, 1 << 22
"""Of how many replicates, and how many multiplicities, there are floats at one time."""

COUNTS_BYTES = 1 << 28
"""What the multiplicities of the replicates that are held at one time may take."""

_BOOTSTRAP, _SIGN_FLIPS = 1, 2
"""The streams of random numbers; a seed has one of each."""


class Rows(NamedTuple):
    """What is summed: images, or pairs of an image and a class.

    Attributes:
        clusters: int64 (row,), ascending; the cluster of each row.
        terms: int64 (row, n); `Draws.largest` times the largest sum of a cluster is below 2^62.
    """

    clusters: IntArray
    terms: IntArray


class Draws(Protocol):
    """Some replicates of one dataset."""

    def __len__(self) -> int:
        """The number of replicates R."""

    @property
    def clusters(self) -> int:
        """The number of clusters, each of them drawn or not."""

    @property
    def largest(self) -> int:
        """The most clusters that a replicate is made of."""

    def sums(self, parts: Sequence[Rows]) -> list[IntArray]:
        """Sums of every replicate over the rows of each part, int64 (R, n)."""

    def worst_sums(self, clusters: IntArray, terms: IntArray, taken: IntArray) -> IntArray:
        """Sums of the first rows of every replicate, (R, n).

        Args:
            clusters: int64 (row,), the cluster of each row; the rows come worst first.
            terms: int64 (row, n).
            taken: int64 (R,), how many rows of a replicate are summed; it has so many.
        """


@dataclass(frozen=True, eq=False)
class Multiplicities:
    """Replicates by how often each cluster is in them.

    Attributes:
        counts: uint16 (cluster, R).
        largest: the most clusters that a replicate is made of.

    >>> draws = Multiplicities(np.array([[2, 0], [0, 2]], np.uint16), largest=2)
    >>> draws.sums([Rows(np.array([0, 1, 1]), np.array([[5], [10], [1]]))])
    [array([[10],
           [22]])]
    >>> draws.worst_sums(np.array([1, 0, 1]), np.array([[1], [5], [10]]), np.array([1, 3]))
    array([[ 5],
           [12]])
    """

    counts: CountArray
    largest: int

    def __len__(self) -> int:
        return int(self.counts.shape[1])

    @property
    def clusters(self) -> int:
        """The number of clusters."""
        return len(self.counts)

    def sums(self, parts: Sequence[Rows]) -> list[IntArray]:
        """Sums of every replicate over the rows of each part; see `Draws.sums`."""
        few: dict[int, tuple[IntArray, Digits]] = {}
        many: dict[int, IntArray] = {}
        for number, (clusters, terms) in enumerate(parts):
            drawn, totals = cluster_sums(clusters, terms)
            if 4 * len(drawn) < self.clusters:
                few[number] = drawn, Digits.of(totals, self.largest)
            else:
                many[number] = _spread(drawn, totals, self.clusters)
        together = Digits.of(np.concatenate([*many.values()], axis=1), self.largest) if many else None
        ends = np.cumsum([terms.shape[1] for terms in many.values()])
        sums = [np.empty((len(self), part.terms.shape[1]), np.int64) for part in parts]
        for here in self._slices():
            counts = self.counts[:, here]
            for number, (drawn, digits) in few.items():
                sums[number][here] = digits.product(counts[drawn].astype(np.float64))
            if together is not None:
                found = np.split(together.product(counts.astype(np.float64)), ends[:-1], axis=1)
                for number, own in zip(many, found, strict=True):
                    sums[number][here] = own
        return sums

    def worst_sums(self, clusters: IntArray, terms: IntArray, taken: IntArray) -> IntArray:
        """Sums of the first rows of every replicate, (R, n); see `Draws.worst_sums`."""
        return first_sums(self.counts, clusters, terms, taken)

    def _slices(self) -> Iterator[slice]:
        step = max(8, min(REPLICATES_AT_ONCE, FACTORS_AT_ONCE // self.clusters))
        for start in range(0, len(self), step):
            yield slice(start, min(start + step, len(self)))


def _spread(drawn: IntArray, totals: IntArray, clusters: int) -> IntArray:
    """Sums of all clusters, (cluster, n), from those of some."""
    if len(drawn) == clusters:
        return totals
    every = np.zeros((clusters, totals.shape[1]), np.int64)
    every[drawn] = totals
    return every


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """The dataset without one of its clusters, for clusters `first` to `stop`.

    >>> draws = LeaveOneOut(clusters=2, first=0, stop=2)
    >>> draws.sums([Rows(np.array([0, 1, 1]), np.array([[5], [10], [1]]))])
    [array([[11],
           [ 5]])]
    >>> draws.worst_sums(np.array([1, 0, 1]), np.array([[1], [5], [10]]), np.array([2, 1]))
    array([[11],
           [ 5]])
    """

    clusters: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    @property
    def largest(self) -> int:
        """The most clusters that a replicate is made of."""
        return self.clusters

    def sums(self, parts: Sequence[Rows]) -> list[IntArray]:
        """Sums of every replicate over the rows of each part; see `Draws.sums`."""
        return [self._sums(*part) for part in parts]

    def _sums(self, clusters: IntArray, terms: IntArray) -> IntArray:
        left_out, totals = cluster_sums(clusters, terms)
        here = (left_out >= self.first) & (left_out < self.stop)
        sums = np.tile(terms.sum(axis=0, dtype=np.int64), (len(self), 1))
        sums[left_out[here] - self.first] -= totals[here]
        return sums

    def worst_sums(self, clusters: IntArray, terms: IntArray, taken: IntArray) -> IntArray:
        """Sums of the first rows of every replicate, (R, n); see `Draws.worst_sums`."""
        grouped = np.argsort(clusters, kind="stable")
        every = len(clusters) + 1
        keys = clusters[grouped] * every + grouped
        left_out = np.arange(self.first, self.stop) * every
        starts = np.searchsorted(keys, left_out)
        # Among the first rows some are of the cluster that is left out: as many more are taken.
        ends = taken
        own = np.searchsorted(keys, left_out + ends) - starts
        while (ends < taken + own).any():
            ends = taken + own
            own = np.searchsorted(keys, left_out + ends) - starts
        running, own_running = _running(terms), _running(terms[grouped])
        return np.asarray(running[ends] - (own_running[starts + own] - own_running[starts]))


def _running(terms: IntArray) -> IntArray:
    running = np.zeros((len(terms) + 1, terms.shape[1]), np.int64)
    np.cumsum(terms, axis=0, out=running[1:])
    return running


def cluster_sums(clusters: IntArray, terms: IntArray) -> tuple[IntArray, IntArray]:
    """The clusters that there are, and the sums of their rows (cluster, n).

    Args:
        clusters: int64 (row,), ascending.
        terms: int64 (row, n).

    >>> cluster_sums(np.array([0, 2, 2]), np.array([[1], [2], [3]]))
    (array([0, 2]), array([[1], [5]]))
    """
    starts = np.flatnonzero(np.diff(clusters, prepend=-1))
    if len(starts) == len(clusters):
        return clusters, terms
    return clusters[starts], np.add.reduceat(terms, starts, axis=0)


@dataclass(frozen=True, eq=False)
class Digits:
    """Integers, ready to be multiplied by multiplicities: exactly, although it is floats that are multiplied.

    They are cut into digits so small that no sum of products passes 2^53: below that float64 rounds nothing,
    in whatever order a library adds.

    Attributes:
        columns: n, how many integers a row has.
        digits: (columns that have such a digit, float64 (these, row), what the digit is worth), the lowest
            digits first.

    >>> Digits.of(np.array([[2**59 + 1], [-1]]), largest=4).product(np.array([[1.0], [3.0]])).tolist()
    [[576460752303423486]]
    """

    columns: int
    digits: list[tuple[IntArray, FloatArray, int]]

    @classmethod
    def of(cls, terms: IntArray, largest: int) -> Digits:
        """The digits of integers.

        Args:
            terms: int64 (row, n).
            largest: what no column of the factors adds up to more than; times the largest term below 2^62.
        """
        bits = EXACT_BITS - int(largest).bit_length()
        digits: list[tuple[IntArray, FloatArray, int]] = []
        columns, rest, unit = np.arange(terms.shape[1]), np.ascontiguousarray(terms.T), 1
        while len(columns):
            more = np.abs(rest).max(axis=1, initial=0) >> bits > 0
            lowest = np.where(more[:, None], rest & ((1 << bits) - 1), rest)
            digits.append((columns, lowest.astype(np.float64), unit))
            columns, rest, unit = columns[more], rest[more] >> bits, unit << bits
        return cls(terms.shape[1], digits)

    def product(self, factors: FloatArray) -> IntArray:
        """Sums of the integers, each row as often as the factors say.

        Args:
            factors: (row, R), whole numbers, none negative.

        Returns:
            int64 (R, n).
        """
        sums = np.zeros((self.columns, factors.shape[1]), np.int64)
        for columns, digits, unit in self.digits:
            sums[columns] += (digits @ factors).astype(np.int64) * unit
        return sums.T


def numbered(values: NDArray[np.generic] | list[str]) -> IntArray:
    """The number of the value of each image among all different values, sorted: the clusters of `values`.

    >>> numbered(["b", "a", "b"])
    array([1, 0, 1])
    """
    _, numbers = np.unique(np.asarray(values), return_inverse=True)
    return numbers.astype(np.int64)


def bootstrap_counts(clusters: int, seed: int, replicates: range) -> CountArray:
    """How often each cluster is in each of some replicates, (cluster, R): as many draws as clusters.

    Args:
        clusters: how many there are, one at least.
        seed: 0 to 2^64 - 1.
        replicates: their numbers.

    >>> bootstrap_counts(4, 0, range(3)).sum(axis=0)
    array([4, 4, 4], dtype=uint64)
    """
    counts = np.empty((len(replicates), clusters), np.uint16)
    for row, replicate in enumerate(replicates):
        # 53 random bits as a number below 1; times the number of clusters it is still below that.
        share = (_random(seed, _BOOTSTRAP, replicate, clusters) >> np.uint64(11)) * 2.0**-53
        counts[row] = np.bincount((share * clusters).astype(np.int64), minlength=clusters)
    return np.ascontiguousarray(counts.T)


def _random(seed: int, stream: int, replicate: int, number: int) -> NDArray[np.uint64]:
    """Random words of a replicate; NumPy keeps the raw stream of a bit generator the same for ever."""
    generator = np.random.Philox(counter=[0, 0, 0, replicate], key=[seed, stream])
    return np.asarray(generator.random_raw(number), np.uint64)


def bootstrap(clusters: int, seed: int, replicates: int, bytes_each: int = 1) -> Iterator[Multiplicities]:
    """All replicates of a bootstrap, some at a time.

    Args:
        clusters, seed: as in `bootstrap_counts`.
        replicates: how many.
        bytes_each: what the caller holds of a replicate.
    """
    for numbers in _passes(replicates, max(2 * clusters, bytes_each)):
        yield Multiplicities(bootstrap_counts(clusters, seed, numbers), largest=clusters)


def leave_one_out(clusters: int, bytes_each: int = 1) -> Iterator[LeaveOneOut]:
    """The dataset without each of its clusters, some at a time."""
    for numbers in _passes(clusters, bytes_each):
        yield LeaveOneOut(clusters, numbers.start, numbers.stop)


def whole(clusters: int) -> Multiplicities:
    """The dataset itself as its only replicate."""
    return Multiplicities(np.ones((clusters, 1), np.uint16), largest=clusters)


def _passes(replicates: int, bytes_each: int) -> Iterator[range]:
    step = max(1, COUNTS_BYTES // bytes_each)
    for start in range(0, replicates, step):
        yield range(start, min(start + step, replicates))


def swaps(clusters: int, seed: int, replicates: int, bytes_each: int = 1) -> Iterator[CountArray]:
    """Which clusters are swapped between two datasets, (cluster, R) of 0 and 1, some replicates at a time.

    The first replicate swaps none. Where there are no more than `replicates` ways to swap, each of them is
    there once; else there are `replicates` random ones after the first.
    """
    every = clusters < 63 and 1 << clusters <= replicates
    for numbers in _passes(1 << clusters if every else replicates + 1, max(2 * clusters, bytes_each)):
        make = _binary if every else _flips
        octets = np.stack([make(number, clusters, seed) for number in numbers]).astype("<u8").view(np.uint8)
        flags = np.unpackbits(octets, axis=1, count=clusters, bitorder="little")
        yield np.ascontiguousarray(flags.T, np.uint16)


def _binary(number: int, clusters: int, seed: int) -> NDArray[np.uint64]:
    return np.array([number], np.uint64)


def _flips(number: int, clusters: int, seed: int) -> NDArray[np.uint64]:
    words = -(-clusters // 64)
    return _random(seed, _SIGN_FLIPS, number, words) if number else np.zeros(words, np.uint64)
