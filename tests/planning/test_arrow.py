"""Arrow arrays made without pandas are those that pyarrow makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.planning import arrow
from segpipe.planning.arrow import arrow_array
from segpipe.planning.plan_file import SCHEMA


def values(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a type, any of them None."""
    if pa.types.is_struct(dtype):
        return st.none() | st.fixed_dictionaries({field.name: values(field.type) for field in dtype})
    if pa.types.is_list(dtype):
        return st.none() | st.lists(values(dtype.value_type), max_size=2)
    plain: dict[pa.DataType, st.SearchStrategy[Any]] = {
        pa.string(): st.text(max_size=3),
        pa.bool_(): st.booleans(),
        pa.float64(): st.floats(allow_nan=False),
        pa.int8(): st.integers(-(2**7), 2**7 - 1),
        pa.int32(): st.integers(-(2**31), 2**31 - 1),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
    }
    return st.none() | plain[dtype]


@given(data=st.data(), dtype=st.sampled_from([*(field.type for field in SCHEMA), pa.float64()]))
def test_values_of_every_type_of_a_plan(data: st.DataObject, dtype: pa.DataType) -> None:
    rows = data.draw(st.lists(values(dtype), max_size=3))
    made = arrow_array(rows, dtype)
    made.validate(full=True)
    assert made.equals(pa.array(rows, dtype))


@pytest.mark.parametrize(
    "column",
    [np.arange(9)[::2], np.array([0.5, np.nan]), np.array([True, False] * 5), np.array(["a", "ü"], object)],
    ids=str,
)
def test_columns_of_numpy(column: Any) -> None:
    made = arrow_array(column, pa.array(column).type)
    assert made.to_numpy(zero_copy_only=False).tolist()[:1] == column.tolist()[:1]
    np.testing.assert_array_equal(made.to_numpy(zero_copy_only=False), column)


def test_more_text_than_an_array_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow.np, "int32", np.int8)
    with pytest.raises(OverflowError, match="150 bytes of text"):
        arrow_array(["x" * 150], pa.string())
