"""Runs `adb` for one phone: finds it, waits while its cable is out, and says what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from keras_nas.devices.benchmark_model import last_line
from keras_nas.devices.device import DeviceError

ADB = "adb"
POLL_SECONDS = 1.0
"""Between two looks whether the phone is back."""
NOTICE_SECONDS = 10.0
"""Between two lines that say what is waited for."""
COMMAND_SECONDS = 60.0
"""A command that takes longer than this, beyond its own time, has lost its phone."""
SLOWEST_PUSH = 0.5e6
"""Bytes a second below which pushing a file counts as lost."""
TRIES = 5
"""How often a command is tried on a phone that is there but loses the connection every time."""

END = "keras_nas_exit="
"""Stands before a command's exit code at the end of its output: without it, the end was lost."""
LOST = re.compile(
    r"not found|offline|unauthorized|still (connecting|authorizing)|no devices|closed|EOF|"
    r"protocol fault|reset|broken pipe|timeout",
    re.IGNORECASE,
)
"""What adb says when a connection is lost, or was never there."""
REMEDIES = {
    "": "connect it, and switch on USB debugging (docs/android.md says how)",
    "unauthorized": "unlock it and confirm 'Allow USB debugging'",
    "authorizing": "unlock it and confirm 'Allow USB debugging'",
    "offline": "plug the cable in again, or run `adb kill-server`",
    "no permissions": "allow this user to use it: `apt install android-sdk-platform-tools-common`, "
    "then plug the cable in again",
}
"""State of a phone, "" where it is not seen -> what to do."""

T = TypeVar("T")


class _Lost(Exception):
    """The connection was lost in the middle of a command."""


def print_notice(text: str) -> None:
    """A line for the person who waits."""
    print(f"\n  {text}", file=sys.stderr, flush=True)


def phones() -> dict[str, str]:
    """Serial number -> state (`device` where it can be used) of all that adb sees.

    Raises:
      DeviceError: adb is not installed, or fails.
    """
    process = _run(["devices"], COMMAND_SECONDS)
    if process is None or process.returncode != 0:
        said = "nothing" if process is None else last_line(process.stdout + process.stderr)
        raise DeviceError(
            f"`adb devices` failed and said {said!r}; run `adb kill-server` and try again."
        )
    listed = process.stdout.rpartition("List of devices attached")[2]
    # A state may have words behind it: `no permissions (user in plugdev group; ...); see [...]`.
    rows = re.findall(r"^(\S+)\s+(no permissions|\S+)", listed, re.MULTILINE)
    return dict(rows)


