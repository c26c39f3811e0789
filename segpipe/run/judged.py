"""gates.json: the verdicts that a run is published with."""

from __future__ import annotations

import json
from pathlib import Path

from segpipe.errors import InputError, Problem
from segpipe.metrics.gates import GateReport

GATES_NAME = "gates.json"


def stored_gates(run: Path) -> GateReport | None:
    """The verdicts of a run; None if it was not judged.

    Raises:
        InputError: they cannot be read.
    """
    path = run / GATES_NAME
    if not path.is_file():
        return None
    try:
        return GateReport.from_document(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        found = f"{GATES_NAME} that cannot be read ({type(error).__name__}: {error})"
        raise InputError(Problem(kind="run", found=found, store=str(run))) from None
