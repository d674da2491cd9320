"""What the command lines of programs that run experiments share: --config and its overrides."""

from __future__ import annotations

import dataclasses
import itertools
import re
import runpy
import sys
import traceback
import typing
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from keras_nas import config as config_module
from keras_nas.config import Config
from keras_nas.config.types import Amount, OneOrMore

USER_ERRORS = (ValueError, OSError, RuntimeError)
"""Errors that say what to do; everything else is a defect and shows its traceback."""


class _AmountParser(flags.ArgumentParser):
    """`12`, `8,10,12.5` or `None`, which config_flags' own parser of numbers refuses."""

    def parse(self, argument: typing.Any) -> float | tuple[float, ...] | None:
        if not isinstance(argument, str):
            return argument  # the configuration file's own value
        if argument.lower() == "none":
            return None
        try:
            numbers = tuple(float(part) for part in argument.strip("()").rstrip(",").split(","))
        except ValueError:
            raise ValueError("should be a number, numbers like 8,10,12.5, or None") from None
        return numbers if len(numbers) > 1 else numbers[0]

    def flag_type(self) -> str:
        return "number, numbers or None"


for _kind in (Amount, OneOrMore):
    config_flags.register_flag_parser_for_type(_kind, _AmountParser())


def given_config() -> Config:
    """The configuration that the program's flag --config names, with its overrides.

    Raises:
      ValueError: none was given.
    """
    config = flags.FLAGS.config
    if config is None:
        raise ValueError("--config is missing; name an experiment: --config=configs/quickstart.py.")
    _replace_limit(config, config_flags.get_override_values(flags.FLAGS["config"]))
    return config


def _replace_limit(config: Config, overrides: typing.Mapping[str, typing.Any]) -> None:
    """A latency limit on the command line replaces one that the file states the other way."""
    ways = ("latency_ms", "latency_fraction")
    others = {f"other_devices.{name}": other for name, other in config.other_devices.items()}
    for path, limits in {"limits": config.limits, **others}.items():
        given = [way for way in ways if f"{path}.{way}" in overrides]
        if len(given) == 1:
            setattr(limits, ways[1 - ways.index(given[0])], None)


def fail(message: str) -> int:
    """Prints one line; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return 1


def show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """In place of `warnings.showwarning`."""
    if category is UserWarning:  # ours; libraries' deprecations are not the user's business
        print(f"warning: {message}", file=sys.stderr)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; a bad one ends the program with one line and exit code 2."""
    try:
        paths, others = [], []
        for argument, following in itertools.zip_longest(argv[1:], argv[2:]):
            name, _, value = re.sub("^--?(no)?", "", argument).partition("=")
            if argument.startswith("-") and name == "config":
                others = list(check_config_file(value or following or "").other_devices)
            if argument.startswith("-") and name.startswith("config."):
                paths.append(name)
        for path in paths:
            check_field(path, others)
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
        if {"--debug", "-debug"} & set(argv):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_config_file(file: str) -> Config:
    """Loads a configuration file once by itself, since config_flags hides what was wrong with it.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it does not run, or has no `get_config` that returns a Config.
    """
    path, _, argument = file.partition(":")
    if not Path(path).is_file():
        raise FileNotFoundError(f"no configuration file {path!r}; check the path after --config.")
    try:
        config = runpy.run_path(path)["get_config"](*([argument] if argument else []))
    except Exception as error:
        unknown = re.match(r"(\w+)\.__init__\(\) got an unexpected", str(error))
        group = getattr(config_module, unknown[1], None) if unknown else None
        fields = f". {unknown[1]} has {field_names(group)}" if unknown and group else ""
        raise ValueError(
            f"configuration file {path} cannot be loaded: {type(error).__name__}: {error}{fields}."
        ) from error
    if not isinstance(config, Config):
        raise ValueError(
            f"get_config() of configuration file {path} should return a keras_nas.config.Config; "
            f"it returned a {type(config).__name__}."
        )
    return config


def check_field(path: str, others: typing.Sequence[str] = ()) -> None:
    """Raises ValueError unless an override's path, e.g. `config.limits.latency_ms`, exists.

    Args:
      path: of the field.
      others: names of the configuration's other devices.
    """
    holder: typing.Any = Config
    walked = "config"
    for name in path.split(".")[1:]:
        if typing.get_origin(holder) is dict:
            if name not in others:
                raise ValueError(
                    f"{walked} of the configuration file has no {name!r}; it has "
                    f"{', '.join(others) or 'none'}."
                )
            holder, walked = typing.get_args(holder)[1], f"{walked}.{name}"
            continue
        if not dataclasses.is_dataclass(holder):
            raise ValueError(f"{walked} is a value without fields; {path} asks for one of them.")
        hints = typing.get_type_hints(holder)
        if name not in hints:
            raise ValueError(f"{walked} has no field {name!r}; it has {field_names(holder)}.")
        holder, walked = hints[name], f"{walked}.{name}"
    if dataclasses.is_dataclass(holder):
        raise ValueError(f"{walked} is a group of fields ({field_names(holder)}); set one of them.")
    if dict in (holder, typing.get_origin(holder)):
        raise ValueError(f"{walked} is a table; set it in the configuration file.")


def field_names(group: typing.Any) -> str:
    return ", ".join(sorted(field.name for field in dataclasses.fields(group)))
