"""Stopping a run in good order on SIGTERM (a scheduler takes the machine) or SIGINT (Ctrl-C)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether the process was asked to stop.

    Attributes:
        signal: The signal that asked, or None.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a request; a second one ends the process at once.

    The earlier handlers come back on leaving. Outside the main thread Python cannot handle
    signals: there the request never comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, _frame: object) -> None:
        request.signal = signal.Signals(number)

    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    watcher = threading.Thread(target=_exit_on_second, args=(read_end,), daemon=True)
    watcher.start()
    earlier_wakeup = signal.set_wakeup_fd(write_end)
    earlier_handlers = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in earlier_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_wakeup)
        os.close(write_end)
        watcher.join()
        os.close(read_end)


def _exit_on_second(read_end: int) -> None:
    """Runs in its own thread, since Python's handlers wait until a compiled loop returns."""
    received = 0
    while number := os.read(read_end, 1):
        received += number[0] in _SIGNALS
        if received == 2:
            print("Second signal: stopped without saving.", file=sys.stderr, flush=True)
            os._exit(128 + number[0])
