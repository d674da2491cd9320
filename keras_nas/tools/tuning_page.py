"""What a study leaves in its folder: records, pictures, a page, and the best architecture."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_nas import files
from keras_nas.report.page import document
from keras_nas.report.tables import table
from keras_nas.report.text import distance, duration, escape, milliseconds, percent
from keras_nas.tools.tuning_results import TrialRow, best_row, to_csv, to_json_object
from keras_nas.tools.tuning_study import Plan

TRIALS_PICTURE, TRADE_OFF_PICTURE = "trials.svg", "trade_off.svg"
ARCHITECTURE = "architecture.json"
STUDY = "study.json"


def write_results(
    rows: Sequence[TrialRow],
    plan: Plan,
    settings: Mapping[str, Any],
    output: Path,
    name: str,
    command: str,
) -> None:
    """Writes `study.json` and `study.csv`, and once there are results `trials.svg`,
    `trade_off.svg`, `report.html` and the best trial's `architecture.json`.

    Args:
      rows: the study's trials.
      plan: what it does.
      settings: that all trials share.
      output: its folder.
      name: of the study.
      command: that finishes the best trial.

    Raises:
      OSError: a file cannot be written.
    """
    files.write_json(output / STUDY, to_json_object(rows, settings, plan.target_ms, name))
    files.write_text(output / "study.csv", to_csv(rows))
    best = best_row(rows, plan.target_ms)
    if best is None:
        return
    from keras_nas.tools import tuning_plot  # importing matplotlib takes a second

    studies = {plan.algorithm: [rows]}
    pictures = {
        TRIALS_PICTURE: tuning_plot.plot_trials(studies, plan.target_ms),
        TRADE_OFF_PICTURE: tuning_plot.plot_trade_off(studies, plan.target_ms),
    }
    for file, picture in pictures.items():
        files.write_bytes(output / file, picture)
    files.write_text(output / "report.html", page(rows, plan, name, command, pictures))
    found = output / best.folder / ARCHITECTURE
    files.write_bytes(output / ARCHITECTURE, found.read_bytes())


def check_output(output: Path, name: str) -> None:
    """Raises ValueError if the folder is another study's, whose trials it would overwrite."""
    if (output / STUDY).exists():
        earlier = files.read_json(output / STUDY, "record of a study").get("study")
        if earlier != name:
            raise ValueError(
                f"--output={output} is the folder of study {earlier!r}, this one is {name!r}; "
                f"choose another folder, or go on with --study={earlier}."
            )


def finishing_command(
    best: TrialRow,
    config_file: str,
    overrides: Mapping[str, Any],
    target_ms: float,
    output: Path,
) -> str:
    """The command that trains, exports and measures the best trial's network in its folder.

    Args:
      best: the trial.
      config_file, overrides: as given to the study.
      target_ms: its limit.
      output: folder of the study.
    """
    values = dict(overrides) | {"limits.latency_ms": target_ms} | dict(best.parameters)
    flags = [f"--config.{path}={value}" for path, value in values.items()]
    words = [f"--config={config_file}", f"--workdir={output / best.folder}", *flags]
    return "python -m keras_nas " + " ".join(map(shlex.quote, words))


def verdict(best: TrialRow | None, target_ms: float) -> str:
    """The best trial and whether it keeps the target, in one line."""
    if best is None or best.runtime_ms is None:
        return "no trial of full length has ended yet"
    values = ", ".join(f"{path}={value}" for path, value in best.parameters.items())
    keeps = "keeps" if best.runtime_ms <= target_ms else "misses"
    return (
        f"best: trial {best.folder_number} ({values}), accuracy {percent(best.accuracy, 2)}; "
        f"{keeps} the target {milliseconds(target_ms)} with {milliseconds(best.runtime_ms)} "
        f"({distance(best.runtime_ms, target_ms)})"
    )


def page(
    rows: Sequence[TrialRow], plan: Plan, name: str, command: str, pictures: Mapping[str, bytes]
) -> str:
    """The study as an HTML page of its own."""
    best = best_row(rows, plan.target_ms)
    class_ = "yes" if best and (best.runtime_ms or 0) <= plan.target_ms else "no"
    fields = "; ".join(str(field) for field in plan.fields)
    header = (
        f"<h1>{escape(name)}</h1>"
        f'<p class="soft">{escape(f"{plan.algorithm} search over {fields}")}</p>'
        f'<p class="verdict {class_}">{escape(verdict(best, plan.target_ms))}'
        f"<span>To finish it: <code>{escape(command)}</code></span></p>"
    )
    drawn = "".join(f"<figure>{_inline(picture)}</figure>" for picture in pictures.values())
    paths = [field.path for field in plan.fields]
    headers = ["trial", *paths, "accuracy", "runtime", "objective", "evaluations", "time", "state"]
    cells = [_cells(row, paths) for row in rows]
    what = (
        "Objective: accuracy * (runtime / target)^w, w = 0 at or under the target, -1 above it "
        "(Single-Path NAS, eq. 19). Best is the largest among those that keep the target. A trial "
        "that ended early shows what it had reached."
    )
    body = (
        f'<section id="pictures"><h2>Trials and trade-off</h2><p>{escape(what)}</p>{drawn}'
        f'</section><section id="trials"><h2>All trials</h2>'
        f"{table('', headers, cells, range(1, len(headers) - 1))}</section>\n"
    )
    return document(name, header, body)


def _cells(row: TrialRow, paths: Sequence[str]) -> list[str]:
    values = [row.parameters.get(path, "") for path in paths]
    shown = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    state = {"complete": "", "pruned": "ended early", "fail": f"failed: {row.error}"}
    return [
        str(row.folder_number),
        *shown,
        percent(row.accuracy, 2),
        milliseconds(row.runtime_ms),
        "–" if row.objective is None else f"{row.objective:.4f}",
        f"{row.evaluations:.3g}",
        duration(row.seconds),
        state.get(row.state, row.state),
    ]


def _inline(picture: bytes) -> str:
    """An SVG file's element without what comes before it."""
    text = picture.decode()
    return text[text.index("<svg") :]