class Adb:
    """Commands for one phone. One that loses its connection waits for the phone, then runs again.

    Nothing is run before the first command or `serial`.

    Args:
      serial: of the phone; "" takes the only one that is connected.
      wait_seconds: how long to wait for a phone that was lost.
      notify: receives lines on what is waited for.
    """

    def __init__(
        self,
        serial: str = "",
        *,
        wait_seconds: float = 600.0,
        notify: Callable[[str], None] = print_notice,
    ) -> None:
        self._asked = serial
        self._serial = ""
        self.wait_seconds = wait_seconds
        self.notify = notify

    @property
    def serial(self) -> str:
        """Serial number of the phone, which is there and ready when first asked for.

        Raises:
          DeviceError: it is not, or which one is not clear.
        """
        if not self._serial:
            found = phones()
            if not found:
                raise DeviceError(f"no phone is connected; {REMEDIES['']}.")
            if not self._asked and len(found) > 1:
                first, *_ = found
                raise DeviceError(
                    f"{len(found)} phones are connected ({', '.join(found)}); name one, such as "
                    f"android:{first}."
                )
            serial = self._asked or next(iter(found))
            if serial not in found:
                raise DeviceError(
                    f"phone {serial} is not connected, only {', '.join(found)}; {REMEDIES['']}."
                )
            if found[serial] != "device":
                raise DeviceError(_not_ready(serial, found[serial]))
            self._serial = serial
        return self._serial

    def shell(self, command: str, seconds: float = 0.0) -> tuple[int, str]:
        """Runs a shell command on the phone.

        Args:
          command: for `sh`; when the connection is lost it is run again from its start.
          seconds: it may take.

        Returns:
          Its exit code, and its output and error output together.

        Raises:
          DeviceError: the phone did not come back, or loses its connection every time.
        """

        def attempt() -> tuple[int, str]:
            arguments = ["-s", self.serial, "shell", f"({command}) 2>&1; echo {END}$?"]
            process = _run(arguments, COMMAND_SECONDS + seconds)
            if process is None:
                raise _Lost("it stopped answering")
            output, end, code = process.stdout.rpartition(END)
            if not end or not code.strip().isdigit():
                raise _Lost(last_line(process.stderr))
            return int(code), output

        return self._persist(attempt)

    def push(self, source: Path, target: str) -> None:
        """Copies a file to the phone, and checks that all of it arrived.

        Raises:
          DeviceError: the phone's storage is full or does not take it, or as for `shell`.
        """
        size = source.stat().st_size

        def attempt() -> None:
            arguments = ["-s", self.serial, "push", str(source), target]
            process = _run(arguments, COMMAND_SECONDS + size / SLOWEST_PUSH)
            if process is None:
                raise _Lost("it stopped answering")
            said = process.stdout + process.stderr
            if "no space left" in said.lower():
                raise DeviceError(self._full(source, size))
            if process.returncode != 0 and LOST.search(said):
                raise _Lost(last_line(said))
            if process.returncode != 0:
                raise DeviceError(f"cannot push {source} to phone {self.serial}: {last_line(said)}")

        self._persist(attempt)
        # Old versions of adb report success when the phone's storage is full.
        _, arrived = self.shell(f"wc -c < {target}")
        if arrived.strip() != str(size):
            raise DeviceError(self._full(source, size))

    def remove(self, target: str) -> None:
        """Removes a folder of the phone if the phone is there; does not wait for it."""
        if self._serial:
            _run(["-s", self._serial, "shell", f"rm -rf {target}"], COMMAND_SECONDS)

    def _full(self, source: Path, size: int) -> str:
        return (
            f"the storage of phone {self.serial} is full: {source.name} ({size / 1e6:.1f} MB) does "
            "not fit. Free space on it and run again."
        )

    def _persist(self, attempt: Callable[[], T]) -> T:
        reason = ""
        for _ in range(TRIES):
            try:
                return attempt()
            except _Lost as error:
                reason = str(error)
                self.notify(f"phone {self.serial}: the connection was lost ({reason})")
                self._wait()
        raise DeviceError(
            f"the connection to phone {self.serial} was lost {TRIES} times in a row ({reason}); "
            "use another cable or USB port."
        )

    def _wait(self) -> None:
        """Returns when the phone is there again."""
        began = noticed = time.monotonic()
        time.sleep(POLL_SECONDS)
        while (state := phones().get(self.serial, "")) != "device":
            now = time.monotonic()
            if now - began > self.wait_seconds:
                raise DeviceError(
                    f"{_not_ready(self.serial, state)} It was waited for {self.wait_seconds:g} s; "
                    "run again to go on from the finished processes."
                )
            if now - noticed >= NOTICE_SECONDS:
                noticed = now
                self.notify(
                    f"{_not_ready(self.serial, state)} Waiting for it: {now - began:.0f} of "
                    f"{self.wait_seconds:g} s"
                )
            time.sleep(POLL_SECONDS)


def _not_ready(serial: str, state: str) -> str:
    remedy = REMEDIES.get(state, "start Android on it")
    return f"phone {serial} is {f'in state {state!r}' if state else 'not connected'}; {remedy}."


def _run(arguments: list[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
    """The finished process, None if it took longer than `seconds`."""
    try:
        return subprocess.run(
            [ADB, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return None
    except OSError as error:
        raise DeviceError(
            f"adb cannot be run ({error.strerror}); install Android's platform tools "
            "(`apt install adb`, or developer.android.com/tools/releases/platform-tools) and put "
            "adb in PATH."
        ) from None
