"""Folders of image files to Zarr: what is to be imported, where it goes, and the part that a worker does."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError

from segpipe.config import Shade, make_config
from segpipe.errors import ConfigError, InputError, Problem
from segpipe.resources import config_text
from segpipe.values import Frozen, Label
from segpipe.writing.create import labels_of
from segpipe.writing.given import label_problems
from segpipe.writing.image_files import JPEG_ADVICE, READERS, Header, UnusableFile, read_header, read_pixels
from segpipe.writing.label_table import Color, LabelTable, color_table, file_problem
from segpipe.writing.prediction_store import Labels, Plan, PredictionStore, make_store, whole_images
from segpipe.writing.writer import PredictionWriter
from segpipe.yaml_files import parse_yaml, read_yaml

CHUNK_BYTES = 4 << 20
CHUNK_IMAGES = 64
"""Small images of one size share a chunk of about so many bytes, or of so many images."""

TASK_BYTES = 64 << 20
TASK_IMAGES = 256
"""What a worker imports at a time."""

HEADER_THREADS = 8
JPEGS = (".jpg", ".jpeg")


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class ImportRules(Frozen):
    """Which files are label maps, what their images are called, and what their values mean.

    Attributes:
        glob: patterns of the files' paths below the folder; `*` spans folders too. Empty: all PNG, TIFF, NPY.
        id: regular expression that finds the id in that path, in its first group if it has one. Empty: the
            path without its ending.
        classes: as in a configuration; None: any label is taken.
        no_class: labels besides the classes.
        remap: value of the files -> label.
        colors: label -> its colour [red, green, blue] or a list of colours, for files of colours; if none are
            given, the colours of the classes.
    """

    glob: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    id: str = ""
    classes: Any = None
    no_class: tuple[Label, ...] | None = None
    remap: dict[Label, Label] = Field(default={})
    colors: dict[Label, tuple[Shade, Shade, Shade] | tuple[tuple[Shade, Shade, Shade], ...]] = Field(
        default={}
    )

    def table(self) -> LabelTable:
        """Values and colours to labels.

        Raises:
            ConfigError: the classes are none, or the colours are of two labels.
        """
        if self.classes is None:
            return LabelTable(self.remap, color_table(self._shades()), Labels())
        labels = labels_of(self.classes, self.no_class or (), "truth")
        values = {"truth": "truth", "pred": "pred", "classes": self.classes}
        shades = make_config(values, source="classes").classes.colors
        # A colour that several classes share says nothing; where it occurs it is told as unknown.
        of_classes = {
            label: (shade,)
            for label, shade in zip(labels.ids, shades, strict=False)
            if shade and shades.count(shade) == 1
        }
        return LabelTable(self.remap, color_table(self._shades() or of_classes), labels)

    def _shades(self) -> dict[int, tuple[Color, ...]]:
        return {
            label: (shades,) if isinstance(shades[0], int) else shades
            for label, shades in self.colors.items()
        }


def import_rules(preset: str | None, given: Mapping[str, Any]) -> ImportRules:
    """The rules of a preset (a shipped name or a YAML file), with what is given in place of its own.

    Raises:
        ConfigError: there is no such preset, or a rule is wrong.
    """
    values: Any = {}
    if preset is not None:
        is_file = preset.endswith((".yaml", ".yml"))
        values = read_yaml(Path(preset)) if is_file else parse_yaml(config_text(f"imports/{preset}"))
    try:
        rules = ImportRules.model_validate({**values, **given})
        re.compile(rules.id)
    except (ValidationError, TypeError, re.error) as error:
        items = error.errors(include_url=False) if isinstance(error, ValidationError) else []
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in items] or [str(error)]
        if isinstance(error, re.error):
            lines = [f"id: {error.pattern!r} is no regular expression ({error})"]
        message = f"{preset or 'import'}: {'; '.join(lines)}"
        raise ConfigError(message) from None
    return rules


@dataclass(frozen=True)
class Picture:
    """A file that becomes one image."""

    path: str
    image: str
    header: Header

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.header.height * self.header.width


def find_pictures(folder: Path, rules: ImportRules) -> list[Picture]:
    """The files of a folder that are label maps, in the order of their paths; only their headers are read.

    Raises:
        InputError: everything that is wrong with them, at once.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise InputError(Problem(kind="folder", found=found, expected="a folder", store=str(folder)))
    problems: list[Problem] = []
    colored = bool(rules.table().colors)
    names = [name for name in _files(folder, problems) if _is_chosen(name, rules.glob)]
    if not names and not problems:
        raise InputError(_nothing(folder, rules))
    with ThreadPoolExecutor(HEADER_THREADS) as threads:
        looked = list(threads.map(lambda name: _picture(folder, name, rules, colored), names))
    problems += [each for each in looked if isinstance(each, Problem)]
    pictures = [each for each in looked if isinstance(each, Picture)]
    problems += _twice(pictures)
    if problems:
        raise InputError(problems)
    return pictures


