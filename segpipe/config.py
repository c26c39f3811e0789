"""The configuration of an evaluation: plain values in, one frozen model out, mistakes named by their keys."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from segpipe.classes import MAX_CLASSES, ClassGroup, ClassList, LabelRules, class_id
from segpipe.criteria import LATEST, GateConfig, IntervalRules, SliceConfig
from segpipe.errors import ConfigError
from segpipe.mistakes import mistakes
from segpipe.query import Query
from segpipe.resources import config_text
from segpipe.values import FOLDER_NAME, ClassRef, Frozen, Label, no_truth_value
from segpipe.yaml_files import parse_yaml, read_yaml

Side = Literal["truth", "pred"]
Labelled = Literal["truth", "pred", "other_pred"]
"""What holds label maps: the two sides, and a second prediction."""
SIDES: tuple[Side, Side] = ("truth", "pred")
OVERLAYS = ("valid", "weights", "other_pred")
"""Keys that each name an array which lies over the label maps of truth pixel by pixel."""

PARTIALS_FOLDER = "partials"
"""The folder of partial counts, beside those of the suites."""

STORE_OPTIONS = re.compile(r"profile=[^&=]+|anonymous=true")
"""What may follow the question mark in the address of a store: the name of a secret, never one itself."""

MAX_METADATA = 500
"""Letters of a value of `metadata`."""

MAX_BASES = 4
"""How many class files may build upon one another."""


def _day(value: Any) -> Any:
    """A day as YAML or JSON give it; pydantic would take a number for seconds since 1970."""
    if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        message = "input should be a day such as 2026-11-20"
        raise ValueError(message) from None


def _metadata_value(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    plain = isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))
    if not plain or len(str(value)) > MAX_METADATA:
        message = f"input should be a text of at most {MAX_METADATA} letters, a number, or true or false"
        raise ValueError(message)
    return value


def _labels_once(value: Any) -> Any:
    """Labels as keys; 0 and "0" are one label, of which none is dropped unseen."""
    seen: dict[int, Any] = {}
    for key in value if isinstance(value, Mapping) else ():
        try:
            label = int(key)
        except (TypeError, ValueError, OverflowError):
            continue  # Pydantic tells of it.
        if label in seen:
            message = f"the label {label} is given twice, as {seen[label]!r} and as {key!r}"
            raise ValueError(message)
        seen[label] = key
    return value


def _no_nul(value: str) -> str:
    if "\0" in value:
        message = "input should be a path; no path has the character NUL"
        raise ValueError(message)
    return value


Day = Annotated[date, BeforeValidator(_day)]
"""A day of the calendar."""
MetadataName = Annotated[str, Field(pattern=FOLDER_NAME)]
MetadataValue = Annotated[StrictBool | StrictInt | float | str, BeforeValidator(_metadata_value)]
"""What may be said of a prediction: a checkpoint, a commit, a tag."""
Place = Annotated[str, AfterValidator(_no_nul)]
"""Where a file, a store or an array lies."""
Remap = Annotated[dict[Label, ClassRef], BeforeValidator(_labels_once)]
"""Raw label -> class."""
ClassAxis = Annotated[int | str, BeforeValidator(no_truth_value)]
"""An axis, by its number (-1: the last) or by the name of its dimension."""


@dataclass(frozen=True)
class StoredAs:
    """How the values of an array stand for label maps.

    Attributes:
        representation: labels, logits, probabilities, one_hot, binary, or one that a package has added.
        class_axis: the number or name of the axis that runs over the classes; None: what the names of the
            dimensions say.
        threshold: of binary scores.
    """

    representation: str = "labels"
    class_axis: int | str | None = None
    threshold: float | None = None


class SmallObjects(Frozen):
    """Which objects are too small to count: their pixels are ignored.

    An object is the connected pixels of one class of one image, whatever `valid` says of them; those of truth
    and those of the prediction are told by themselves.

    Attributes:
        min_object_px: pixels of the smallest object that counts.
        connectivity: 4 (edges) or 8 (corners too) in images, 6 or 26 in volumes.
        in_pred: objects of the prediction too, not only those of truth. What is ignored then depends on the
            model: specks that it should not have predicted cost it nothing.
    """

    min_object_px: int = Field(ge=2)
    connectivity: Literal[4, 8, 6, 26]
    in_pred: bool = False


class ArrayConfig(Frozen):
    """Where an array lies.

    `store` is a folder, zip archive or URL that holds a Zarr hierarchy, `array` the path of the array (layout
    `stacked`) or of the group of arrays (layout `grouped`) inside it. `STORE::array` says both in one string.
    """

    short_form = ("string",)

    store: Place = Field(min_length=1)
    array: Place = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            store, _, array = value.partition("::")
            return {"store": store, "array": array}
        return value

    @field_validator("store")
    @classmethod
    def _no_credentials(cls, value: str) -> str:
        address, asked, options = value.partition("?") if "://" in value else (value, "", "")
        if "@" in urlsplit(address).netloc:
            message = "credentials do not belong into a store's address; use the environment or a profile"
            raise ValueError(message)
        if asked and not (address.startswith("s3://") and STORE_OPTIONS.fullmatch(options)):
            message = (
                "input should be an address without parameters, such as those of a signed link; only s3:// "
                "takes one, ?profile=NAME or ?anonymous=true"
            )
            raise ValueError(message)
        return value

    @field_validator("array")
    @classmethod
    def _plain_path(cls, value: str) -> str:
        if ".." in value.split("/"):
            message = "'..' is not part of a Zarr path"
            raise ValueError(message)
        return value.strip("/")

    def __str__(self) -> str:
        return f"{self.store}::{self.array}" if self.array else self.store


class SideConfig(ArrayConfig):
    """Where the label maps of one side lie, and what they are stored as.

    Beside the keys of `ArrayConfig` it has those of `StoredAs`, and what the labels, or the channels, mean.
    """

    representation: str = "labels"
    class_axis: ClassAxis | None = None
    threshold: Annotated[float, BeforeValidator(no_truth_value), Field(allow_inf_nan=False)] | None = None
    remap: Remap | None = None
    reduce_zero_label: bool | None = None

    @model_validator(mode="after")
    def _threshold_of_scores(self) -> SideConfig:
        if (self.representation == "binary") != (self.threshold is not None):
            message = (
                "representation: binary needs the threshold from which a score is positive, threshold: 0.5"
                if self.threshold is None
                else f"a threshold belongs to representation: binary, not to {self.representation}"
            )
            raise ValueError(message)
        return self

    @property
    def stored_as(self) -> StoredAs:
        """What the label maps are stored as."""
        return StoredAs(self.representation, self.class_axis, self.threshold)


Shade = Annotated[int, Field(ge=0, le=255)]


class ClassesConfig(Frozen):
    """The classes, and what belongs to them wherever they are evaluated; what a class file holds.

    Attributes:
        names: in the order of their ids.
        colors: (red, green, blue) of each class, where they are known.
        groups: name -> classes that are scored as one as well; groups may overlap.
        ids: the raw label of each class, where that is not its place in the list.
        reduce_zero_label: raw label 0 is ignored in truth, label k is the class k - 1.
        ignore_labels: truth values that take no part, unless the evaluation lists its own.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[Shade, Shade, Shade] | None, ...] = ()
    groups: dict[str, tuple[ClassRef, ...]] = Field(default={})
    ids: tuple[Label, ...] | None = None
    reduce_zero_label: bool = False
    ignore_labels: tuple[Label, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ClassesConfig:
        with _config_mistakes():
            self.class_list()
        strange = [
            name
            for name in (*self.names, *self.groups)
            if not name.strip() or re.search("[\ud800-\udfff]", name)
        ]
        if strange:
            message = f"{strange[0]!a} is no name for a class or a group"
            raise ValueError(message)
        self._check_ids()
        return self

    def _check_ids(self) -> None:
        ids = self.ids
        if ids is None:
            return
        message = ""
        if len(ids) != len(self.names):
            message = f"ids: found {len(ids)}, expected one for each of the {len(self.names)} classes"
        elif len(set(ids)) != len(ids):
            twice = next(label for at, label in enumerate(ids) if label in ids[:at])
            message = f"ids: label {twice} is given to two classes; to merge labels use remap"
        elif self.reduce_zero_label:
            message = "ids and reduce_zero_label both say which label is which class; give one of them"
        if message:
            raise ValueError(message)

    def class_list(self) -> ClassList:
        """The plain class list."""
        groups = [
            ClassGroup(name, tuple(sorted({self.class_id(one, f"groups.{name}") for one in members})))
            for name, members in self.groups.items()
        ]
        return ClassList(self.names, self.colors, tuple(groups))

    def class_id(self, name: int | str, key: str) -> int:
        """The id of a class given by id or by name (of `key`, which a mistake names)."""
        return class_id(name, self.names, key)


class ClusterConfig(BaseModel):
    """Where tasks run: the kind, and the options of that kind, which the kind itself checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "auto"

    def options(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class LayoutConfig(BaseModel):
    """How images lie in the stores: the kind, and the options of that kind, which the kind itself checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "stacked"

    def options(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        options = ", ".join(f"{name} {value}" for name, value in self.options().items())
        return f"{self.kind} ({options})" if options else self.kind


class StatisticConfig(Frozen):
    """What is counted beside the confusion matrix: the kind, and its parameters, which the kind checks."""

    model_config = ConfigDict(extra="allow")
    short_form = ("string",)

    kind: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    def options(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class SelectConfig(Frozen):
    """Which images are evaluated: those listed, of these those that meet a condition, of these some.

    `ids` is a list, or the path of a text file with one id on each line; `where` a condition on the metadata
    columns (`segpipe.query`); `random` draws that many by a hash of seed and id, so that neither the order of
    the store nor other images change the draw.
    """

    ids: tuple[str, ...] | str | None = None
    where: str | None = None
    first: int | None = Field(default=None, ge=1)
    random: int | None = Field(default=None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _says_something(self) -> SelectConfig:
        if self.first is not None and self.random is not None:
            message = "first and random both say how many images; give one of them"
            raise ValueError(message)
        if all(value is None for value in (self.ids, self.where, self.first, self.random)):
            message = "expected one or more of ids, where, first, random"
            raise ValueError(message)
        if self.where is not None:
            with _config_mistakes():
                Query(self.where)
        return self

    def words(self) -> str:
        """The selection in one line."""
        ids = (
            f"{len(self.ids)} ids"
            if isinstance(self.ids, tuple)
            else f"the ids in {Path(self.ids or '').name}"
        )
        parts = [
            ids if self.ids is not None else "",
            f"where {self.where}" if self.where is not None else "",
            f"the first {self.first}" if self.first is not None else "",
            f"{self.random} at random (seed {self.seed})" if self.random is not None else "",
        ]
        return ", ".join(part for part in parts if part)


class ImageTable(Frozen):
    """A CSV or Parquet table with one row per image: metadata columns, joined by the column `id`."""

    path: Place
    id: str = "id"


def _classes(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not 1 <= value <= MAX_CLASSES:
            message = f"input should be 1 to {MAX_CLASSES} classes"
            raise ValueError(message)
        return {"names": ClassList.numbered(value).names}
    if isinstance(value, str):
        return _based({"file": value})
    return {"names": value} if isinstance(value, (list, tuple)) else _based(value)


ClassesInput = int | str | list[str] | ClassesConfig | dict[str, Any]
"""How classes may be given: how many, a class file, their names, or keys (with `file`, over those of one)."""


def _based(value: Any) -> Any:
    """Classes with the key `file`: what that class file holds, but for what stands beside the key."""
    for _ in range(MAX_BASES):
        if not isinstance(value, dict) or "file" not in value:
            return value
        name = value["file"]
        base = _named("classes", name) if isinstance(name, str) else None
        if not isinstance(base, dict):
            message = f"file: {name!r} is no class file; it holds keys such as names and colors"
            raise ValueError(message)
        value = {**base, **{key: item for key, item in value.items() if key != "file"}}
    message = f"file: more than {MAX_BASES} class files build upon one another"
    raise ValueError(message)


def _layout(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _cluster(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": "auto"} if value == "auto" else _named("clusters", value)
    return value


def _named(folder: str, name: str) -> Any:
    """The content of a YAML file, named by a path or by the name of a shipped configuration."""
    with _config_mistakes():
        if name.endswith((".yaml", ".yml")):
            return read_yaml(Path(name))
        return parse_yaml(config_text(f"{folder}/{name}"))


@contextmanager
def _config_mistakes() -> Iterator[None]:
    """Turn our own error into one that pydantic lists with the others, under the key that it is checking."""
    try:
        yield
    except ConfigError as error:
        raise ValueError(str(error)) from None


class CacheConfig(Frozen):
    """What becomes of counts that are there already.

    Attributes:
        use: they are not counted again; otherwise everything is counted anew, and they are replaced.
        verify_percent: of a hundred buckets so many are counted again all the same, and compared.
    """

    use: bool = True
    verify_percent: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False)


Layout = Annotated[LayoutConfig, BeforeValidator(_layout, json_schema_input_type=str | LayoutConfig)]
Cluster = Annotated[ClusterConfig, BeforeValidator(_cluster, json_schema_input_type=str | ClusterConfig)]


def _without_model(schema: dict[str, Any]) -> None:
    """A JSON schema in which `model` may be left out: then it is named after the predictions."""
    schema["required"] = [name for name in schema["required"] if name != "model"]


class EvaluationConfig(Frozen):
    """Everything that decides an evaluation. Frozen; see the README for what each key means."""

    model_config = ConfigDict(json_schema_extra=_without_model)

    suite: str = Field(default="default", pattern=FOLDER_NAME)
    model: str = Field(pattern=FOLDER_NAME)
    results: str = Field(default="results", min_length=1)
    date: Day | None = None
    metadata: dict[MetadataName, MetadataValue] = Field(default={})

    truth: SideConfig
    pred: SideConfig
    valid: ArrayConfig | None = None
    small_objects: SmallObjects | None = None
    weights: ArrayConfig | None = None
    also: dict[Annotated[str, Field(pattern=FOLDER_NAME)], SideConfig] = Field(default={})
    layout: Layout = LayoutConfig()
    image_table: ImageTable | None = None
    select: SelectConfig | None = None

    classes: Annotated[ClassesConfig, BeforeValidator(_classes, json_schema_input_type=ClassesInput)]
    ignore_labels: tuple[Label, ...] = Field(default=None, validate_default=True)
    void_labels: tuple[Label, ...] = ()
    remap: Remap | None = None
    reduce_zero_label: bool | None = None
    exclude_classes: tuple[ClassRef, ...] = ()
    image_weights: str | None = None
    statistics: tuple[StatisticConfig, ...] = ()
    other_pred: SideConfig | None = None

    on_missing_pred: Literal["error", "skip", "count_as_void"] = "error"
    on_extra_pred: Literal["error", "ignore"] = "error"
    missing_chunks: Literal["error", "are_fill_value", "skip", "count_as_void"] = "error"
    invalid_truth: Literal["error", "ignore"] = "error"
    invalid_pred: Literal["error", "count_as_miss", "ignore"] = "error"
    max_quarantined: int = Field(default=0, ge=0)
    absent_class: Literal["nan", "zero", "one"] = "nan"
    present: Literal["either", "truth"] = "either"
    worst_percent: float = Field(default=5.0, gt=0, le=100)
    metrics: tuple[str, ...] | None = None
    conventions: Literal["all"] | tuple[str, ...] = ()
    slices: tuple[SliceConfig, ...] = ()
    min_slice_images: int = Field(default=1, ge=1)
    intervals: IntervalRules | None = None
    gates: tuple[GateConfig, ...] = ()

    fingerprint: Literal["metadata", "content"] = "metadata"
    bucket_images: int = Field(default=64, ge=1, le=100_000)
    max_read_amplification: float = Field(default=4.0, ge=1.0)
    cache: CacheConfig = CacheConfig()
    cluster: Cluster = ClusterConfig()

    @model_validator(mode="before")
    @classmethod
    def _model_from_pred(cls, value: Any) -> Any:
        if isinstance(value, dict) and "model" not in value and "pred" in value:
            pred = value["pred"]
            store = pred.get("store", "") if isinstance(pred, dict) else str(pred).partition("::")[0]
            return {**value, "model": folder_name(str(store))}
        return value

    @field_validator("ignore_labels", mode="before")
    @classmethod
    def _of_the_classes(cls, value: Any, info: ValidationInfo) -> Any:
        classes = info.data.get("classes")
        return (classes.ignore_labels if classes else ()) if value is None else value

    @field_validator("suite")
    @classmethod
    def _not_partials(cls, value: str) -> str:
        if value.lower() == PARTIALS_FOLDER:
            message = (
                f"the folder {PARTIALS_FOLDER!r} of the results holds partial counts; choose another name"
            )
            raise ValueError(message)
        return value

    @field_validator("results")
    @classmethod
    def _folder(cls, value: str) -> str:
        if "://" in value or "\0" in value:
            message = "results are written to a folder of this machine; name one"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EvaluationConfig:
        with _config_mistakes():
            for side in SIDES:
                self.rules(side)
            if self.other_pred is not None:
                self.rules("other_pred")
            self._check_excluded()
            self.slicings()
            self.named_gates()
        if self.model in self.also:
            message = f"also: {self.model!r} is the model of `pred` already; each model has a name of its own"
            raise ValueError(message)
        return self

    def absolute(self) -> EvaluationConfig:
        """The same with absolute paths, so that it means the same in another folder or process."""
        changed = {
            name: lies.model_copy(update={"store": _absolute(lies.store)})
            for name, lies in self.arrays.items()
        }
        table = self.image_table and self.image_table.model_copy(
            update={"path": _absolute(self.image_table.path)}
        )
        rest: dict[str, Any] = {"image_table": table, "layout": _absolute_table(self.layout)}
        rest |= {"results": _absolute(self.results), "gates": tuple(map(_absolute_baseline, self.gates))}
        if self.select is not None and isinstance(self.select.ids, str):
            rest["select"] = self.select.model_copy(update={"ids": _absolute(self.select.ids)})
        return self.model_copy(update={**changed, **rest})

    @property
    def arrays(self) -> dict[str, ArrayConfig]:
        """All arrays that are read, by their key."""
        return {"truth": self.truth, "pred": self.pred, **self.overlays}

    @property
    def overlays(self) -> dict[str, ArrayConfig]:
        """The arrays that lie over the label maps, by their key."""
        given = {name: getattr(self, name) for name in OVERLAYS}
        return {name: lies for name, lies in given.items() if lies is not None}

    def each_model(self) -> list[EvaluationConfig]:
        """One configuration for each prediction: `pred` under the name `model`, then those of `also`."""
        common = self.model_dump(exclude={"model", "pred", "also"})
        preds = {self.model: self.pred, **self.also}
        return [make_config({**common, "model": model, "pred": pred}) for model, pred in preds.items()]

    def class_list(self) -> ClassList:
        """The classes by id."""
        return self.classes.class_list()

    def class_id(self, name: int | str, key: str) -> int:
        """The id of a class given by id or by name (of `key`, which a mistake names)."""
        return self.classes.class_id(name, key)

    def excluded(self) -> tuple[int, ...]:
        """The ids of `exclude_classes`, sorted."""
        return tuple(sorted({self.class_id(name, "exclude_classes") for name in self.exclude_classes}))

    def _check_excluded(self) -> None:
        if len(self.excluded()) == len(self.classes.names):
            message = "exclude_classes: every class is left out of means; keep one at least"
            raise ConfigError(message)

    def slicings(self) -> tuple[SliceConfig, ...]:
        """The ways to cut images into slices, each once, classes by name; those that gates need too."""
        names = self.classes.names
        found = [_named_class(one, names, f"slices.{at}") for at, one in enumerate(self.slices)]
        ways = {_cut_by(one) for one in found}
        for gate in self.named_gates():
            if gate.slicing is not None and _cut_by(gate.slicing) not in ways:
                found.append(gate.slicing)
        return tuple(dict.fromkeys(found))

    def named_gates(self) -> tuple[GateConfig, ...]:
        """The gates, classes by name."""
        return tuple(self._named_gate(gate, f"gates.{at}") for at, gate in enumerate(self.gates))

    def _named_gate(self, gate: GateConfig, key: str) -> GateConfig:
        names, groups = self.classes.names, self.classes.groups
        changed: dict[str, Any] = {}
        if gate.of_class is not None:
            changed["of_class"] = names[class_id(gate.of_class, names, f"{key}.class")]
        if gate.group is not None and gate.group not in groups:
            known = ", ".join(groups) or "none"
            message = f"{key}.group: no group of classes {gate.group!r}; there are: {known}"
            raise ConfigError(message)
        for word in ("has_class", "without_class"):
            if word in gate.slice:
                at = class_id(_class_ref(gate.slice[word]), names, f"{key}.slice.{word}")
                changed["slice"] = {word: names[at]}
        return gate.model_copy(update=changed)

    def rules(self, side: Labelled) -> LabelRules:
        """What the raw values of one side mean; those of `other_pred` as those of pred.

        A side's own `remap` or `reduce_zero_label` goes before the common one, and that before what the
        classes say (`ids`, `reduce_zero_label`). Channels that are stored instead of labels are classes as
        `_channel_rules` says.
        """
        if getattr(self, side).representation != "labels":
            return self._channel_rules(side)
        reduced, remap = self.mapping(side)
        num_classes = len(self.classes.names)
        if reduced:
            remap = {class_id + 1: class_id for class_id in range(num_classes)}
        no_class = self.ignore_labels if side == "truth" else self.void_labels
        zero = (0,) if reduced and side == "truth" else ()
        return LabelRules.of(num_classes, remap=remap, no_class=(*zero, *no_class))

    def _channel_rules(self, side: Labelled) -> LabelRules:
        """What channels mean: channel k is class k, unless the side's own `remap` says otherwise.

        What the configuration says of labels is not said of channels. Only where labels are the class ids are
        labels that are no class the numbers of such channels too. No channel at all, -1, is no class.
        """
        own: dict[Label, ClassRef] | None = getattr(self, side).remap
        remap = None if own is None else {raw: self.class_id(name, "remap") for raw, name in own.items()}
        classes = self.classes
        other = self.remap is not None or self.reduce_zero_label or classes.ids or classes.reduce_zero_label
        no_class = () if other else self.ignore_labels if side == "truth" else self.void_labels
        no_class = (-1, *(label for label in no_class if label >= 0))
        return LabelRules.of(len(classes.names), remap=remap, no_class=no_class)

    def mapping(self, side: Labelled) -> tuple[bool, dict[int, int] | None]:
        """Whether the zero label is reduced; else raw label -> class id, None where labels are class ids."""
        reduced: bool | None = None
        for key, level in ((f"{side}.", getattr(self, side)), ("", self)):
            if level.remap is not None and level.reduce_zero_label:
                message = f"{key}reduce_zero_label and {key}remap both say what labels mean; give one of them"
                raise ConfigError(message)
            reduced = level.reduce_zero_label if reduced is None else reduced
            if level.remap is not None and not reduced:
                return False, {raw: self.class_id(name, "remap") for raw, name in level.remap.items()}
            if reduced:
                break
        ids = self.classes.ids
        if reduced and ids is not None:
            message = "reduce_zero_label and classes.ids both say what labels mean; give one of them"
            raise ConfigError(message)
        if reduced is None and self.classes.reduce_zero_label:
            return True, None
        return bool(reduced), None if ids is None else {raw: place for place, raw in enumerate(ids)}

    def to_yaml(self) -> str:
        """The whole configuration with all defaults, as YAML that loads again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _absolute_table(layout: LayoutConfig) -> LayoutConfig:
    table = layout.options().get("table")
    return (
        LayoutConfig(**{**layout.model_dump(), "table": _absolute(table)})
        if isinstance(table, str)
        else layout
    )


def _absolute_baseline(gate: GateConfig) -> GateConfig:
    if gate.baseline in (None, LATEST):
        return gate
    return gate.model_copy(update={"baseline": _absolute(str(gate.baseline))})


def _absolute(address: str) -> str:
    scheme, is_url, path = address.partition("://")
    if is_url and scheme != "zip":
        return address
    return f"zip://{Path(path).absolute()}" if is_url else str(Path(address).absolute())


def folder_name(text: str) -> str:
    """A name for a folder, made from the last part of a store's address.

    >>> folder_name("archive/run 7/model_a.zarr"), folder_name("s3://archive/model_b.zarr?profile=x")
    ('model_a', 'model_b')
    """
    address = text.partition("?")[0] if "://" in text else text
    last = address.rstrip("/").rpartition("/")[2]
    last = re.sub(r"(\.(zarr|zip))+$", "", last)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", last).strip("-._+")[:120] or "model"


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> EvaluationConfig:
    """Read a configuration file.

    Args:
        path: a YAML file.
        overrides: `key=value` texts that go before the file; dots reach inside (`truth.store=x.zarr`),
            the value is read as YAML.

    Raises:
        ConfigError: the file, a key or a value is wrong; all mistakes are listed with their keys.
    """
    return make_config(read_yaml(Path(path)), overrides, source=str(path))


def make_config(
    values: Mapping[str, Any] | Any, overrides: Iterable[str] = (), *, source: str = "config"
) -> EvaluationConfig:
    """A configuration from plain values (see `load_config`)."""
    if not isinstance(values, Mapping):
        message = f"{source}: found {_kind(values)}, expected keys and values (suite, truth, pred, ...)"
        raise ConfigError(message)
    return checked(EvaluationConfig, values, overrides, source=source)


def _kind(value: Any) -> str:
    """What stands in a file in place of keys and values."""
    return "nothing" if value is None else type(value).__name__


Model = TypeVar("Model", bound=BaseModel)


def load_checked(model: type[Model], path: str | Path, overrides: Iterable[str] = ()) -> Model:
    """Read a file that configures something else than one evaluation (see `load_config`)."""
    values = read_yaml(Path(path))
    if not isinstance(values, Mapping):
        message = f"{path}: found {_kind(values)}, expected keys and values"
        raise ConfigError(message)
    return checked(model, values, overrides, source=str(path))


def checked(
    model: type[Model], values: Mapping[str, Any], overrides: Iterable[str] = (), *, source: str
) -> Model:
    """A model from plain values, with overrides such as `evaluation.cluster=threads`.

    Raises:
        ConfigError: all mistakes, with their keys.
    """
    changed: dict[str, Any] = dict(values)
    for text in overrides:
        _override(changed, text)
    try:
        return model.model_validate(changed)
    except ValidationError as error:
        lines = mistakes(error, model)
        message = f"{source}: " + ("\n" + " " * 4 if len(lines) > 1 else "") + "\n    ".join(lines)
        raise ConfigError(message) from None


def slice_config(value: Any, classes: Sequence[str]) -> SliceConfig:
    """One way to cut images into slices from plain values, its class by name.

    Raises:
        ConfigError: in the words of `make_config`.
    """
    try:
        one = SliceConfig.model_validate(value)
    except ValidationError as error:
        message = "; ".join(mistakes(error, SliceConfig, "by"))
        raise ConfigError(message) from None
    return _named_class(one, classes, "by")


def interval_rules(value: Any) -> IntervalRules:
    """How intervals are made, from plain values.

    Raises:
        ConfigError: in the words of `make_config`.
    """
    try:
        return IntervalRules.model_validate(value)
    except ValidationError as error:
        message = "; ".join(mistakes(error, IntervalRules, "intervals"))
        raise ConfigError(message) from None


def _class_ref(value: Any) -> int | str:
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cut_by(one: SliceConfig) -> tuple[Any, ...]:
    """Columns in any order, or the class: what tells in which slicing a gate finds its slice."""
    return (frozenset(one.by), one.has_class)


def _named_class(one: SliceConfig, classes: Sequence[str], key: str) -> SliceConfig:
    if one.has_class is None:
        return one
    name = classes[class_id(one.has_class, classes, f"{key}.has_class")]
    return one.model_copy(update={"has_class": name})


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        message = f"--set {text!r}: expected key=value, such as --set cluster=threads"
        raise ConfigError(message)
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        if isinstance(inner, str):
            inner = _long_form(parent, inner)
        values[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[parent]
    try:
        values[last] = parse_yaml(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        message = f"--set {key}: {value!r} is no YAML value"
        raise ConfigError(message) from None


def _long_form(key: str, text: str) -> Any:
    """The keys that a text in their place stands for, so that one of them can be set.

    Raises:
        ConfigError: the text names no cluster.
    """
    if key in (*SIDES, *OVERLAYS):
        store, _, array = text.partition("::")
        return {"store": store, "array": array}
    if key == "classes":
        return {"file": text}
    if key == "layout":
        return _layout(text)
    try:
        return _cluster(text) if key == "cluster" else text
    except ValueError as error:
        message = f"cluster: {error}"
        raise ConfigError(message) from None
