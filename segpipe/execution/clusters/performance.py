"""Dask's report on what its workers did, as one page: where time went, task by task and line by line."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import CancelledError
from importlib.util import find_spec
from time import time
from typing import Any

import distributed

from segpipe.errors import ConfigError, InfrastructureError
from segpipe.execution.clusters.starting import error_words

DRAWN_S = 120.0
"""How long the scheduler may take to draw the page."""

CODE = "segpipe.run.stages.count"
"""What the page calls the calling code. Dask would print the source of the user's script or notebook."""

POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    'font-src data:">'
)
"""What is drawn stands in the page itself: a browser that follows this asks nobody for anything."""

ELSEWHERE = re.compile(r'<(?:link|script|img)\b[^>]*\b(?:href|src)="(?:https?:)?//[^>]*>(?:</script>)?')


def recording(client: distributed.Client) -> Callable[[], str]:
    """Begin to record what a cluster does, and give what makes the page.

    Raises:
        ConfigError: the scheduler has no Bokeh, which draws it.
        InfrastructureError: the scheduler does not answer; of the function: it cannot draw the page.
    """
    try:
        # By its own clock, which need not be ours.
        drawn, start, count = client.run_on_scheduler(
            lambda dask_scheduler: (find_spec("bokeh") is not None, time(), dask_scheduler.monitor.count)
        )
        # What is asked for nothing: the scheduler keeps tasks from now on.
        client.get_task_stream(start=0, stop=0)
    except (OSError, TimeoutError, CancelledError) as error:
        message = f"the scheduler does not answer ({error_words(error)})"
        raise InfrastructureError(message) from error
    if not drawn:
        message = (
            "performance_report needs the extra where the scheduler runs: pip install 'segpipe[performance]'"
        )
        raise ConfigError(message)
    return lambda: _page(client, start=start, last_count=count)


def _page(client: distributed.Client, **since: float) -> str:
    scheduler: Any = client.scheduler
    try:
        drawn: str = client.sync(
            scheduler.performance_report, **since, code=CODE, mode="inline", callback_timeout=DRAWN_S
        )
    except Exception as error:
        message = f"Dask's performance report could not be made ({error_words(error)})"
        raise InfrastructureError(message) from error
    return self_contained(drawn)


def self_contained(page: str) -> str:
    """A page without what it would load from elsewhere, and that forbids its scripts to.

    >>> page = self_contained('<head><link rel="icon" href="https://dask.org/x.ico" /></head>')
    >>> page.startswith("<head><meta http-equiv="), "dask.org" in page
    (True, False)
    """
    head, end, rest = ELSEWHERE.sub("", page).partition("<head>")
    return f"{head}{end}{POLICY}{rest}"
