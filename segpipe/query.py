"""A small language for conditions on metadata: `weather == "fog" and sequence != "s3"`.

A condition is read as a Python expression and then walked by hand; nothing of it is ever run. What it may
hold is listed here, and all else is refused: names of columns, values, comparisons, `and`, `or`, `not`.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError

MAX_LENGTH = 10_000
"""Of a condition, in characters."""

EXPECTED = (
    "a condition compares columns with values (==, !=, <, <=, >, >=, in, not in) and joins comparisons by "
    'and, or, not: weather == "fog" and speed < 30. A name with spaces is written column("time of day")'
)

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_KINDS = {"b": "truth values", "i": "numbers", "u": "numbers", "f": "numbers"}
_ONE = {"truth values": "a truth value", "numbers": "a number", "text": "text"}
_WORDS = {"true": True, "false": False}
"""YAML's words for truth values, where no column has such a name."""


@dataclass(frozen=True)
class Query:
    """A condition on the columns of a table.

    Raises:
        ConfigError: the text is no condition; names that are no columns are found when it is asked.

    >>> columns = {"weather": np.array(["fog", "rain"], object), "speed": np.array([3.5, 20.0])}
    >>> Query('weather in ["fog", "snow"] or not speed < 30').matches(columns)
    array([ True, False])
    """

    text: str

    def __post_init__(self) -> None:
        reason = ""
        try:
            _check(self._tree)
        except RecursionError:
            reason = "it is nested too deeply"
        except _StrangeError as strange:
            reason = str(strange)
        if reason:
            raise self._refused(reason)

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > MAX_LENGTH:
            message = f"a condition of {len(self.text)} characters; at most {MAX_LENGTH} are read"
            raise ConfigError(message)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError) as error:
            reason = f"it cannot be read ({error.args[0] if error.args else error})"
            raise self._refused(reason) from None

    def _refused(self, reason: str) -> ConfigError:
        return ConfigError(f"{self.text[:200]!r}: {reason}; {EXPECTED}")

    def matches(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Which rows meet the condition, bool (row,).

        Args:
            columns: name -> values (row,): numbers, truth values, or text as an object array.

        Raises:
            ConfigError: there is no such column, or text is compared with a number.
        """
        try:
            rows = len(next(iter(columns.values()), ()))
            return np.broadcast_to(_truth(self._tree, columns), (rows,)).astype(np.bool_)
        except (_StrangeError, RecursionError) as error:
            message = f"{self.text[:200]!r}: {error}"
            raise ConfigError(message) from None


class _StrangeError(Exception):
    """What a condition may not hold, in words."""


def _check(node: ast.expr) -> None:
    """Refuse whatever is not listed, before any column is known."""
    if isinstance(node, ast.BoolOp):
        inner = node.values
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = [node.operand]
    elif isinstance(node, ast.Compare):
        _check_comparison(node)
        return
    elif _column(node) is None:
        raise _StrangeError(_strange(node))
    else:
        return
    for each in inner:
        _check(each)


def _check_comparison(node: ast.Compare) -> None:
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                message = f"after `in` stands a list of values, such as ['fog', 'rain'], not {_short(right)}"
                raise _StrangeError(message)
            for one in right.elts:
                _constant(one)
        elif type(op) not in _COMPARISONS:
            message = "`is` compares nothing here; use == or !="
            raise _StrangeError(message)
        elif _column(right) is None:
            _constant(right)
    if _column(node.left) is None:
        _constant(node.left)


def _column(node: ast.expr) -> str | None:
    """The name of a column: a plain name, or column("any name")."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "column":
        name = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return None


def _constant(node: ast.expr) -> str | int | float | bool:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    value = node.value if isinstance(node, ast.Constant) else None
    if not isinstance(value, str | int | float) or (sign < 0 and isinstance(value, str | bool)):
        raise _StrangeError(_strange(node))
    if isinstance(value, int) and abs(value) >= 2**64:
        message = "a number of more than 64 bits"
        raise _StrangeError(message)
    return value if isinstance(value, str) else sign * value if sign < 0 else value


def _strange(node: ast.expr) -> str:
    return f"{_short(node)} is neither a column nor a value nor a condition"


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _truth(node: ast.expr, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """A condition, row by row."""
    if isinstance(node, ast.BoolOp):
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return np.asarray(join.reduce([_truth(each, columns) for each in node.values]))
    if isinstance(node, ast.UnaryOp):
        return ~_truth(node.operand, columns)
    if isinstance(node, ast.Compare):
        return _compared(node, columns)
    value = _value(node, columns)
    if value.dtype.kind != "b":
        message = f"the column {_column(node)} holds {_kind(value)} and is no condition; compare it"
        raise _StrangeError(message)
    return value


def _compared(node: ast.Compare, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """A comparison or a chain of them; as in Python, each link is one condition."""
    result = np.asarray(True)
    left = node.left
    for op, right in zip(node.ops, node.comparators, strict=True):
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            found = _any_of(left, right.elts, columns)
            link = ~found if isinstance(op, ast.NotIn) else found
        else:
            link = _pair(left, _COMPARISONS[type(op)], right, columns)
        result, left = result & link, right
    return result


def _any_of(
    left: ast.expr, options: list[ast.expr], columns: Mapping[str, NDArray[Any]]
) -> NDArray[np.bool_]:
    values = _value(left, columns)
    for option in options:
        _same_kind(left, values, option, np.asarray(_constant(option)))
    return np.asarray(np.isin(values, [_constant(option) for option in options]))


def _pair(
    left: ast.expr,
    compare: Callable[[Any, Any], Any],
    right: ast.expr,
    columns: Mapping[str, NDArray[Any]],
) -> NDArray[np.bool_]:
    values = _value(left, columns), _value(right, columns)
    _same_kind(left, values[0], right, values[1])
    return np.asarray(compare(*values), np.bool_)


def _same_kind(left: ast.expr, one: NDArray[Any], right: ast.expr, other: NDArray[Any]) -> None:
    if _kind(one) != _kind(other):
        named = " and ".join(
            f"the column {_column(node)} holds {_kind(values)}"
            if _column(node) and not isinstance(node, ast.Constant)
            else f"{_short(node)} is {_ONE[_kind(values)]}"
            for node, values in ((left, one), (right, other))
        )
        message = f"{named}: these cannot be compared (text stands in quotes, numbers do not)"
        raise _StrangeError(message)


def _kind(values: NDArray[Any]) -> str:
    return _KINDS.get(values.dtype.kind, "text")


def _value(node: ast.expr, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    name = _column(node)
    if name is None:
        constant = _constant(node)
        return np.array(constant, object) if isinstance(constant, str) else np.asarray(constant)
    if name in columns:
        return columns[name]
    if name in _WORDS:
        return np.asarray(_WORDS[name])
    near = get_close_matches(name, list(columns), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    message = f"no column {name!r}; the columns are {', '.join(columns)}{hint}"
    raise _StrangeError(message)
