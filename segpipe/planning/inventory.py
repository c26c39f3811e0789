"""What lies in the stores: one listing each, and the images that the layout finds in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from segpipe.classes import LabelRules
from segpipe.config import ArrayConfig, EvaluationConfig, Labelled, Side, SideConfig
from segpipe.errors import InputError, Problem
from segpipe.sources.asked import ask_at_once
from segpipe.sources.completeness import only_written
from segpipe.sources.described import store_metadata
from segpipe.sources.layouts import ImageSet, find_images
from segpipe.sources.metadata import StoreView, view_store
from segpipe.sources.overlays import Overlay, find_overlay
from segpipe.sources.representations import expected_channels
from segpipe.sources.storage import content_hashed, open_storage
from segpipe.sources.weights import find_weights


@dataclass(frozen=True)
class Inventory:
    """The images of both sides and of what lies over them, with the objects that hold them.

    `metadata` is what the store of predictions says of itself, `metadata_left_out` names what is no metadata.
    """

    truth: ImageSet
    pred: ImageSet
    overlays: Mapping[str, Overlay] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metadata_left_out: Sequence[str] = ()

    @property
    def image_sets(self) -> dict[str, ImageSet]:
        """All that is read, by name: `truth`, `pred`, and the overlays."""
        over = {name: overlay.images for name, overlay in self.overlays.items()}
        return {"truth": self.truth, "pred": self.pred, **over}


def take_inventory(config: EvaluationConfig) -> Inventory:
    """List the stores (one store once, two at the same time) and find the images.

    Raises:
        InputError: with the problems of both sides; where there are none, with those of the overlays.
    """
    views: dict[str, Future[StoreView]] = {}
    found: list[ImageSet] = []
    problems: list[Problem] = []
    with ThreadPoolExecutor(2) as listing:
        for lies in (config.truth, config.pred, *config.overlays.values()):
            if lies.store not in views:
                views[lies.store] = listing.submit(_view, lies.store)
        sides: list[tuple[Side, SideConfig]] = [("truth", config.truth), ("pred", config.pred)]
        for side, settings in sides:
            try:
                view = views[settings.store].result()
                if settings.stored_as != view.stored_as:
                    view = replace(view, stored_as=settings.stored_as)
                images = only_written(view, find_images(config.layout, view, settings.array))
                problems += _channel_problems(images, side, config.rules(side))
                ask_at_once(images.objects, _unit_keys(images))
                problems += _unfinished(images) if side == "truth" else []
                found.append(_with_content(images, settings) if config.fingerprint == "content" else images)
            except InputError as error:
                problems += [replace(problem, side=side) for problem in error.problems]
        if problems:
            raise InputError(problems)
        truth, pred = found
        overlays = _overlays(config, views, truth)
        return Inventory(truth, pred, overlays, *store_metadata(views[config.pred.store].result(), pred))


def _overlays(
    config: EvaluationConfig, views: Mapping[str, Future[StoreView]], truth: ImageSet
) -> dict[str, Overlay]:
    """What lies over the images of truth, by name."""
    overlays: dict[str, Overlay] = {}
    problems: list[Problem] = []
    for name, lies in config.overlays.items():
        try:
            view = views[lies.store].result()
            if isinstance(lies, SideConfig):
                view = replace(view, stored_as=lies.stored_as)
            if name == "weights":
                found = find_weights(config.layout, view, lies.array, truth, config.truth.array)
            else:
                found = find_overlay(config.layout, view, lies.array, truth)
            if name == "other_pred":
                problems += _channel_problems(found.images, "other_pred", config.rules("other_pred"))
            ask_at_once(found.images.objects, _unit_keys(found.images))
            if config.fingerprint == "content":
                found = replace(found, images=_with_content(found.images, lies))
            overlays[name] = found
        except InputError as error:
            problems += [replace(problem, side=name) for problem in error.problems]
    if problems:
        raise InputError(problems)
    return overlays


def _channel_problems(images: ImageSet, side: Labelled, rules: LabelRules) -> list[Problem]:
    """Arrays whose channels are not those that have a class."""
    expected = {meta.path: expected_channels(meta, rules) for meta in images.arrays}
    return [
        Problem(
            kind="class axis",
            side=side,
            store=images.store,
            array=meta.path,
            found=f"{meta.shape[meta.class_axis or 0]} channels, axis {meta.class_axis} of {meta.shape}",
            expected=expected[meta.path],
            advice="say which channel is which class, with `remap: {0: road, 1: car}` beside `store`",
        )
        for meta in images.arrays
        if expected[meta.path]
    ]


def _unfinished(truth: ImageSet) -> list[Problem]:
    """Truth of which a part was never written would shrink the dataset without a word."""
    if not truth.never_written:
        return []
    absent = len(truth.never_written)
    return [
        Problem(
            kind="unfinished store",
            side="truth",
            store=truth.store,
            image=truth.never_written[0],
            found=f"{absent} of {absent + len(truth)} images that were never written, this one first",
            expected="all of them",
            advice="write the rest (the same `segpipe import` goes on where it was stopped)",
        )
    ]


def _view(store: str) -> StoreView:
    return view_store(open_storage(store))


def _with_content(images: ImageSet, settings: ArrayConfig) -> ImageSet:
    """The same images with the content of every chunk of label maps hashed."""
    stored = [key for key in _unit_keys(images) if key in images.objects]
    return replace(images, objects=content_hashed(open_storage(settings.store), images.objects, stored))


def _unit_keys(images: ImageSet) -> Iterator[str]:
    """The keys of all storage units of label maps, whether they are stored or not."""
    return (array.object_key(unit) for array in images.arrays for unit in array.units())
