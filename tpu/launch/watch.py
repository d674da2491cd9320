"""A run that outlives the TPUs it runs on."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence

from tpu.launch import commands
from tpu.launch.commands import Machine
from tpu.launch.shell import CommandError, Shell

ACTIVE = "ACTIVE"
GONE = ("SUSPENDING", "SUSPENDED", "FAILED", "DELETING")
"""States of a request that will not become active any more."""

MISSING = "MISSING"
"""Of a request that is not there."""

_LAST_LINES = 15


class TakenAwayError(CommandError):
    """The TPU is no longer there."""


class ProgramError(RuntimeError):
    """The program on the TPU ended with an error, which another TPU would not change."""


@dataclasses.dataclass(frozen=True)
class Launcher:
    """What can be done with a machine; `run` does all of it.

    Attributes:
        machine: Where.
        shell: Runs the commands.
        source: Folder of the project, a git repository.
        poll_seconds: Between two looks at a state.
        wait_minutes: For a TPU to become free, each time.
        say: Told what happens.
    """

    machine: Machine
    shell: Shell
    source: str
    poll_seconds: float = 30.0
    wait_minutes: float = 24 * 60.0
    say: Callable[[str], None] = print

    def create(self) -> None:
        """Asks for the TPU, unless that was done, and waits until it is there.

        Raises:
            CommandError: gcloud failed, or the TPU did not come in time.
            TakenAwayError: It came and went.
        """
        if self.state() in GONE:
            self.delete()
        try:
            self.shell(commands.create(self.machine))
        except CommandError as error:
            if not error.says("already_exists", "already exists"):
                raise
            self.say(f"{self.machine.name} was asked for already")
        deadline = time.monotonic() + 60 * self.wait_minutes
        last = ""
        while (state := self.state()) != ACTIVE and not self.shell.dry_run:
            if state in ("FAILED", MISSING):
                raise CommandError(
                    f"{self.machine.name} is {state}: there is no {self.machine.type} in "
                    f"{self.machine.zone} now; choose another --zone or --type, or run again.",
                    state,
                )
            if state in GONE:
                raise TakenAwayError(f"it is {state}", state)
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{self.machine.name} is still {state} after {self.wait_minutes:g} minutes: "
                    "wait longer with --wait_minutes, or choose another --zone or --type.",
                    state,
                )
            if state != last:
                self.say(f"{self.machine.name}: {state}")
            last = state
            time.sleep(self.poll_seconds)

    def state(self) -> str:
        """Of the request: `ACTIVE`, one of `GONE`, `MISSING`, or one that comes before."""
        try:
            return self.shell(commands.state(self.machine))
        except CommandError as error:
            if error.says("not_found", "was not found", "could not be found"):
                return MISSING
            raise

    def install(self) -> None:
        """Copies the project's last commit and installs it."""
        with tempfile.TemporaryDirectory() as folder:
            archive = os.path.join(folder, commands.ARCHIVE)
            self.shell(commands.pack(self.source, archive))
            self.shell(commands.copy(self.machine, archive))
        self.shell(commands.install(self.machine))

    def start(self, arguments: Sequence[str]) -> None:
        """Starts the program; what runs already goes on."""
        self.shell(commands.start(self.machine, arguments))

    def status(self) -> str:
        """One line: the state of the request, and of the program where the TPU is there."""
        state = self.state()
        if state != ACTIVE and not self.shell.dry_run:
            return state
        return f"{state} {self.shell(commands.progress(self.machine), seconds=120)}".strip()

    def logs(self, *, follow: bool = True) -> int:
        """Shows the program's log on this terminal, until interrupted."""
        return self.shell.attached(commands.logs(self.machine, follow=follow, lines=100))

    def delete(self) -> None:
        """Deletes the TPU; one that is not there counts as deleted."""
        try:
            self.shell(commands.delete(self.machine))
        except CommandError as error:
            if not error.says("not_found", "was not found", "could not be found"):
                raise

    def run(self, arguments: Sequence[str], *, restarts: int, keep: bool) -> None:
        """Creates, installs and starts; begins anew whenever the TPU is taken away.

        The program resumes from its work directory. When it has ended, the TPU is deleted; also
        after an error of the program, since another TPU would not change that.

        Args:
            arguments: Of the program.
            restarts: At most so many.
            keep: Leaves the TPU there, to be paid for.

        Raises:
            CommandError: gcloud failed for a reason that will not pass, or too many restarts.
            ProgramError: The program failed.
        """
        for attempt in range(restarts + 1):
            if attempt:
                self.say(f"restart {attempt} of {restarts}")
            try:
                self.create()
                code = self._run_once(arguments)
                break
            except TakenAwayError as error:
                self.say(f"{self.machine.name} was taken away: {error}")
        else:
            raise CommandError(
                f"{self.machine.name} was taken away {restarts + 1} times: run again to go on, or "
                "allow more with --restarts.",
                "",
            )
        last_lines = self.shell(commands.logs(self.machine, follow=False, lines=_LAST_LINES))
        if not keep:
            self.delete()
        if code:
            raise ProgramError(f"the program ended with exit code {code}:\n{last_lines}")
        self.say(last_lines)

    def _run_once(self, arguments: Sequence[str]) -> int:
        """Installs and starts on a TPU that is there; returns the program's exit code.

        Raises:
            CommandError: gcloud failed while the TPU is there.
            TakenAwayError: It is no longer there.
        """
        try:
            if self._progress() != "running":
                self.install()
                self.start(arguments)
            while not (status := self._progress()).startswith("exit") and not self.shell.dry_run:
                if status == "stopped":
                    self.say("the VM was restarted under the program; starting it again")
                    self.start(arguments)
                time.sleep(self.poll_seconds)
        except CommandError as error:
            state = self.state()
            if state == ACTIVE:
                raise
            raise TakenAwayError(f"it is {state}", error.output) from error
        return int(status.split()[1]) if status else 0

    def _progress(self) -> str:
        """The program's progress; a connection that fails while the TPU is there is tried again."""
        while True:
            try:
                return self.shell(commands.progress(self.machine), seconds=120)
            except CommandError as error:
                if self.state() != ACTIVE:
                    raise
                self.say(f"no connection, trying again: {error}")
                time.sleep(self.poll_seconds)
