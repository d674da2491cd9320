"""Killing a run, where it stood, and how its result differs from an undisturbed one."""

import glob
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_nas import files
from keras_nas.journal import read_events

FOLDER = ".keras_nas"
PARTIAL = (
    ".*.*",
    f"{FOLDER}/*/*/step-*.partial",
    f"{FOLDER}/*/*/history.partial",
    f"{FOLDER}/*/.*.*",
    f"{FOLDER}/*/*/.*.*",
)


def partial_files(folder: Path) -> list[str]:
    """Files that are being written, or were when their writer was killed.

    Folders may come and go meanwhile: `glob.glob` passes over one that is gone, `Path.glob` fails.
    """
    return sorted(path for pattern in PARTIAL for path in glob.glob(pattern, root_dir=folder))


def run(arguments: Sequence[str], folder: Path, moment: Callable[[], bool] = lambda: False) -> int:
    """Runs the program on a work directory, and kills it when `moment()` says so.

    It is stopped first and asked for again, so that what `moment` saw (a file that is being
    written) is still there when the program dies; where it is gone, the program goes on.

    Returns:
      The exit code; -9 where it was killed.
    """
    command = [sys.executable, "-m", "keras_nas", *arguments, f"--workdir={folder}"]
    with open(f"{folder}.log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            if moment():
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
                process.send_signal(signal.SIGKILL if moment() else signal.SIGCONT)
            time.sleep(0.0005)
        return process.wait()


def place(folder: Path) -> dict[str, Any]:
    """Where a killed run stood: its stage, the last loop it noted, and what it was writing."""
    stage, step = "start", ""
    for event in read_events(folder):
        if event["event"] == "stage_began":
            stage, step = event["stage"], ""
        elif event["event"] in ("loop", "restored"):
            step = f"{event['step']}"
        elif event["event"] == "stage_ended":
            stage, step = f"after {event['stage']}", ""
    return {"stage": stage, "step": step, "writing": ", ".join(partial_files(folder))}


def differences(folder: Path, whole: Path) -> list[str]:
    """What differs between the results in two work directories; nothing if bit for bit equal."""
    found = [
        name
        for name in ("latency_table.json", "architecture.json")
        if (folder / name).read_bytes() != (whole / name).read_bytes()
    ]
    ours, theirs = (searched(path) for path in (folder, whole))
    found += [f"search.json: {key}" for key in theirs if ours.get(key) != theirs[key]]
    ours, theirs = (weights(path) for path in (folder, whole))
    if ours.keys() != theirs.keys():
        return [*found, "names of weights"]
    return found + [k for k in theirs if not np.array_equal(ours[k], theirs[k], equal_nan=True)]


def searched(folder: Path) -> dict[str, Any]:
    """The search's trajectory and end, without what was timed."""
    record = files.read_json(folder / "search.json", "search record")
    timed = ("seconds", "program_seconds")
    rows = [{k: v for k, v in row.items() if k not in timed} for row in record["trajectory"]]
    return {"trajectory": rows, "end": record["end"]}


def weights(folder: Path) -> dict[str, np.ndarray]:
    """All trained weights."""
    found = {}
    for name in ("heaviest.npz", "supernet.npz"):
        with np.load(folder / name) as archive:
            found |= {f"{name}: {key}": archive[key] for key in archive.files}
    network = zipfile.ZipFile(folder / "network.keras")
    with network, network.open("model.weights.h5") as file, h5py.File(file) as stored:
        stored.visititems(
            lambda name, item: (
                found.update({f"network.keras: {name}": item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found
