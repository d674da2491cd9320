"""The shared storage of a study: a database that any number of processes and machines join.

Optuna's relational storage: SQLite in the study's folder, whose transactions survive a kill at any
moment, or a database server where machines share no local disk. (Its journal in a file does not
survive a kill in the middle of a line.) A process that works on a trial leaves a heartbeat; a
trial whose heartbeat stops is put back into the queue with its values, so that the next process
goes on in its work directory.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

BUSY_SECONDS = 60.0
"""How long a process waits for another that holds SQLite's lock."""
GRACE = 4
"""Heartbeats that may be missing before a trial counts as left behind."""

RETRIES = 20
"""So often a trial is begun again. One that kills its process each time, by its memory for
instance, should not do so for ever."""

_ERRORS = (SQLAlchemyError, StorageInternalError)


class HeartbeatStorage(RDBStorage):
    """A storage where a heartbeat that cannot be written is a missing one, not an error."""

    def record_heartbeat(self, trial_id: int) -> None:
        """Notes that the trial is being worked on."""
        with contextlib.suppress(*_ERRORS):
            super().record_heartbeat(trial_id)


def local_url(path: Path) -> str:
    """The URL of a storage in a file."""
    return f"sqlite:///{path}"


def open_storage(
    url: str, heartbeat_seconds: int, busy_seconds: float = BUSY_SECONDS
) -> RDBStorage:
    """The storage at an SQLAlchemy URL; made if it is not there.

    Args:
      url: e.g. `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`.
      heartbeat_seconds: between heartbeats.
      busy_seconds: how long to wait for SQLite's lock.

    Raises:
      OSError: it is locked, or cannot be reached or read.
      ValueError: the URL is none, or its database driver is not installed.
    """
    with clear_errors(url):
        try:
            sqlite = sqlalchemy.engine.make_url(url).drivername.startswith("sqlite")
            return HeartbeatStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": busy_seconds}} if sqlite else {},
                heartbeat_interval=heartbeat_seconds,
                grace_period=GRACE * heartbeat_seconds,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                    RETRIES, inherit_intermediate_values=True
                ),
            )
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise ValueError(
                f"--storage={url} cannot be used: {_first_line(error)}. It should be like "
                "sqlite:///FILE or postgresql://USER@HOST/DATABASE, with the database's driver "
                "installed."
            ) from error


@contextlib.contextmanager
def clear_errors(url: str) -> Iterator[None]:
    """Turns what a storage raises into one line.

    Raises:
      OSError: it is locked, or gone, or no storage.
    """
    try:
        yield
    except _ERRORS as error:
        raise OSError(_explain(url, error)) from error
    except AssertionError as error:  # Optuna's own, where it fails to note a failure
        if not isinstance(error.__context__, _ERRORS):
            raise
        raise OSError(_explain(url, error.__context__)) from error


def check_there(url: str) -> None:
    """Raises OSError if the storage's file is gone: an open one could be written on unnoticed."""
    database = sqlalchemy.engine.make_url(url)
    file = database.database if database.drivername.startswith("sqlite") else None
    if file and not Path(file).exists():
        raise OSError(f"study storage {file} is gone. {_REMEDY}")


_REMEDY = (
    "Put it back, or run again with the same --output for a new one, in which trials that were "
    "tried before take no time: their work directories are still there."
)


def _explain(url: str, error: Exception) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = _first_line(getattr(cause, "orig", None) or cause or error)
    shown = sqlalchemy.engine.make_url(url).render_as_string(hide_password=True)
    try:
        check_there(url)
    except OSError as gone:
        if "unable to open" not in reason:  # it was open: there was one
            return str(gone)
    if "locked" in reason:
        return (
            f"study storage {shown} is locked by another program ({reason}); end that program, or "
            "wait for it, and run again: nothing is lost."
        )
    return f"study storage {shown} cannot be used: {reason}. {_REMEDY}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def silence_optuna() -> None:
    """Its messages are for programmers; what happens is shown by the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
