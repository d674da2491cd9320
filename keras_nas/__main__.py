"""From a data set, a device and limits to a measured TFLite network.

  python -m keras_nas --config=configs/quickstart.py --workdir=runs/quickstart

Runs the stages of an experiment; run again, it continues where it stopped. Any field of the
configuration can be overridden: --config.limits.latency_ms=12
"""

from __future__ import annotations

import dataclasses
import os
import sys
import traceback
import typing
import warnings
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from keras_nas.config import Config

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with a get_config(); --config.FIELD=VALUE overrides a field."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this experiment; made if missing.")
STAGES = flags.DEFINE_list("stages", [], "Run only these stages, e.g. search,finetune.")
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
            raise ValueError("--workdir is missing; name the experiment's folder: --workdir=runs/mine.")
        from keras_nas import pipeline

        pipeline.run(config, WORKDIR.value, STAGES.value)
        summary = Path(WORKDIR.value) / "summary.txt"
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


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    if category is UserWarning:  # ours; libraries' deprecations are not the user's business
        print(f"warning: {message}", file=sys.stderr)


def _loaded_config() -> Config:
    """The configuration with its overrides.

    Raises:
      ValueError: none was given, its file does not load, or returns something else.
    """
    if CONFIG.value is None:
        raise ValueError(
            "--config is missing; name an experiment: --config=configs/quickstart.py."
        )
    if not isinstance(CONFIG.value, Config):
        try:
            found = type(CONFIG.value.name)  # a file that failed to load raises here
        except Exception as error:
            raise ValueError(f"the configuration file cannot be loaded: {error}") from error
        raise ValueError(
            f"the configuration file's get_config() should return a keras_nas.config.Config; it "
            f"returned something else (with a name of type {found.__name__})."
        )
    return CONFIG.value


def parse_flags(argv: list[str]) -> list[str]:
    """Parses flags; a bad one ends the program with one line and exit code 2."""
    for argument in argv[1:]:
        path = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and path.startswith("config."):
            problem = unknown_field(path)
            if problem:
                print(f"error: {problem}", file=sys.stderr)
                sys.exit(2)
    try:
        return flags.FLAGS(argv)
    except (flags.Error, KeyError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def unknown_field(path: str) -> str | None:
    """What is wrong with an override's path, e.g. `config.limits.latency`; None when it exists."""
    holder: typing.Any = Config
    walked = "config"
    for name in path.split(".")[1:]:
        if not dataclasses.is_dataclass(holder):
            return f"{walked} is a value without fields, and {path} asks for one of them."
        hints = typing.get_type_hints(holder)
        if name not in hints:
            return f"{walked} has no field {name!r}; it has {', '.join(sorted(hints))}."
        holder, walked = hints[name], f"{walked}.{name}"
    if dataclasses.is_dataclass(holder):
        fields = ", ".join(field.name for field in dataclasses.fields(holder))
        return f"{walked} is a group of fields ({fields}); set one of them."
    return None


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
