"""What two runs differ in that should be the same where their scores are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segpipe.classes import ClassList
from segpipe.counts.results import ResultsReader
from segpipe.errors import Problem, first_of
from segpipe.run.opened import Run
from segpipe.run.record import run_config
from segpipe.run.truth import changed_truth
from segpipe.statistics.base import Statistic

SHOWN_IDS = 5
"""How many images a message names."""

SCORING = ("absent_class", "invalid_pred", "exclude_classes", "present", "worst_percent", "image_weights")
"""The rules that make scores of two runs differ where the counts do not."""

COMMON = "or compare what they have in common: common=True, --common"


@dataclass(frozen=True)
class Obstacles:
    """What two runs differ in that should be the same.

    Attributes:
        fatal: what no choice of images and classes helps against.
        avoidable: what the common part does not have.
        ids: the images of both runs whose truth did not change.
        classes: that both runs have, in the order of A.
    """

    fatal: list[Problem]
    avoidable: list[Problem]
    ids: set[str]
    classes: ClassList

    @classmethod
    def of(cls, a: Run, b: Run) -> Obstacles:
        """Look at everything that decides what was counted and how it is scored."""
        ids = [set(run.results.ids()) for run in (a, b)]
        both = ids[0] & ids[1]
        changed = changed_truth(a.path, b.path) & both
        names = [run.results.classes.names for run in (a, b)]
        shared = [at for at, name in enumerate(names[0]) if name in names[1]]
        avoidable = [
            *_images_missing(ids),
            *_classes_missing(names),
            *_rules_differ(a, b),
            *_truth_changed(a, b, changed),
        ]
        fatal = [*_meanings_differ(a, b), *_pixel_weights_differ(a, b), *_small_objects_differ(a, b)]
        return cls(fatal, avoidable, both - changed, _chosen_classes(a, shared))


@dataclass(frozen=True)
class CommonStatistics:
    """The statistics that two runs counted alike.

    Attributes:
        statistics: those of run A.
        left_out: why others cannot be compared, in sentences.
    """

    statistics: tuple[Statistic, ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, a: Run, b: Run, asked: set[str] | None = None) -> CommonStatistics:
        """Look at the statistics of two runs; `asked` are names of figures, None: all."""
        ours, theirs = ({one.full_name: one for one in run.results.statistics} for run in (a, b))
        wanted = {
            name
            for name, one in {**theirs, **ours}.items()
            if asked is None or not asked.isdisjoint(one.figures)
        }
        why = {name: _not_alike(a, b, ours.get(name), theirs.get(name)) for name in sorted(wanted)}
        return cls(
            statistics=tuple(one for name, one in ours.items() if name in wanted and not why[name]),
            left_out=tuple(f"{name}: {reason}" for name, reason in why.items() if reason),
        )


def groups_left_out(a: Run, b: Run) -> list[str]:
    """Why groups of classes are not compared, as a sentence; empty if they are, or if no run has any."""
    ours, theirs = (run.results.classes for run in (a, b))
    if not (ours.groups or theirs.groups):
        return []
    if ours.names != theirs.names:
        return ["groups of classes: they are of other classes"]
    if ours.groups != theirs.groups:
        return ["groups of classes: they are not the same in both runs"]
    return []


def _not_alike(a: Run, b: Run, ours: Statistic | None, theirs: Statistic | None) -> str:
    """Why a statistic of two runs cannot be compared; empty if it can."""
    if ours is None or theirs is None:
        return f"only run {'B' if ours is None else 'A'} counted it"
    if ours.identity != theirs.identity:
        pairs = [one.model_dump(mode="json") for one in (ours, theirs)]
        other = [
            f"{name} is {value} in run A, {pairs[1].get(name)} in run B"
            for name, value in pairs[0].items()
            if value != pairs[1].get(name)
        ]
        return ", ".join(other) or f"{ours.kind} in run A, {theirs.kind} in run B"
    if a.results.classes.names != b.results.classes.names:
        return "counted over other classes"
    if "other" in ours.needs and run_config(a.path).other_pred != run_config(b.path).other_pred:
        return "the second predictions (other_pred) are not the same"
    return ""


def _chosen_classes(run: Run, chosen: list[int]) -> ClassList:
    own = run.results.classes
    colors = tuple(own.colors[at] for at in chosen) if own.colors else ()
    return ClassList(tuple(own.names[at] for at in chosen), colors)


def _listed(names: Sequence[str]) -> str:
    return first_of(names[:SHOWN_IDS], len(names))


def _images_missing(ids: list[set[str]]) -> Iterator[Problem]:
    for name, own, others in (("A", ids[0], ids[1]), ("B", ids[1], ids[0])):
        only = sorted(own - others)
        if only:
            found = f"{len(only):,} images that only run {name} has: {_listed(only)}"
            yield Problem(kind="images", found=found, advice=f"evaluate the same images, {COMMON}")


def _classes_missing(names: list[tuple[str, ...]]) -> Iterator[Problem]:
    if names[0] == names[1]:
        return
    only = {
        name: [one for one in own if one not in others]
        for name, own, others in (("A", names[0], names[1]), ("B", names[1], names[0]))
    }
    words = [f"only in run {name}: {_listed(own)}" for name, own in only.items() if own]
    found = f"other classes ({'; '.join(words) or 'in another order'})"
    yield Problem(kind="classes", found=found, advice=f"evaluate with the same class list, {COMMON}")


def _rules_differ(a: Run, b: Run) -> Iterator[Problem]:
    ours, theirs = (run.results.rules.document() for run in (a, b))
    for key in SCORING:
        if ours[key] != theirs[key]:
            found = f"{key}: {_shown(ours[key])} in run A, {_shown(theirs[key])} in run B"
            yield Problem(kind="rules", found=found, advice=f"evaluate under the same rules, {COMMON}")
    if ours["image_weights"] is not None and ours["image_weights"] == theirs["image_weights"]:
        yield from _weights_differ(a, b, ours["image_weights"])


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _weights_differ(a: Run, b: Run, column: str) -> Iterator[Problem]:
    ours, theirs = (
        dict(zip(run.results.ids(), run.results.column(column).tolist(), strict=True)) for run in (a, b)
    )
    other = sorted(name for name in ours if name in theirs and ours[name] != theirs[name])
    if other:
        found = f"other weights ({column}) of {len(other):,} images: {_listed(other)}"
        yield Problem(kind="rules", found=found, advice=f"evaluate with the same weights, {COMMON}")


def _pixel_weights_differ(a: Run, b: Run) -> Iterator[Problem]:
    """Whether pixels have weights in one of the runs only: that was counted, and cannot be undone."""
    if a.results.weighted != b.results.weighted:
        having, other = ("A", "B") if a.results.weighted else ("B", "A")
        found = f"pixels have weights in run {having} and none in run {other}"
        advice = "evaluate both runs with the same array of weights, or both without"
        yield Problem(kind="weights", found=found, advice=advice)


def _small_objects_differ(a: Run, b: Run) -> Iterator[Problem]:
    """Whether other objects were too small to count: that was counted, too."""
    ours, theirs = (run_config(run.path).small_objects for run in (a, b))
    if ours != theirs:
        words = [
            "none"
            if one is None
            else ", ".join(f"{name} {value}" for name, value in one.model_dump().items())
            for one in (ours, theirs)
        ]
        found = f"small_objects: {words[0]} in run A, {words[1]} in run B"
        yield Problem(kind="small objects", found=found, advice="evaluate both runs with the same ones")


def _truth_changed(a: Run, b: Run, changed: set[str]) -> Iterator[Problem]:
    """That truth changed; and of how many images one can see it in the counts."""
    if not changed:
        return
    names, seen = sorted(changed), 0
    if a.results.classes.names == b.results.classes.names:
        sums = [_truth_pixels(run.results, changed) for run in (a, b)]
        seen = sum(sums[0][name] != sums[1][name] for name in names)
    found = (
        f"truth changed in {len(names):,} images: {_listed(names)} (what is stored of them was written "
        f"again; in {seen:,} of them the classes have other numbers of pixels)"
    )
    advice = (
        f"evaluate both runs on the same truth, {COMMON}; if truth was only copied, evaluate both runs with "
        "fingerprint: content"
    )
    yield Problem(kind="truth", found=found, advice=advice)


def _truth_pixels(results: ResultsReader, ids: set[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Of some images: the codes in truth and their pixels."""
    found = {}
    for block in results.blocks():
        wanted = [at for at, name in enumerate(block.ids) if name in ids]
        matrices = block.cells.take(wanted)
        for place, at in enumerate(wanted):
            part = slice(matrices.offsets[place], matrices.offsets[place + 1])
            codes, where = np.unique(matrices.truth_codes[part], return_inverse=True)
            sums = np.zeros(len(codes), np.int64)
            np.add.at(sums, where, matrices.counts[part])
            found[block.ids[at]] = tuple(zip(codes.tolist(), sums.tolist(), strict=True))
    return found


def _meanings_differ(a: Run, b: Run) -> Iterator[Problem]:
    """Whether one raw value of truth means two things: that was counted, and cannot be undone."""
    meanings = []
    for run in (a, b):
        rules, names = run_config(run.path).rules("truth"), run.results.classes.names
        words = (*names, "ignored")
        meanings.append({value: words[code] for value, code in rules.codes.items()})
    common = {name for name in meanings[0].values() if name in meanings[1].values()} | {"ignored"}
    other = [
        f"{value} is {ours} in run A, {theirs} in run B"
        for value in sorted({*meanings[0], *meanings[1]})
        for ours, theirs in [tuple(of.get(value, "no label") for of in meanings)]
        if ours != theirs and {ours, theirs} & common
    ]
    if other:
        found = f"label {_listed(other)}"
        advice = "evaluate both runs with the same classes, ignore_labels and remap of truth"
        yield Problem(kind="labels", found=found, side="truth", advice=advice)
