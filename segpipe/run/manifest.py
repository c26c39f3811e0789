"""MANIFEST.json, the last file of a run: without it a run is half-written, and nobody opens it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from segpipe.counts.partials import write_atomically
from segpipe.errors import InputError, Problem
from segpipe.run.log import LOG_NAME
from segpipe.run.record import RUN_NAME

MANIFEST_NAME = "MANIFEST.json"
SCHEMA = 1
_ADVICE = "the run is not as it was published; evaluate again: what was counted is kept, so this is quick"


def write_manifest(folder: str | Path) -> Path:
    """List every file of a run with its size and hash, and so declare the run finished.

    run.json and log.jsonl are left out: they go on after this. The file appears whole or not at all, so a
    run that is killed before stays invisible.
    """
    root = Path(folder)
    files = {str(PurePosixPath(path.relative_to(root))): _entry(path) for path in _files(root)}
    path = root / MANIFEST_NAME
    document = {"schema": SCHEMA, "files": files}
    write_atomically(
        path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    )
    return path


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        own = path.parent == root and path.name in (MANIFEST_NAME, RUN_NAME, LOG_NAME)
        if path.is_file() and not own and not path.name.startswith("."):
            yield path


def _entry(path: Path) -> dict[str, Any]:
    digest = blake2b(digest_size=20)
    size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "blake2b": digest.hexdigest()}


def check_manifest(folder: str | Path, *, hashes: bool = False) -> None:
    """Hold the files of a run against its manifest.

    Args:
        folder: the run.
        hashes: read every file and compare its hash too, not only its size.

    Raises:
        InputError: there is no manifest, it cannot be read, or files are missing or differ (all listed).
    """
    root = Path(folder)
    files = _listed(root)
    problems = [
        problem for name in sorted(files) for problem in _differences(root, name, files[name], hashes)
    ]
    if problems:
        raise InputError(problems)


def _listed(root: Path) -> dict[str, dict[str, Any]]:
    try:
        document = json.loads((root / MANIFEST_NAME).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in document["files"].items()}
        schema = document["schema"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        found = f"{MANIFEST_NAME} that cannot be read ({type(error).__name__}: {error})"
        raise InputError(Problem(kind="manifest", found=found, store=str(root), advice=_ADVICE)) from None
    if schema != SCHEMA:
        found, expected = f"schema {schema!r} of {MANIFEST_NAME}", f"{SCHEMA}"
        advice = "open the run with the version of segpipe that wrote it"
        raise InputError(
            Problem(kind="manifest", found=found, expected=expected, store=str(root), advice=advice)
        )
    return files


def _differences(root: Path, name: str, entry: dict[str, Any], hashes: bool) -> Iterator[Problem]:
    path = root / name
    if not path.is_file():
        yield _problem(root, name, "no such file", f"{entry.get('bytes')} bytes")
    elif path.stat().st_size != entry.get("bytes"):
        yield _problem(root, name, f"{path.stat().st_size} bytes", f"{entry.get('bytes')} bytes")
    elif hashes and _entry(path) != entry:
        yield _problem(root, name, "other contents", "the contents that were published")


def _problem(root: Path, name: str, found: str, expected: str) -> Problem:
    return Problem(
        kind="run file", found=f"{name}: {found}", expected=expected, store=str(root), advice=_ADVICE
    )
