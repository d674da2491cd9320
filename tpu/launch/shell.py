"""Running commands, or printing them, and errors that say what to do."""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
from collections.abc import Sequence

# What gcloud prints, in any case, and the remedy; the first that fits counts.
_REMEDIES = (
    (
        ("do not currently have an active account", "reauthentication", "unauthenticated",
         "invalid_grant", "gcloud auth login"),
        "log in with `gcloud auth login`, then run again",
    ),
    (
        ("project] must be set", "core/project", "[project] value is not"),
        "say which project with --project",
    ),
    (
        ("quota", "resource_exhausted"),
        "your project's quota for this type in this zone is used up: ask for more at "
        "https://console.cloud.google.com/iam-admin/quotas, or choose another --zone or --type",
    ),
    (
        ("permission_denied", "permission denied", "forbidden", "has not been used in project"),
        "your account needs the role TPU Admin in this project, with the Cloud TPU API enabled",
    ),
)  # fmt: skip


class CommandError(RuntimeError):
    """A command failed.

    Attributes:
        output: All that it printed.
    """

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output

    def says(self, *texts: str) -> bool:
        """Whether the output has one of these texts, in any case."""
        return any(text.lower() in self.output.lower() for text in texts)


@dataclasses.dataclass(frozen=True)
class Shell:
    """Runs commands.

    Attributes:
        dry_run: Prints every command instead, ready to be pasted.
    """

    dry_run: bool = False

    def __call__(self, command: Sequence[str], *, seconds: float | None = None) -> str:
        """Runs a command and returns what it printed, stripped; "" in a dry run.

        Raises:
            CommandError: It is not installed, failed, or took longer than `seconds`.
        """
        if self.dry_run:
            print(shlex.join(command))
            return ""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except FileNotFoundError:
            raise _not_installed(command[0]) from None
        except subprocess.TimeoutExpired:
            raise CommandError(
                f"`{_short(command)}` did not end within {seconds:.0f} seconds: check the network, "
                "then run again.",
                "timed out",
            ) from None
        if done.returncode:
            raise _failed(command, done.returncode, done.stderr + done.stdout)
        return done.stdout.strip()

    def attached(self, command: Sequence[str]) -> int:
        """Runs a command on this terminal and returns its exit code.

        Raises:
            CommandError: It is not installed.
        """
        if self.dry_run:
            print(shlex.join(command))
            return 0
        try:
            return subprocess.run(command).returncode
        except FileNotFoundError:
            raise _not_installed(command[0]) from None


def _not_installed(program: str) -> CommandError:
    where = {"gcloud": " from https://cloud.google.com/sdk/docs/install"}.get(program, "")
    return CommandError(f"`{program}` is not installed: install it{where}, then run again.", "")


def _failed(command: Sequence[str], code: int, output: str) -> CommandError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    reason = (errors or lines or [f"exit code {code}"])[-1 if not errors else 0]
    message = f"`{_short(command)}` failed ({reason})"
    lowered = output.lower()
    for texts, remedy in _REMEDIES:
        if any(text in lowered for text in texts):
            return CommandError(f"{message}: {remedy}.", output)
    return CommandError(f"{message}.", output)


def _short(command: Sequence[str]) -> str:
    """The words of a command before its flags."""
    words = []
    for word in command:
        if word.startswith("-"):
            break
        words.append(word)
    return " ".join(words)
