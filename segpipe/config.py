"""The configuration of an evaluation: YAML in, one frozen model out, and every mistake named by its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from segpipe.classes import ClassList, LabelRules
from segpipe.errors import ConfigError
from segpipe.resources import config_text

Side = Literal["truth", "pred"]
SIDES: tuple[Side, Side] = ("truth", "pred")
FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,119}$"
"""What a suite and a model may be called: they become folders of the results."""

MAX_CONFIG_BYTES = 16 << 20


class Frozen(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SideConfig(Frozen):
    """Where the label maps of one side lie.

    `store` is a folder that holds a Zarr hierarchy, `array` the path of the array (layout `stacked`) or of
    the group of arrays (layout `grouped`) inside it. `STORE::array` says both in one string.
    """

    store: str = Field(min_length=1)
    array: str = ""
    remap: dict[int, int | str] | None = None

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
        if "@" in urlsplit(value).netloc:
            message = "credentials do not belong into a store's address; use the environment or a profile"
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


class ClassesConfig(Frozen):
    """The names of the classes in the order of their ids, and their colours where they are known."""

    names: tuple[str, ...] = Field(min_length=1)
    colors: tuple[tuple[int, int, int] | None, ...] = ()

    def class_list(self) -> ClassList:
        """The plain class list."""
        return ClassList(self.names, self.colors)


class ClusterConfig(BaseModel):
    """Where tasks run: the kind, and the options of that kind, which the kind itself checks."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "auto"

    def options(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class ImageTable(Frozen):
    """A CSV or Parquet table with one row per image: metadata columns, joined by the column `id`."""

    path: str
    id: str = "id"


def _classes(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"names": ClassList.numbered(value).names if 0 < value <= 65_533 else ()}
    if isinstance(value, str):
        return _named("classes", value)
    return {"names": value} if isinstance(value, (list, tuple)) else value


def _cluster(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": "auto"} if value == "auto" else _named("clusters", value)
    return value


def _named(folder: str, name: str) -> Any:
    """The content of a YAML file, named by a path or by the name of a shipped configuration."""
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name))
    return parse_yaml(config_text(f"{folder}/{name}"))


