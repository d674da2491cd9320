"""From a data set, a device and limits to a measured TFLite network.

  python -m keras_nas --config=configs/quickstart.py --workdir=runs/quickstart

Runs the stages of an experiment; run again, it continues where it stopped. Any field of the
configuration can be overridden: --config.limits.latency_ms=12
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings

from absl import app, flags, logging
from ml_collections import config_flags

from keras_nas.command_line import USER_ERRORS, fail, given_config, parse_flags, show_warning
from keras_nas.config import Config
from keras_nas.imports import tensorflow_library_beside
from keras_nas.progress import quiet_native_code
from tpu.storage import to_path

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with a get_config(); --config.FIELD=VALUE overrides a field."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of this experiment; made if missing.")
STAGES = flags.DEFINE_list("stages", [], "Run only these stages, e.g. search,finetune.")
# In place of the fields of the configuration that have the same names.
DEVICE_FLAGS = (
    flags.DEFINE_string("accelerator", None, "Where to train: auto, cpu, gpu or tpu."),
    flags.DEFINE_string("tpu", None, "local, or a slice's name or hosts: grpc://ADDRESS,..."),
    flags.DEFINE_integer("num_devices", None, "Devices that share each batch; 0 is all."),
    flags.DEFINE_integer("steps_per_loop", None, "Training steps inside one compiled call."),
)
PROFILE_STEPS = flags.DEFINE_list(
    "profile_steps", [], "A,B: write a trace of the steps A to B of every training that runs."
)
DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def main(argv: list[str]) -> int:
    """Runs the experiment; the exit code is 0 only when all went well."""
    if len(argv) > 1:
        return fail(f"unexpected argument {argv[1]!r}; flags look like --workdir=runs/mine.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.showwarning = show_warning
    logging.set_verbosity(logging.WARNING)  # TensorFlow's exporter reports through absl
    try:
        config = _loaded_config()
        if not WORKDIR.value:
            raise ValueError(
                "--workdir is missing; name the experiment's folder: --workdir=runs/mine."
            )
        with quiet_native_code(), tensorflow_library_beside():
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
        return fail(str(error) or repr(error))
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


def _loaded_config() -> Config:
    """The configuration with its overrides.

    Raises:
      ValueError: none was given.
    """
    config = given_config()
    for flag in DEVICE_FLAGS:
        if flag.value is not None:
            setattr(config, flag.name, flag.value)
    return config


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
