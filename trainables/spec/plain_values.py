"""NumPy, Arrow and pandas values as the plain ones that records and messages are made of."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

_LIBRARIES = ("numpy", "pyarrow", "pandas")
_CONVERTERS = ("as_py", "to_pylist", "tolist")
"""Of Arrow's scalars, of its arrays, and of both of NumPy's and of a pandas series."""
DEEPEST = 20
"""No value that is given to a study is nested deeper; a list may hold itself."""


def plain(value: Any, *, depth: int = 0) -> Any:
    """Return a value without NumPy, Arrow and pandas: scalars as numbers, arrays as lists.

    Mappings become dicts; what is in lists, tuples and mappings is converted too. All else is
    returned as it is, for its reader to refuse.

    Example:
        >>> import numpy as np
        >>> plain({"trials": np.int64(3), "log": np.bool_(True)}), plain(np.array([8, 16]))
        ({'trials': 3, 'log': True}, [8, 16])
    """
    kind = type(value)
    if depth > DEEPEST or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return kind(plain(one, depth=depth + 1) for one in value)
    if isinstance(value, Mapping):
        return {plain(key): plain(one, depth=depth + 1) for key, one in value.items()}
    if kind.__module__.partition(".")[0] not in _LIBRARIES:
        return value
    convert = next((getattr(value, name) for name in _CONVERTERS if hasattr(value, name)), None)
    found = value if convert is None else convert()
    if isinstance(found, list | dict):  # an array of objects holds what it was made of
        return plain(found, depth=depth + 1)
    # NumPy has no plain value for a long double: it gives itself.
    return float(found) if kind.__name__ == "longdouble" else found


def plain_json(value: Any) -> Any:
    """Return a value as JSON holds it: dataclasses as mappings, tuples as lists."""
    return json.loads(json.dumps(value, default=asdict))


def make_plain(owner: Any) -> None:
    """Make the fields of a frozen dataclass `plain`."""
    for item in fields(owner):
        object.__setattr__(owner, item.name, plain(getattr(owner, item.name)))
