"""The logic of studies, with Optuna itself and a formula in place of searches."""

import functools
import math
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from keras_nas.tools import tuning_results, tuning_sampler
from keras_nas.tools.tuning_fields import FULL_LENGTH, Field, Rung
from keras_nas.tools.tuning_sampler import ALGORITHMS
from keras_nas.tools.tuning_storage import local_url, open_storage, silence_optuna
from keras_nas.tools.tuning_study import Plan, Runner, open_study, progress_line
from keras_nas.tools.tuning_trial import Evaluated, objective

ROOT = Path(__file__).parents[2]
LAMBDA = Field("single_path.runtime_weight", 0.1, 100.0, log=True)
RUNGS = tuple(Rung(3**k, 3.0 ** (k - 2), {"search.epochs": float(k)}) for k in range(3))

silence_optuna()
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def trade_off(values, folder=None) -> Evaluated:
    """The larger lambda, the faster and the less accurate; 1 ms at e - 1."""
    weight = values[LAMBDA.path]
    return Evaluated(0.9 - 0.002 * math.log(weight) ** 2, 2 / (1 + math.log(weight + 1)))


def a_plan(algorithm="random", evaluations=4, **changes) -> Plan:
    rungs = RUNGS if algorithm == "multi_fidelity" else FULL_LENGTH
    return Plan((LAMBDA,), 1.0, algorithm, evaluations, rungs, **changes)


