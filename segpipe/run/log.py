"""What happened in a run, line by line: log.jsonl in its folder, and Python's logger `segpipe` for others."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError

LOG_NAME = "log.jsonl"
FORMAT_VARIABLE = "SEGPIPE_LOG"
FORMATS = ("text", "json")

LOGGER = logging.getLogger("segpipe")
# Who wants to see the events adds a handler; the logger itself prints nothing.
LOGGER.addHandler(logging.NullHandler())


def log_event(run: Path, event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Note an event of a run, in its folder and at the logger.

    Args:
        run: the folder of the run.
        event: what happened, in a few words that stay the same: `stage began`, `bucket counted`.
        level: of `logging`.
        fields: where and how much, as plain values: bucket, image, pixels, seconds.
    """
    known = {"event": event, "suite": run.parts[-4], "model": run.parts[-3], "run": run.name, **fields}
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "level": logging.getLevelName(level).lower(), **known}, default=str)
    # A disk that is full shall not end a run for its log; what has to be written says so itself.
    with suppress(OSError), (run / LOG_NAME).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    LOGGER.log(level, "%s", _sentence(known), extra={"segpipe": known})


def _sentence(known: Mapping[str, Any]) -> str:
    """An event for people.

    >>> _sentence({"event": "bucket counted", "run": "000007", "suite": "s", "model": "m", "bucket": 3})
    's/m 000007: bucket counted (bucket 3)'
    """
    plain = ("event", "suite", "model", "run")
    facts = ", ".join(f"{name} {value}" for name, value in known.items() if name not in plain)
    where = f"{known['suite']}/{known['model']} {known['run']}"
    return f"{where}: {known['event']}" + (f" ({facts})" if facts else "")


class JsonLines(logging.Formatter):
    """One JSON object for each record: the fields of an event, or the message of another logger."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        known = getattr(record, "segpipe", None) or {"event": record.getMessage(), "logger": record.name}
        return json.dumps({"time": time, "level": record.levelname.lower(), **known}, default=str)


def log_format() -> str | None:
    """The format that SEGPIPE_LOG asks for; None: no log on the error stream.

    Raises:
        ConfigError: there is no such format.
    """
    wanted = os.environ.get(FORMAT_VARIABLE, "")
    if wanted and wanted not in FORMATS:
        message = f"{FORMAT_VARIABLE}: found {wanted!r}, expected one of {', '.join(FORMATS)}"
        raise ConfigError(message)
    return wanted or None


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Events and warnings on the error stream while a command runs, where SEGPIPE_LOG asks for them."""
    wanted = log_format()
    if wanted is None:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonLines() if wanted == "json" else text)
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
