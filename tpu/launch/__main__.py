"""Runs the project on a Cloud TPU.

    python -m tpu.launch run --name=nas --zone=us-west4-a --type=v5litepod-8 -- \\
        --config=configs/hardcore_imagenet.py --workdir=gs://BUCKET/nas \\
        --config.data.data_dir=gs://BUCKET/tfds

Commands: `run` does everything and begins anew when the TPU is taken away; `create`, `install`,
`start`, `status`, `logs` and `delete` are its parts. What follows `--` goes to the program, which
is told to use the TPU. `--dry_run` prints the commands instead.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from tpu.launch.commands import Machine
from tpu.launch.shell import CommandError, Shell
from tpu.launch.watch import Launcher, ProgramError

COMMANDS = ("run", "create", "install", "start", "status", "logs", "delete")
_WITH_PROGRAM = ("run", "start")
_FOR_TPU = ("--config.accelerator=tpu",)

_NAME = flags.DEFINE_string("name", "keras-nas", "Name of the TPU VM or slice.")
_ZONE = flags.DEFINE_string("zone", "", "Zone of Google Cloud, as us-west4-a.")
_TYPE = flags.DEFINE_string("type", "v5litepod-8", "Kind and size of the TPU.")
_PROJECT = flags.DEFINE_string("project", "", "Google Cloud project; gcloud's default if empty.")
_SPOT = flags.DEFINE_bool("spot", True, "Cheaper, and taken away at any time.")
_RESTARTS = flags.DEFINE_integer("restarts", 100, "At most so many, by `run`.", lower_bound=0)
_KEEP = flags.DEFINE_bool("keep", False, "`run` leaves the TPU there, to be paid for.")
_WAIT = flags.DEFINE_float("wait_minutes", 1440.0, "For a TPU to become free.", lower_bound=0.0)
_POLL = flags.DEFINE_float("poll_seconds", 30.0, "Between two looks.", lower_bound=0.0)
_SOURCE = flags.DEFINE_string(
    "source", str(Path(__file__).parents[2]), "Folder of the project, whose last commit is run."
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the commands, ready to be pasted.")


def _checked_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """What the program gets.

    Raises:
        ValueError: Arguments for a command that takes none, or a work directory that would be lost.
    """
    if command not in _WITH_PROGRAM:
        if arguments:
            raise ValueError(f"`{command}` takes flags only, received {arguments[0]!r}.")
        return []
    workdirs = [a.partition("=")[2] for a in arguments if a.startswith("--workdir=")]
    if not workdirs or not workdirs[-1].startswith("gs://"):
        raise ValueError(
            "the program needs --workdir=gs://BUCKET/FOLDER after `--`, since a TPU's disk is lost "
            f"with it; received {workdirs[-1] if workdirs else 'none'!r}."
        )
    return [*arguments, *_FOR_TPU]


def _execute(command: str, arguments: Sequence[str]) -> int:
    machine = Machine(
        name=_NAME.value,
        zone=_ZONE.value,
        type=_TYPE.value,
        project=_PROJECT.value,
        spot=_SPOT.value,
    )
    launcher = Launcher(
        machine, Shell(_DRY_RUN.value), _SOURCE.value, _POLL.value, _WAIT.value, _say
    )
    arguments = _checked_arguments(command, arguments)
    if command == "run":
        launcher.run(arguments, restarts=_RESTARTS.value, keep=_KEEP.value)
    elif command == "start":
        launcher.start(arguments)
    elif command == "logs":
        return launcher.logs()
    elif command == "status":
        print(launcher.status())
    else:
        {"create": launcher.create, "install": launcher.install, "delete": launcher.delete}[
            command
        ]()
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """Runs one command; the exit code is 0 only when all went well."""
    command, *arguments = argv[1:] or [""]
    try:
        if command not in COMMANDS:
            raise ValueError(f"say what to do: {', '.join(COMMANDS)}; received {command!r}.")
        return _execute(command, arguments)
    except KeyboardInterrupt:
        _say("interrupted; the TPU is still there: see `status`, end it with `delete`.")
        return 130
    except (CommandError, ProgramError, ValueError) as error:
        _say(f"error: {error}")
        return 1


if __name__ == "__main__":
    app.run(main)