@functools.cache
def tables() -> bytes:
    """A storage without studies: making its tables takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.sqlite3"
        open_storage(local_url(file), 1).engine.dispose()
        return file.read_bytes()


def storage_in(folder):
    file = folder / "study.sqlite3"
    if not file.exists():
        file.write_bytes(tables())
    return open_storage(local_url(file), 1)


def runner(folder, plan, evaluate=trade_off, log=lambda line: None) -> Runner:
    storage = storage_in(folder)
    study = open_study(storage, "mine", plan, {"target_ms": plan.target_ms})
    return Runner(study, storage, plan, evaluate, folder, log)


def test_the_objective_of_equation_19():
    assert objective(0.8, 0.5, 1.0) == objective(0.8, 1.0, 1.0) == 0.8
    assert objective(0.8, 2.0, 1.0) == pytest.approx(0.4)
    assert objective(0.8, 6.0, 4.0) == pytest.approx(0.8 * 4 / 6)


@pytest.mark.parametrize(("algorithm", "budget"), [("bayesian", 7), ("multi_fidelity", 2)])
def test_studies_spend_their_budget_and_resume_as_if_never_stopped(algorithm, budget, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    rows = runner(whole, a_plan(algorithm, budget)).run()
    runner(parts, a_plan(algorithm, budget - 1)).run()
    again = runner(parts, a_plan(algorithm, budget)).run()
    assert [row.parameters for row in again] == [row.parameters for row in rows]
    assert budget - RUNGS[0].share < again[-1].spent < budget + sum(rung.share for rung in RUNGS)
    assert all(LAMBDA.low <= row.parameters[LAMBDA.path] <= LAMBDA.high for row in rows)
    assert all(row.objective == objective(row.accuracy, row.runtime_ms, 1.0) for row in rows)
    if algorithm == "multi_fidelity":
        assert {row.state for row in rows} == {"complete", "pruned"} and len(rows) > 2
    else:  # over three decades, within a point of the optimum
        assert [row.state for row in rows] == ["complete"] * 7
        best = tuning_results.best_row(rows, 1.0)
        optimum = trade_off({LAMBDA.path: math.e - 1}).accuracy
        assert best.runtime_ms <= 1 and optimum - 0.01 < best.accuracy <= optimum


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_samplers_draw_by_the_number_of_the_trial(algorithm):
    def drawn(seed, number):
        study = optuna.create_study(sampler=tuning_sampler.sampler(algorithm, seed))
        for _ in range(number):
            study.add_trial(optuna.create_trial(state=TrialState.FAIL))
        return LAMBDA.suggest(study.ask())

    assert drawn(0, 0) == drawn(0, 0)
    assert len({drawn(0, 0), drawn(0, 1), drawn(1, 0)}) == 3


def test_multi_fidelity_gives_the_lengths_to_the_trial(tmp_path):
    seen = []

    def evaluate(values, folder):
        seen.append((folder.name, values["search.epochs"]))
        return trade_off(values)

    rows = runner(tmp_path, a_plan("multi_fidelity", 2), evaluate).run()
    assert seen[:3] == [("0000", 0.0), ("0000", 1.0), ("0000", 2.0)]
    assert rows[0].evaluations == pytest.approx(13 / 9)
    lengths = {1: 1 / 9, 2: 4 / 9, 3: 13 / 9}
    for row in rows:
        count = [name for name, _ in seen].count(f"{row.number:04d}")
        assert row.evaluations == pytest.approx(lengths[count])


def test_an_interrupted_trial_goes_on_with_its_values_in_its_folder(tmp_path):
    seen = []

    def evaluate(values, folder):
        seen.append((folder.name, dict(values)))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return trade_off(values)

    plan = a_plan("multi_fidelity", 2)
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path, plan, evaluate).run()
    lines = []
    rows = runner(tmp_path, plan, evaluate, lines.append).run()
    assert "trial 0: goes on with single_path.runtime_weight=" in lines[0]
    assert seen[1] == seen[2]  # the length that was cut off; the one before is not repeated
    assert rows[0].folder == "trials/0000" and rows[0].number == 1
    assert rows[0].evaluations == pytest.approx(13 / 9)
    assert [row.folder_number for row in rows].count(0) == 1


def test_values_that_do_not_work_are_a_failed_trial(tmp_path):
    def evaluate(values, folder):
        if folder.name == "0001":
            raise ValueError("training diverged")
        return trade_off(values)

    plan, lines = a_plan(evaluations=3), []
    work = runner(tmp_path, plan, evaluate)
    work._after_trial = lambda rows: lines.append(progress_line(rows, plan))
    rows = work.run()
    assert [row.state for row in rows] == ["complete", "fail", "complete"]
    assert rows[1].error == "training diverged" and rows[-1].spent == 3
    assert "[2 of 3 evaluations" in lines[1] and "failed: training diverged" in lines[1]
    assert "best: trial" in lines[1]


def test_failures_one_after_the_other_end_the_program_but_not_the_study(tmp_path):
    def evaluate(values, folder):
        raise RuntimeError("no such device")

    with pytest.raises(ValueError, match=r"3 trials failed one after the other.*no such device"):
        runner(tmp_path, a_plan(evaluations=9), evaluate).run()
    assert len(runner(tmp_path, a_plan(evaluations=4)).run()) == 4


def test_the_same_values_again_take_no_time(tmp_path):
    seen = []

    def evaluate(values, folder):
        seen.append(values["search.start"])
        return Evaluated(0.5, 1.0)

    plan = Plan((Field("search.start", choices=("balanced", "lightest")),), 1.0, "random", 5)
    rows = runner(tmp_path, plan, evaluate).run()
    assert len(rows) == 5 and sorted(seen) == ["balanced", "lightest"]
    assert {row.accuracy for row in rows} == {0.5}


def test_a_time_budget_ends_between_trials(tmp_path):
    lines = []
    assert runner(tmp_path, a_plan(minutes=0.0), log=lines.append).run() == []
    assert lines == ["0 minutes are over; run again to go on"]


def test_a_study_of_other_settings_is_refused(tmp_path):
    storage = storage_in(tmp_path)
    earlier = {"target_ms": 1.0, "config.search.epochs": 2.0, "tune": ["a"]}
    open_study(storage, "mine", a_plan(), earlier)
    open_study(storage, "mine", a_plan(evaluations=99), earlier)
    open_study(storage, "another", a_plan(), {"target_ms": 3.0})
    with pytest.raises(ValueError) as error:
        open_study(storage, "mine", a_plan(), earlier | {"target_ms": 2.0, "tune": ["b"]})
    assert "target_ms 1.0 there and 2.0 here; tune ['a'] there and ['b'] here" in str(error.value)
    assert "another --output or --study" in str(error.value)


def test_a_storage_that_goes_while_a_trial_runs(tmp_path):
    def evaluate(values, folder):
        (tmp_path / "study.sqlite3").unlink()
        return trade_off(values)

    with pytest.raises(OSError, match=r"study.sqlite3 is gone"):
        runner(tmp_path, a_plan(), evaluate).run()
    assert len(runner(tmp_path, a_plan(evaluations=1)).run()) == 1  # a new one


def test_a_trial_that_was_taken_over_is_left_to_the_other(tmp_path):
    """As when a process is suspended for longer than its heartbeat may be missed."""
    lines = []

    def evaluate(values, folder):
        if not lines[1:]:
            storage = storage_in(tmp_path)
            (trial,) = storage.get_all_trials(storage.get_study_id_from_name("mine"))
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        return trade_off(values)

    rows = runner(tmp_path, a_plan(evaluations=3), evaluate, lines.append).run()
    assert "took over the trial" in lines[1]
    assert [row.state for row in rows] == ["fail", "complete", "complete"]


PROCESS = """
import sys, time, pathlib
sys.path.insert(0, {tests!r})
from tuning_study_test import a_plan, runner, trade_off
def evaluate(values, folder):
    folder.mkdir(parents=True, exist_ok=True)
    time.sleep({seconds})
    return trade_off(values)
