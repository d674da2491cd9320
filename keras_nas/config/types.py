"""Types of a configuration's fields, checked at run time, and all its settings by path."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

Amount = Annotated[float, "may be None on the command line"]
"""A number that a flag can also turn off."""
OneOrMore = Annotated[float | tuple[float, ...], "may be None on the command line"]
"""A number or several of them."""
_NAME = re.compile("[a-z][a-z0-9_]*")
_ONE_OR_MORE = float | tuple[float, ...] | None


def check_types(config: Any, path: str) -> None:
    """Raises ValueError where a field holds another type than declared, or an unknown field is set.

    An integer passes for a float and is converted; NaN and infinities do not pass. A tuple of one
    number, where several may stand, becomes that number.
    """
    hints = get_type_hints(type(config))
    unknown = sorted(set(vars(config)) - set(hints))
    if unknown:
        raise ValueError(f"{path} has no field {unknown[0]!r}; it has {', '.join(sorted(hints))}.")
    for field, hint in hints.items():
        value = getattr(config, field)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if not isinstance(value, hint):
                raise ValueError(f"{path}.{field} should be a {hint.__name__}, received {value!r}.")
            check_types(value, f"{path}.{field}")
        elif get_origin(hint) is dict:
            _check_table(value, get_args(hint)[1], f"{path}.{field}")
        elif hint in (float, float | None, _ONE_OR_MORE) and is_number(value):
            setattr(config, field, float(value))
        elif hint == _ONE_OR_MORE:
            if value is not None:
                setattr(config, field, _one_or_more(value, f"{path}.{field}"))
        elif hint == tuple[float, ...]:
            if not isinstance(value, tuple | list) or not all(map(is_number, value)):
                raise ValueError(f"{path}.{field} should be a tuple of numbers: {value!r}.")
            setattr(config, field, tuple(map(float, value)))
        elif (
            not isinstance(value, hint)
            or (isinstance(value, bool) and hint not in (bool, bool | None))
            or isinstance(value, float)  # not finite
        ):
            raise ValueError(f"{path}.{field} should be {_describe(hint)}, received {value!r}.")


def _check_table(table: Any, kind: type, path: str) -> None:
    """Groups of fields by name."""
    if not isinstance(table, dict):
        raise ValueError(f"{path} should be a dict, received {table!r}.")
    for name, value in table.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or hasattr(dict, name):
            raise ValueError(
                f"{path} should have names of small letters, digits and underscores that begin "
                f"with a letter, such as 'phone'; received {name!r}."
            )
        if not isinstance(value, kind):
            raise ValueError(f"{path}.{name} should be a {kind.__name__}, received {value!r}.")
        check_types(value, f"{path}.{name}")


def _one_or_more(value: Any, path: str) -> float | tuple[float, ...]:
    numbers = value if isinstance(value, tuple | list) else ()
    if not numbers or not all(map(is_number, numbers)):
        raise ValueError(
            f"{path} should be a finite number or several of them, or None, received {value!r}."
        )
    several = tuple(map(float, numbers))
    return several if len(several) > 1 else several[0]


def is_number(value: Any) -> bool:
    """Whether `value` is a finite integer or float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _describe(hint: Any) -> str:
    if hint in (float, float | None):
        return "a finite number" if hint is float else "a finite number or None"
    return getattr(hint, "__name__", str(hint))


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """All settings by their path, e.g. `search.epochs`: what reports and fingerprints show."""
    settings: dict[str, Any] = {}
    for field, hint in get_type_hints(type(config)).items():
        value, path = getattr(config, field), prefix + field
        if dataclasses.is_dataclass(value):
            settings |= flatten(value, f"{path}.")
        elif get_origin(hint) is dict:
            for name, group in value.items():
                settings |= flatten(group, f"{path}.{name}.")
        else:
            settings[path] = value
    return settings
