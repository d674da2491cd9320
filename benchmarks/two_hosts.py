"""A whole experiment on two hosts of this machine against one, and with a host lost on the way.

    python -m benchmarks.two_hosts --override=supernet.batch_size=16
    python -m benchmarks.two_hosts --experiment=configs/quickstart.py

One process runs the experiment alone. Then two processes, told of each other by TF_CONFIG, run it
together in another work directory on the same latency table: the same architecture has to come
out, and the same weights up to rounding. Then two begin once more in a third work directory; host 1
is killed with SIGKILL while the one-shot weights are trained. Host 0 has to end by itself with one
line that says what happened, and both, started again, have to continue and to end as the others.
"""

import signal
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.kills import run, searched, weights
from benchmarks.lost_worker import last_line, start
from keras_nas.journal import read_events

_EXPERIMENT = flags.DEFINE_string("experiment", "tests/tiny_config.py", "Configuration file.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/two_hosts", "Folder.")
_OVERRIDES = flags.DEFINE_multi_string("override", [], "FIELD=VALUE of the configuration.")
_MINUTES = flags.DEFINE_float("minutes", 20.0, "For each run.", lower_bound=0.0)

TOLERANCE = 1e-4
"""Of weights after several trainings in a row, each of which keeps 1e-5 by itself."""


def together(folder: Path, arguments: list[str], kill_in: str = "") -> tuple[list[int], str]:
    """Runs on two hosts; kills host 1 after the first checkpoint of a stage, where one is named.

    Returns:
      Both exit codes, and what host 0 said last.
    """
    seen = len(read_events(folder))
    workers = start(folder, ["-m", "keras_nas", *arguments, f"--workdir={folder}"])
    while kill_in and workers[0].poll() is None:
        time.sleep(0.05)
        fresh = read_events(folder)[seen:]
        if any(e["event"] == "saved" and e["phase"] == kill_in for e in fresh):
            workers[1].send_signal(signal.SIGKILL)
            began = time.monotonic()
            workers[0].wait(60 * _MINUTES.value)
            print(f"host 0 ended {time.monotonic() - began:.1f} s after host 1 was killed")
            kill_in = ""
    codes = [worker.wait(60 * _MINUTES.value) for worker in workers]
    return codes, last_line(folder, 0)


def compare(folder: Path, alone: Path) -> tuple[bool, float, float]:
    """Whether the architecture is the same, and the largest difference of the search's end and of
    weights, relative to an array's largest value where that is above 1."""
    same = (folder / "architecture.json").read_bytes() == (alone / "architecture.json").read_bytes()
    ends = [searched(path)["end"] for path in (folder, alone)]
    probabilities = [
        {name: np.asarray(values) for name, values in end.items() if name in ("alpha", "beta")}
        for end in ends
    ]
    return (
        same,
        largest_difference(*probabilities),
        largest_difference(*map(weights, (folder, alone))),
    )


def largest_difference(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Over arrays of the same names."""
    if ours.keys() != theirs.keys():
        raise ValueError(f"different arrays: {sorted(ours.keys() ^ theirs.keys())[:3]}")
    return max(
        float(np.abs(ours[k] - theirs[k]).max() / max(1.0, np.abs(theirs[k]).max())) for k in theirs
    )


def main(_) -> None:
    output = Path(_OUTPUT.value)
    names = ("alone", "together", "lost")
    folders = {name: output / name for name in names}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        f"--config={_EXPERIMENT.value}", "--config.save_every_seconds=0",
        "--config.projection.rounds=0", "--config.accelerator=cpu",
        *(f"--config.{override}" for override in _OVERRIDES.value),
    ]  # fmt: skip
    if run(arguments, folders["alone"]):
        raise RuntimeError(f"the run on one host ended in an error; see {folders['alone']}.log")
    table = folders["alone"] / "latency_table.json"
    arguments.append(f"--config.device.latency_table={table}")
    good = True
    codes, said = together(folders["together"], arguments)
    good &= codes == [0, 0]
    print(f"two hosts: exit codes {codes}")
    codes, said = together(folders["lost"], arguments, kill_in="supernet")
    good &= codes == [1, -signal.SIGKILL] and "another worker or a device is gone" in said
    print(f"one lost: exit codes {codes}; host 0: {said}")
    codes, _ = together(folders["lost"], arguments)
    continued = any(e["event"] == "restored" for e in read_events(folders["lost"]))
    good &= codes == [0, 0] and continued
    print(f"started again: exit codes {codes}; continued from a checkpoint: {continued}")
    for name in names[1:]:
        same, probabilities, values = compare(folders[name], folders["alone"])
        good &= same and max(probabilities, values) < TOLERANCE
        print(
            f"{name} against alone: architecture {'the same' if same else 'DIFFERENT'}, "
            f"probabilities differ by {probabilities:.1e}, weights by {values:.1e}"
        )
    sys.exit(not good)


if __name__ == "__main__":
    app.run(main)