class EvaluationConfig(Frozen):
    """Everything that decides an evaluation. Frozen; see the README for what each key means."""

    suite: str = Field(default="default", pattern=FOLDER_NAME)
    model: str = Field(pattern=FOLDER_NAME)
    results: str = "results"

    truth: SideConfig
    pred: SideConfig
    layout: str = "stacked"
    image_table: ImageTable | None = None

    classes: Annotated[ClassesConfig, BeforeValidator(_classes)]
    ignore_labels: tuple[int, ...] = ()
    void_labels: tuple[int, ...] = ()
    remap: dict[int, int | str] | None = None
    exclude_classes: tuple[int | str, ...] = ()

    on_missing_pred: Literal["error", "skip", "count_as_void"] = "error"
    on_extra_pred: Literal["error", "ignore"] = "error"
    missing_chunks: Literal["error", "are_fill_value", "skip", "count_as_void"] = "error"
    invalid_truth: Literal["error", "ignore"] = "error"
    invalid_pred: Literal["error", "count_as_miss", "ignore"] = "error"
    max_quarantined: int = Field(default=0, ge=0)
    absent_class: Literal["nan", "zero", "one"] = "nan"
    present: Literal["either", "truth"] = "either"

    fingerprint: Literal["metadata", "content"] = "metadata"
    bucket_images: int = Field(default=64, ge=1, le=100_000)
    max_read_amplification: float = Field(default=4.0, ge=1.0)
    cluster: Annotated[ClusterConfig, BeforeValidator(_cluster)] = ClusterConfig()

    @model_validator(mode="before")
    @classmethod
    def _model_from_pred(cls, value: Any) -> Any:
        if isinstance(value, dict) and "model" not in value and "pred" in value:
            pred = value["pred"]
            store = pred.get("store", "") if isinstance(pred, dict) else str(pred).partition("::")[0]
            return {**value, "model": folder_name(str(store))}
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EvaluationConfig:
        for side in SIDES:
            self.rules(side)
        self.excluded()
        return self

    def absolute(self) -> EvaluationConfig:
        """The same with absolute paths, so that it means the same in another folder or process."""
        sides = {side: {"store": _absolute(getattr(self, side).store)} for side in SIDES}
        changed = {side: getattr(self, side).model_copy(update=update) for side, update in sides.items()}
        table = self.image_table and self.image_table.model_copy(
            update={"path": _absolute(self.image_table.path)}
        )
        rest = {"image_table": table, "results": _absolute(self.results)}
        return self.model_copy(update={"truth": changed["truth"], "pred": changed["pred"], **rest})

    def class_list(self) -> ClassList:
        """The classes by id."""
        return self.classes.class_list()

    def class_id(self, name: int | str) -> int:
        """The id of a class given by id or by name."""
        names = self.classes.names
        if isinstance(name, int) and 0 <= name < len(names):
            return name
        if isinstance(name, str) and name in names:
            return names.index(name)
        near = get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        message = f"no class {name!r} among the {len(names)} classes{hint}"
        raise ConfigError(message)

    def excluded(self) -> tuple[int, ...]:
        """The ids of `exclude_classes`, sorted."""
        return tuple(sorted({self.class_id(name) for name in self.exclude_classes}))

    def rules(self, side: Side) -> LabelRules:
        """What the raw values of one side mean; a side's own `remap` goes before the common one."""
        settings = self.truth if side == "truth" else self.pred
        remap = self.remap if settings.remap is None else settings.remap
        codes = None if remap is None else {raw: self.class_id(name) for raw, name in remap.items()}
        no_class = self.ignore_labels if side == "truth" else self.void_labels
        return LabelRules.of(len(self.classes.names), remap=codes, no_class=no_class)

    def to_yaml(self) -> str:
        """The whole configuration with all defaults, as YAML that loads again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _absolute(address: str) -> str:
    return address if "://" in address else str(Path(address).absolute())


def folder_name(text: str) -> str:
    """A name for a folder, made from the last part of a store's address.

    >>> folder_name("archive/run 7/model_a.zarr")
    'model_a'
    """
    last = text.rstrip("/").rpartition("/")[2]
    last = re.sub(r"\.(zarr|zip)$", "", last)
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", last).strip("-._+")[:120] or "model"


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, by the safe loader."""
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            message = f"{path}: {path.stat().st_size} bytes is no configuration; at most {MAX_CONFIG_BYTES}"
            raise ConfigError(message)
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        message = f"{path}: cannot be read ({reason}); name an existing YAML file"
        raise ConfigError(message) from None
    except yaml.YAMLError as error:
        message = f"{path}: is no YAML: {error}"
        raise ConfigError(message) from None


def parse_yaml(text: str) -> Any:
    """The content of a YAML text, by the safe loader, the compiled one where PyYAML has it."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


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
        message = (
            f"{source}: found {type(values).__name__}, expected keys and values (suite, truth, pred, ...)"
        )
        raise ConfigError(message)
    changed: dict[str, Any] = dict(values)
    for text in overrides:
        _override(changed, text)
    try:
        return EvaluationConfig.model_validate(changed)
    except ValidationError as error:
        lines = [_mistake(dict(item)) for item in error.errors(include_url=False)]
        message = f"{source}: " + ("\n" + " " * 4 if len(lines) > 1 else "") + "\n    ".join(lines)
        raise ConfigError(message) from None
    except ConfigError as error:
        message = f"{source}: {error}"
        raise ConfigError(message) from None


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        message = f"--set {text!r}: expected key=value, such as --set cluster=threads"
        raise ConfigError(message)
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        if isinstance(inner, str) and parent in SIDES:
            store, _, array = inner.partition("::")
            inner = {"store": store, "array": array}
        values[parent] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[parent]
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        message = f"--set {key}: {value!r} is no YAML value"
        raise ConfigError(message) from None


def _mistake(item: dict[str, Any]) -> str:
    """One finding of pydantic in our words: the key's path, what was found, what was expected."""
    key = ".".join(str(part) for part in item["loc"]) or "config"
    if item["type"] == "missing":
        return f"{key}: is missing"
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"])
        near = get_close_matches(str(item["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"
        return f"{key}: no such key{hint}"
    text = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    found = item.get("input")
    shown = f" (found {found!r})" if isinstance(found, (str, int, float, bool, type(None))) else ""
    return f"{key}: {text[:1].lower()}{text[1:]}{shown}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    inside: dict[str, type[BaseModel]] = {
        "truth": SideConfig,
        "pred": SideConfig,
        "classes": ClassesConfig,
        "image_table": ImageTable,
    }
    model = inside.get(str(location[0]), EvaluationConfig) if len(location) > 1 else EvaluationConfig
    return list(model.model_fields)