def _files(folder: Path, problems: list[Problem]) -> Iterator[str]:
    """The paths of all files below a folder, relative to it, sorted; links lead nowhere else."""
    root = os.path.realpath(folder)
    found = []
    for parent, folders, files in os.walk(root, onerror=lambda error: problems.append(_unlistable(error))):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in [*files, *linked]:
            path = os.path.join(parent, name)
            if not _is_text(path):
                shown = path.encode(errors="backslashreplace").decode()
                problems.append(file_problem(shown, "", "a name that is no UTF-8", advice="rename the file"))
                continue
            real = os.path.realpath(path)
            if os.path.islink(path) and (not real.startswith(root + os.sep) or not os.path.isfile(real)):
                advice = "copy the files into the folder, or import the folder that they lie in"
                words = "a link that leads out of the folder, nowhere, or to a folder"
                problems.append(file_problem(path, "", words, advice=advice))
            elif os.path.isfile(path):
                found.append(os.path.relpath(path, root).replace(os.sep, "/"))
    yield from sorted(found)


def _is_text(path: str) -> bool:
    """Whether a path can be an id: bytes that are no UTF-8 cannot be written as text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unlistable(error: OSError) -> Problem:
    found = f"a folder that cannot be listed ({error.strerror})"
    return Problem(kind="folder", found=found, store=str(error.filename))


def _is_chosen(name: str, patterns: Sequence[str]) -> bool:
    if patterns:
        return any(fnmatchcase(name, pattern) for pattern in patterns)
    return name.lower().endswith(tuple(READERS)) and "/." not in f"/{name}"


def _nothing(folder: Path, rules: ImportRules) -> Problem:
    jpegs = sum(1 for name in _files(folder, []) if name.lower().endswith(JPEGS))
    sought = ", ".join(rules.glob or (f"*{ending}" for ending in READERS))
    found = f"no file like {sought}" + (f", but {jpegs} JPEG images" if jpegs else "")
    return Problem(
        kind="folder",
        found=found,
        expected="label maps, one file for each image",
        store=str(folder),
        advice=JPEG_ADVICE if jpegs else "say which files are label maps, such as --glob '*_labels.png'",
    )


def _picture(folder: Path, name: str, rules: ImportRules, colored: bool) -> Picture | Problem:
    path = str(folder / name)
    match = re.search(rules.id, name) if rules.id else None
    if rules.id and match is None:
        return file_problem(path, "", f"the path {name!r}, in which {rules.id!r} finds no id")
    image = match[match.re.groups > 0] if match else name.rpartition(".")[0]
    try:
        header = read_header(folder / name)
    except UnusableFile as why:
        return file_problem(path, image or "", why.found, why.expected, why.advice)
    if header.channels > 1 and not colored:
        found = f"{header.channels} channels, a colour for each pixel"
        advice = (
            "say which colour is which label: classes with colours, or a table (`colors`) in a preset file"
        )
        return file_problem(path, image or "", found, "one label for each pixel", advice)
    return Picture(path, image or "", header)


def _twice(pictures: Sequence[Picture]) -> Iterator[Problem]:
    counts = Counter(picture.image for picture in pictures)
    for picture in pictures:
        if counts[picture.image] > 1:
            found = f"an id that {counts[picture.image]} files have"
            yield file_problem(picture.path, picture.image, found, "an id for each", "give another --id")


def plan_import(pictures: Sequence[Picture], table: LabelTable) -> Plan:
    """One array where all images have one size, else one for each image."""
    sizes = [(picture.header.height, picture.header.width) for picture in pictures]
    plain = sorted({picture.header.dtype for picture in pictures if picture.header.channels == 1})
    dtype = table.dtype(plain, colored=any(picture.header.channels > 1 for picture in pictures))
    image_bytes = sizes[0][0] * sizes[0][1] * dtype.itemsize
    together = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // image_bytes, len(sizes)))
    ids = [picture.image for picture in pictures]
    return Plan(ids, sizes, whole_images(sizes, together), table.labels, dtype, stacked=len(set(sizes)) == 1)


def open_import(folder: Path, plan: Plan) -> PredictionWriter:
    """The store of an import: made, or gone on with if it was begun from the same files.

    Raises:
        InputError: it holds something else.
    """
    if not folder.exists():
        make_store(folder, plan)
        return PredictionWriter(folder)
    store = PredictionStore(folder)
    sizes = [store.size(position) for position in range(len(store.ids))]
    there = (sorted(zip(store.ids, sizes, strict=True)), store.labels, store.dtype, store.stacked)
    wanted = (sorted(zip(plan.ids, plan.sizes, strict=True)), plan.labels, plan.dtype, plan.stacked)
    if there == wanted:
        return PredictionWriter(folder)
    what = [
        f"{name} differ"
        for name, old, new in zip(
            ("ids and sizes", "classes", "dtypes", "layouts"), there, wanted, strict=True
        )
        if old != new
    ]
    found = f"a store of {len(store.ids)} images that was begun from other files or rules ({', '.join(what)})"
    advice = "import to a new store, or remove this one first"
    raise InputError(Problem(kind="store", found=found, store=str(folder), advice=advice))


def changed_since(writer: PredictionWriter, pictures: Sequence[Picture]) -> set[str]:
    """The images whose files were changed, or put there, after the store was begun: they are read again."""
    changed = set()
    for picture in pictures:
        status = os.stat(picture.path)
        if max(status.st_mtime_ns, status.st_ctime_ns) >= writer.begun_ns:
            changed.add(picture.image)
    return changed


def batches(
    writer: PredictionWriter, pictures: Sequence[Picture], left: Collection[str]
) -> Iterator[tuple[Picture, ...]]:
    """The images that are to be imported, `left`, in tasks of whole storage units."""
    by_image = {picture.image: picture for picture in pictures}
    batch: list[Picture] = []
    size = 0
    for names in writer.row_ids():
        row = [by_image[name] for name in names if name in left]
        size += sum(picture.header.nbytes for picture in row)
        batch += row
        if size >= TASK_BYTES or len(batch) >= TASK_IMAGES:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


@dataclass(frozen=True)
class Batch:
    """What a worker imported: images that were written and read back, and what was wrong."""

    images: int = 0
    pixels: int = 0
    stored_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


def import_batch(store: str, run: str, table: LabelTable, pictures: Sequence[Picture]) -> Batch:
    """Read files, write their label maps, read them back.

    Args:
        store: the folder of the store.
        run: a name that differs for every import; workers keep the store open under it.
        table: values and colours to labels.
        pictures: the files, whole storage units of them.
    """
    writer = _opened(store, run)
    problems: list[Problem] = []
    done: list[Picture] = []
    for names in _rows(writer, pictures):
        maps = {}
        for picture in names:
            labelled, wrong = _label_map(picture, table)
            problems += wrong
            if labelled is not None:
                maps[picture.image] = labelled
        try:
            writer.write(list(maps), list(maps.values()))
        except InputError as error:
            problems += error.problems
            continue
        done += [picture for picture in names if picture.image in maps]
    damaged = writer.damaged(picture.image for picture in done)
    problems += [file_problem(store, name, "other pixels in the store than in the file") for name in damaged]
    sizes = [os.path.getsize(picture.path) for picture in done]
    return Batch(len(done), sum(picture.pixels for picture in done), sum(sizes), problems)


def _rows(writer: PredictionWriter, pictures: Sequence[Picture]) -> Iterator[list[Picture]]:
    """The pictures that share a storage unit, together."""
    rows: dict[int, list[Picture]] = {}
    for picture in pictures:
        rows.setdefault(writer.row_of(picture.image), []).append(picture)
    yield from rows.values()


def _label_map(picture: Picture, table: LabelTable) -> tuple[Any, list[Problem]]:
    """The label map of a file, or why there is none."""
    try:
        labelled, unknown = table.apply(read_pixels(Path(picture.path)))
    except UnusableFile as why:
        return None, [file_problem(picture.path, picture.image, why.found, why.expected, why.advice)]
    if unknown:
        advice = "add them to the table of colours or values (`colors`, `remap`), or mend the files"
        expected = "colours and values that the table has"
        return None, [file_problem(picture.path, picture.image, unknown, expected, advice)]
    size = (picture.header.height, picture.header.width)
    if labelled.shape != size:
        return None, [file_problem(picture.path, picture.image, "another size than before", str(size))]
    problems = label_problems(picture.image, labelled, table.labels)
    if problems:
        found = problems[0].found
        advice = "say which labels take no part (--no-class 255), or name the right classes"
        return None, [file_problem(picture.path, picture.image, found, problems[0].expected, advice)]
    return np.asarray(labelled), []


@lru_cache(maxsize=1)
def _opened(store: str, run: str) -> PredictionWriter:
    """One writer for all tasks of an import in this process."""
    return PredictionWriter(store)