runner(pathlib.Path({folder!r}), a_plan(evaluations=6), evaluate).run()
"""


def test_processes_share_a_study_and_one_takes_over_what_a_killed_one_left(tmp_path):
    def start(seconds):
        tests = str(Path(__file__).parent)
        text = PROCESS.format(tests=tests, seconds=seconds, folder=str(tmp_path))
        return subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, stderr=subprocess.PIPE)

    killed = start(600)
    until(lambda: (tmp_path / "trials/0000").exists(), killed)
    joined = start(0)
    until(lambda: (tmp_path / "trials/0001").exists(), joined)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    storage = storage_in(tmp_path)
    values = storage.get_all_trials(storage.get_study_id_from_name("mine"))[0].params
    runner(tmp_path, a_plan(evaluations=6)).run()
    assert joined.wait(60) == 0, joined.communicate()[1].decode()
    rows = runner(tmp_path, a_plan(evaluations=6)).run()  # once no other process is at work
    # Two processes may each begin what they take for the last one.
    assert {0, 1, 2, 3, 4, 5} <= {row.folder_number for row in rows}
    assert [row.state for row in rows] == ["complete"] * len(rows)
    assert 6 <= rows[-1].spent <= 7
    taken = next(row for row in rows if row.folder_number == 0)
    assert taken.number > 0 and taken.parameters == values


def until(holds, process, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_records_of_a_study(tmp_path):
    rows = runner(tmp_path, a_plan(evaluations=3)).run()
    value = tuning_results.to_json_object(rows, {"a": 1}, 1.0, "mine")
    best = tuning_results.best_row(rows, 1.0)
    assert value["best"] == best.number and value["keeps_target"] == (best.runtime_ms <= 1)
    assert [trial["folder"] for trial in value["trials"]] == [
        "trials/0000", "trials/0001", "trials/0002"
    ]  # fmt: skip
    lines = tuning_results.to_csv(rows).splitlines()
    assert lines[0].startswith("trial,folder,state,single_path.runtime_weight,accuracy,runtime_ms")
    assert len(lines) == 4 and lines[1].startswith("0,trials/0000,complete,")


def test_the_best_trial_keeps_the_target_if_one_does(tmp_path):
    def row(number, accuracy, runtime_ms, state="complete"):
        value = objective(accuracy, runtime_ms, 1.0)
        return tuning_results.TrialRow(
            number, number, state, {}, accuracy, runtime_ms, value, 1.0, number + 1.0, 1.0, ""
        )

    over, under, early = row(0, 0.95, 1.01), row(1, 0.9, 0.9), row(2, 0.99, 0.5, "pruned")
    assert over.objective > under.objective
    assert tuning_results.best_row([over, under, early], 1.0) is under
    assert tuning_results.best_row([over, early], 1.0) is over
    assert tuning_results.best_row([early], 1.0) is None
