"""Whether a store of predictions is ready to be evaluated: its writer may still be at work."""

from __future__ import annotations

import time
from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from segpipe.config import SideConfig
from segpipe.errors import ConfigError, InputError
from segpipe.sources.completeness import declared_complete
from segpipe.sources.patterns import Pattern
from segpipe.sources.storage import open_storage
from segpipe.values import Frozen


class ReadyRule(Frozen):
    """What tells that a store is finished.

    Attributes:
        by: `record`: the store says so itself (`segpipe.PredictionWriter` and `segpipe import` see to it);
            `marker`: an object that lies there when it is; `quiet`: nothing in it changed for a while.
        marker: the address of that object, with {model} and {date}.
        minutes: for how long nothing must have changed.
    """

    by: Literal["record", "marker", "quiet"] = "record"
    marker: str | None = None
    minutes: float = Field(default=30.0, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _marker_where_it_belongs(self) -> ReadyRule:
        if (self.by == "marker") != (self.marker is not None):
            message = "by: marker and the address of the marker, marker: .../{date}/_SUCCESS, belong together"
            raise ValueError(message)
        if self.marker is not None:
            try:
                Pattern(self.marker)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return self


def why_not_ready(rule: ReadyRule, pred: SideConfig, model: str, day: date | None) -> str:
    """Why a store is not ready yet, in words; empty: it is.

    Raises:
        InfrastructureError: it cannot be told: the service does not answer.
    """
    try:
        if rule.marker is not None:
            return _without_marker(Pattern(rule.marker).fill(model, day))
        return _unfinished(pred) if rule.by == "record" else _restless(pred.store, rule.minutes)
    except InputError as error:
        return f"it cannot be read: {error.problems[0].sentence()}"


def _without_marker(address: str) -> str:
    path, mark, options = address.partition("?") if "://" in address else (address, "", "")
    folder, slash, name = path.rpartition("/")
    there = open_storage((folder or (slash or ".")) + mark + options).get(name, 0, 0)
    return "" if there else f"there is no {path}"


def _unfinished(pred: SideConfig) -> str:
    complete = declared_complete(open_storage(pred.store), pred.array)
    if complete is None:
        return "it has no record of completeness; if another tool writes it, say ready: {by: marker} or quiet"
    return "" if complete else "its writer has not finished"


def _restless(store: str, minutes: float) -> str:
    objects = open_storage(store).list()
    if not objects:
        return "it is empty"
    silent = (time.time_ns() - max(info.modified_ns for info in objects.values())) / 60e9
    return "" if silent >= minutes else f"it changed {max(silent, 0):.1f} minutes ago (of {minutes:g})"
