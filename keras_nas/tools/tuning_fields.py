"""Which fields of a configuration a study tunes, over what values, and which are its fidelity."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import optuna

from keras_nas.command_line import check_field
from keras_nas.config import Config

Value = float | int | str | bool

DEFAULT_FIELDS = {
    "single_path": ("single_path.runtime_weight:log:0.01:100",),
    "tf_nas": ("tf_nas.latency_weight:log:0.01:1",),
    "hardcore_nas": ("supernet.learning_rate:log:0.005:0.5",),
}
"""Method -> what is tuned where nothing else is named: what trades accuracy for latency, if the
method has such a weight."""
DEFAULT_FIDELITY = {
    "single_path": (
        "single_path.epochs",
        "single_path.learning_rate_warmup_epochs",
        "single_path.decay_epochs",
    ),
    "tf_nas": ("tf_nas.epochs", "tf_nas.warmup_epochs"),
    "hardcore_nas": ("supernet.epochs", "search.epochs"),
}
"""Method -> the lengths that multi-fidelity shortens, all by the same factor."""
FORMS = "FIELD:LOW:HIGH, FIELD:log:LOW:HIGH or FIELD:VALUE,VALUE,..."


@dataclasses.dataclass(frozen=True)
class Field:
    """A field that is tuned: over a range, or over `choices`.

    Attributes:
      path: e.g. `single_path.runtime_weight`.
      low, high: ends of the range, both included.
      log: uniform in the logarithm.
      choices: in place of a range.
    """

    path: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def corners(self) -> tuple[Value, ...]:
        """The values that the field's own limits have to allow."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.Trial) -> Value:
        """The value that the study's algorithm tries in a trial."""
        if self.choices:
            return cast(Value, trial.suggest_categorical(self.path, self.choices))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.path, self.low, self.high, log=self.log)
        return trial.suggest_float(self.path, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.path}:{','.join(map(str, self.choices))}"
        return f"{self.path}:{'log:' if self.log else ''}{self.low:g}:{self.high:g}"


def read_fields(texts: Iterable[str], config: Config) -> tuple[Field, ...]:
    """The fields that a command line names, checked against the configuration.

    Args:
      texts: each in one of `FORMS`.
      config: the experiment.

    Raises:
      ValueError: an unknown field (lists what exists), a range that is none or that the field
        does not allow, or a field that stands there twice or cannot be tuned.
    """
    fields = tuple(_read_field(text) for text in texts)
    paths = [field.path for field in fields]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise ValueError(f"--tune names {twice[0]} twice; name each field once.")
    for field in fields:
        for value in field.corners:
            try:
                with_values(config, {field.path: value}).validate()
            except ValueError as error:
                raise ValueError(f"--tune={field} goes too far: {error}") from None
    return fields


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """A copy of the configuration with other values, by path."""
    config = copy.deepcopy(config)
    for path, value in values.items():
        holder: Any = config
        *groups, name = path.split(".")
        for group in groups:
            holder = getattr(holder, group)
        setattr(holder, name, value)
    return config


def value_of(config: Config, path: str) -> Any:
    """A setting by its path."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def field_type(path: str) -> type:
    """Of a field of the configuration: int, float, str or bool.

    Raises:
      ValueError: there is no such field (lists what exists), or it holds something else.
    """
    check_field(f"config.{path}")
    holder: Any = Config
    for name in path.split("."):
        holder = get_type_hints(holder)[name]
    kinds = _plain_types(holder)
    if len(kinds) != 1:
        raise ValueError(f"config.{path} holds neither a number, a text nor true or false.")
    return kinds.pop()


def _plain_types(hint: Any) -> set[type]:
    if get_origin(hint) is Annotated:
        return _plain_types(get_args(hint)[0])
    if hint in (int, float, str, bool):
        return {hint}
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        return set().union(*map(_plain_types, get_args(hint)))
    return set()


def _read_field(text: str) -> Field:
    path, *rest = text.removeprefix("config.").split(":")
    if path == "method" or path.startswith("limits.latency"):
        why = "a study is of one method" if path == "method" else "--target_ms says it"
        raise ValueError(f"config.{path} cannot be tuned: {why}.")
    kind = field_type(path)
    if len(rest) == 1 and rest[0]:
        values = tuple(_read_value(part, kind, text) for part in rest[0].split(","))
        if len(set(values)) < len(values):
            raise ValueError(f"--tune={text} has a value twice.")
        return Field(path, choices=values)
    log = rest[:1] == ["log"]
    ends = rest[1:] if log else rest
    if len(ends) != 2:
        raise ValueError(f"--tune should be {FORMS}; received {text!r}.")
    if kind not in (int, float):
        raise ValueError(
            f"config.{path} is no number and has no range; give its values: --tune={path}:A,B."
        )
    low, high = (_read_value(end, kind, text) for end in ends)
    if not low < high or (log and low <= 0):  # type: ignore[operator]
        needs = "0 < LOW < HIGH" if log else "LOW < HIGH"
        raise ValueError(f"--tune={text} should have {needs}.")
    return Field(path, low, high, log)  # type: ignore[arg-type]


def _read_value(text: str, kind: type, where: str) -> Value:
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError(f"--tune={where} should have the values true,false; received {text!r}.")
    try:
        value = kind(text)
    except ValueError:
        name = {int: "an integer", float: "a number"}[kind]
        raise ValueError(f"--tune={where}: {text!r} should be {name}.") from None
    if kind is float and not math.isfinite(value):
        raise ValueError(f"--tune={where}: {text!r} should be a finite number.")
    return value


@dataclasses.dataclass(frozen=True)
class Rung:
    """How long a trial runs until it is compared with others.

    Attributes:
      step: its length in units of the shortest one: reduction ** number.
      share: of the full length; what it costs, in full-length evaluations.
      values: of the fidelity fields, by path; none at full length.
    """

    step: int
    share: float
    values: Mapping[str, float]


FULL_LENGTH: tuple[Rung, ...] = (Rung(1, 1.0, {}),)
"""Of studies that never shorten a trial."""


def read_rungs(
    config: Config, paths: Sequence[str], count: int, reduction: int
) -> tuple[Rung, ...]:
    """The rungs of successive halving, shortest first: full length / reduction ** k.

    Args:
      config: the experiment at full length.
      paths: fields of lengths, e.g. `search.epochs`, which are shortened together.
      count: of rungs.
      reduction: factor from one to the next; a trial in so many goes on.

    Raises:
      ValueError: a field is unknown, no length, or too short.
    """
    if count < 2 or reduction < 2:
        raise ValueError(
            f"--rungs and --reduction should be at least 2; received {count} and {reduction}."
        )
    rungs = []
    for number in range(count):
        share = reduction ** (number + 1 - count)
        values = {path: _shortened(config, path, share) for path in paths}
        if number + 1 == count:
            values = {}
        try:
            with_values(config, values).validate()
        except ValueError as error:
            raise ValueError(f"--fidelity at {share:.3g} of full length: {error}") from None
        rungs.append(Rung(reduction**number, share, values))
    return tuple(rungs)


def _shortened(config: Config, path: str, share: float) -> float:
    kind = field_type(path)
    full = value_of(config, path)
    if kind not in (int, float) or full is None:
        raise ValueError(f"--fidelity should name lengths, e.g. search.epochs; received {path}.")
    if kind is float:
        return full * share
    short = round(full * share)
    if full and not short:
        raise ValueError(
            f"config.{path}={full} is too short for --fidelity at {share:.3g} of it; raise it, or "
            "lower --rungs or --reduction."
        )
    return short
