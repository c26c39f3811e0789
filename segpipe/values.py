"""What the parts of a configuration are made of: frozen models, and values that YAML does not bend."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

FOLDER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,119}$"
"""What a suite and a model may be called: they become folders of the results."""


def no_truth_value(value: Any) -> Any:
    """YAML reads `no` and `off` as a truth value, which Python would take for the number 0."""
    if isinstance(value, bool):
        message = (
            "input should be a number or a name, not a truth value (YAML reads yes, no, on, off as such)"
        )
        raise ValueError(message)
    return value


Label = Annotated[int, BeforeValidator(no_truth_value)]
"""A raw label value."""
ClassRef = Annotated[int | str, BeforeValidator(no_truth_value)]
"""A class, by id or by name."""
Number = Annotated[float, BeforeValidator(no_truth_value)]
"""A number, and no truth value."""


class Frozen(BaseModel):
    """A part of the configuration: unknown keys are refused, values do not change.

    `short_form` names the JSON types that may stand in place of its keys, such as one text for all of them:
    whoever checks parameters by their schema has to know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    short_form: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The schema of the keys, or of the short form."""
        schema = handler(core_schema)
        return {"anyOf": [{"type": list(cls.short_form)}, schema]} if cls.short_form else schema
