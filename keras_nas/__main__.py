"""From a data set, a device and limits to a measured TFLite network.

  python -m keras_nas --config=configs/quickstart.py --workdir=runs/quickstart

Runs the stages of an experiment; run again, it continues where it stopped. Any field of the
configuration can be overridden: --config.limits.latency_ms=12
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import runpy
import sys
import traceback
import typing
import warnings
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from keras_nas import config as config_module
from keras_nas.config import Config
from keras_nas.config.types import Amount, OneOrMore
from tpu.storage import to_path


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

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with a get_config(); --config.FIELD=VALUE overrides a field."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this experiment; made if missing.")
STAGES = flags.DEFINE_list("stages", [], "Run only these stages, e.g. search,finetune.")
# In place of the fields of the configuration that have the same names.
DEVICE_FLAGS = (
    flags.DEFINE_string("accelerator", None, "Where to train: auto, cpu, gpu or tpu."),
    flags.DEFINE_string("tpu", None, "Name of a Cloud TPU, or local for the TPU of this machine."),
    flags.DEFINE_integer("num_devices", None, "Devices that share each batch; 0 is all."),
    flags.DEFINE_integer("steps_per_loop", None, "Training steps inside one compiled call."),
)
PROFILE_STEPS = flags.DEFINE_list(
    "profile_steps", [], "A,B: write a trace of the steps A to B of every training that runs."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")

USER_ERRORS = (ValueError, OSError, RuntimeError)
"""Errors that say what to do; everything else is a defect and shows its traceback."""


def main(argv: list[str]) -> int:
    """Runs the experiment; the exit code is 0 only when all went well."""
    if len(argv) > 1:
        return _fail(f"unexpected argument {argv[1]!r}; flags look like --workdir=runs/mine.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = _show_warning
    logging.set_verbosity(logging.WARNING)  # TensorFlow's exporter reports through absl
    try:
        config = _loaded_config()
        if not WORKDIR.value:
            raise ValueError(
                "--workdir is missing; name the experiment's folder: --workdir=runs/mine."
            )
        from keras_nas import pipeline

        steps = _profile_steps(PROFILE_STEPS.value)
        pipeline.run(config, WORKDIR.value, STAGES.value, profile_steps=steps)
        summary = to_path(WORKDIR.value) / "summary.txt"
        if not STAGES.value and summary.exists():
            print(summary.read_text())
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt or 'run again to continue.'}", file=sys.stderr)
        signal = getattr(interrupt, "signal", None)
        return 128 + (signal or 2)
    except USER_ERRORS as error:
        if DEBUG.value:
            traceback.print_exc()
        return _fail(str(error) or repr(error))
    return 0


def _profile_steps(values: list[str]) -> tuple[int, int] | None:
    """Raises ValueError unless `values` are two step numbers in order, or none."""
    numbers = [int(value) for value in values if value.isdecimal()]
    if len(numbers) != len(values) or len(values) not in (0, 2) or numbers != sorted(numbers):
        raise ValueError(
            "--profile_steps should be the first and the last step to trace, counted from 0, as in "
            f"--profile_steps=20,29; received {','.join(values)!r}."
        )
    return (numbers[0], numbers[1]) if numbers else None


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    if category is UserWarning:  # ours; libraries' deprecations are not the user's business
        print(f"warning: {message}", file=sys.stderr)


def _loaded_config() -> Config:
    """The configuration with its overrides.

    Raises:
      ValueError: none was given.
    """
    if CONFIG.value is None:
        raise ValueError("--config is missing; name an experiment: --config=configs/quickstart.py.")
    _replace_limit(CONFIG.value, config_flags.get_override_values(flags.FLAGS["config"]))
    for flag in DEVICE_FLAGS:
        if flag.value is not None:
            setattr(CONFIG.value, flag.name, flag.value)
    return CONFIG.value


def _replace_limit(config: Config, overrides: typing.Mapping[str, typing.Any]) -> None:
    """A latency limit on the command line replaces one that the file states the other way."""
    ways = ("latency_ms", "latency_fraction")
    given = [way for way in ways if f"limits.{way}" in overrides]
    if len(given) == 1:
        setattr(config.limits, ways[1 - ways.index(given[0])], None)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; a bad one ends the program with one line and exit code 2."""
    try:
        for argument, following in itertools.zip_longest(argv[1:], argv[2:]):
            name, _, value = re.sub("^--?(no)?", "", argument).partition("=")
            if argument.startswith("-") and name == "config":
                check_config_file(value or following or "")
            if argument.startswith("-") and name.startswith("config."):
                check_field(name)
        return flags.FLAGS(argv)
    except (flags.Error, ValueError, OSError) as error:
        if {"--debug", "-debug"} & set(argv):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def check_config_file(file: str) -> None:
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
        fields = f". {unknown[1]} has {_field_names(group)}" if unknown and group else ""
        raise ValueError(
            f"configuration file {path} cannot be loaded: {type(error).__name__}: {error}{fields}."
        ) from error
    if not isinstance(config, Config):
        raise ValueError(
            f"get_config() of configuration file {path} should return a keras_nas.config.Config; "
            f"it returned a {type(config).__name__}."
        )


def check_field(path: str) -> None:
    """Raises ValueError unless an override's path, e.g. `config.limits.latency_ms`, exists."""
    holder: typing.Any = Config
    walked = "config"
    for name in path.split(".")[1:]:
        if not dataclasses.is_dataclass(holder):
            raise ValueError(f"{walked} is a value without fields; {path} asks for one of them.")
        hints = typing.get_type_hints(holder)
        if name not in hints:
            raise ValueError(f"{walked} has no field {name!r}; it has {_field_names(holder)}.")
        holder, walked = hints[name], f"{walked}.{name}"
    if dataclasses.is_dataclass(holder):
        raise ValueError(
            f"{walked} is a group of fields ({_field_names(holder)}); set one of them."
        )
    if holder is dict:
        raise ValueError(f"{walked} is a table; set it in the configuration file.")


def _field_names(group: typing.Any) -> str:
    return ", ".join(sorted(field.name for field in dataclasses.fields(group)))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
