"""What samples say, on synthetic times with a known answer."""

import json
import math

import numpy as np
import pytest

from keras_nas.devices import Effort, Profile, Run, timing


def runs_of(values, rounds=5, slow=1.0):
    """Process p sees ratio values[p], while the machine's speed changes from round to round."""
    speed = np.linspace(1, 2, rounds) * slow
    return [
        Run({"a": list(map(float, value * speed))}, {"a": list(map(float, speed))})
        for value in values
    ]


def test_ratio_does_not_see_the_machine_slow_down():
    assert timing.ratio(runs_of([3.0]), "a") == pytest.approx(3, rel=1e-14)
    assert timing.ratio(runs_of([3.0], slow=7.0), "a") == pytest.approx(3, rel=1e-14)


def test_medians_over_rounds_then_processes():
    first = Run({"a": [2.0, 4.0, 90.0]}, {"a": [1.0, 2.0, 3.0]})  # ratios 2, 2, 30
    runs = [first, *runs_of([5.0, 900.0], rounds=3)]
    assert timing.ratios(runs, "a") == pytest.approx([2, 5, 900])
    assert timing.ratio(runs, "a") == 5
    assert timing.raw_ms(runs, "a") == 7.5  # medians 4, 7.5, 1350
    assert timing.reference_ms(runs) == 1.5  # medians 2, 1.5, 1.5


def test_spread_and_error_of_known_samples():
    runs = runs_of([9.0, 10.0, 11.0])
    assert timing.spread(runs, "a") == pytest.approx(0.1)
    expected = 0.1 * math.sqrt(math.pi / 2) / math.sqrt(3)
    assert timing.typical_error(runs) == pytest.approx(expected)
    assert timing.typical_error(runs[:1]) == math.inf


def test_typical_error_is_the_spread_of_medians():
    generator = np.random.default_rng(0)
    medians, errors = [], []
    for _ in range(400):
        runs = runs_of(generator.normal(1, 0.02, 15), rounds=1)
        medians.append(timing.ratio(runs, "a"))
        errors.append(timing.typical_error(runs))
    assert np.mean(errors) == pytest.approx(np.std(medians), rel=0.1)


@pytest.fixture
def paths(tmp_path, space):
    names = ("lightest", "heaviest", "empty")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    return {name: tmp_path / name for name in names}


def test_stops_once_the_error_is_small(fake_device, noisy_device, paths):
    effort = Effort(target_error=0.01, rounds=2, min_processes=3, max_processes=5)
    assert len(timing.measure(fake_device, paths, paths["lightest"], effort)) == 3
    assert len(timing.measure(noisy_device, paths, paths["lightest"], effort)) == 5


def test_continues_from_the_samples_on_disk(fake_device, paths, tmp_path):
    effort = Effort(rounds=2, min_processes=4, max_processes=4)
    arguments = (fake_device, paths, paths["lightest"], effort)
    whole = timing.measure(*arguments)
    fake_device.calls.clear()
    fake_device.cut_off_in_process = 2
    with pytest.raises(KeyboardInterrupt):
        timing.measure(*arguments, samples_directory=tmp_path)
    fake_device.cut_off_in_process = None
    seen = []
    continued = timing.measure(
        *arguments,
        samples_directory=tmp_path,
        on_progress=lambda done, total, what: seen.append((done, total)),
    )
    assert fake_device.calls == [0, 1, 2, 3]  # 0 and 1 once only
    assert continued == whole
    assert seen == [(2, 8), (4, 8), (5, 8), (6, 8), (7, 8), (8, 8)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"ms": {}}',
        '{"ms": {}, "reference_ms": {}}',
        '{"ms": {"a": [1.0]}, "reference_ms": {"a": []}}',
        '{"ms": {"a": [1.0]}, "reference_ms": {"a": [-1.0]}}',
        '{"ms": 3, "reference_ms": {"a": [1.0]}}',
    ],
)
def test_damaged_samples_are_named(fake_device, paths, tmp_path, text):
    arguments = (fake_device, paths, paths["lightest"], Effort())
    timing.measure(*arguments, samples_directory=tmp_path)
    next(tmp_path.glob("run_*_0.json")).write_text(text)
    with pytest.raises(ValueError, match=r"run_\w+_0\.json"):
        timing.measure(*arguments, samples_directory=tmp_path)


def test_samples_are_plain_json(fake_device, paths, tmp_path):
    effort = Effort(rounds=3, min_processes=2, max_processes=2)
    timing.measure(fake_device, paths, paths["lightest"], effort, samples_directory=tmp_path)
    samples = json.loads(next(tmp_path.glob("run_*_1.json")).read_text())
    assert len(samples["ms"]["empty"]) == len(samples["reference_ms"]["empty"]) == 3


def test_samples_of_other_models_are_not_taken(fake_device, paths, tmp_path):
    effort = Effort(rounds=2, min_processes=2, max_processes=2)
    timing.measure(fake_device, paths, paths["lightest"], effort, samples_directory=tmp_path)
    fewer = {name: paths[name] for name in ("lightest", "empty")}
    found = timing.measure(
        fake_device, fewer, paths["lightest"], effort, samples_directory=tmp_path
    )
    assert fake_device.calls == [0, 1] * 2
    assert list(found[0].ms) == list(fewer)


@pytest.fixture
def covering(fake_profiling_device, tmp_path):
    names = [*fake_profiling_device.covering, "reference"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    return {name: tmp_path / name for name in names}


def test_profiles_are_gathered_like_runs(fake_profiling_device, covering, tmp_path):
    device, reference = fake_profiling_device, covering.pop("reference")
    effort = Effort(target_error=0.01, rounds=2, min_processes=3, max_processes=5)
    arguments = (device, covering, reference, effort)
    whole = timing.profile(*arguments)
    assert len(whole) == 3
    device.cut_off_in_process = "profile 2"
    with pytest.raises(KeyboardInterrupt):
        timing.profile(*arguments, samples_directory=tmp_path)
    device.cut_off_in_process = None
    assert timing.profile(*arguments, samples_directory=tmp_path) == whole
    assert device.calls == [f"profile {n}" for n in (0, 1, 2, 0, 1, 2)]
    device.noise = 0.2
    assert len(timing.profile(*arguments)) == 5


def test_whole_is_the_sum_of_operations():
    profile = Profile({"a": ["x", "y"]}, {"a": [[1.0, 2.0], [3.0, 5.0]]}, {"a": [4.0, 5.0]})
    assert timing.whole(profile) == Run({"a": [3.0, 8.0]}, {"a": [4.0, 5.0]})


def test_samples_of_the_reference_network_without_repeats():
    run = Run({"a": [1.0, 1.0], "b": [1.0, 1.0]}, {"a": [3.0, 4.0], "b": [3.0, 2.0]})
    assert timing.reference_samples(run).tolist() == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("operations", "ms", "reference_ms", "named"),
    [
        ({}, {}, {}, "of each model"),
        ({"a": ["x"]}, {"b": [[1.0]]}, {"a": [1.0]}, "of each model"),
        ({"a": ["x"]}, {"a": [[1.0]]}, {"a": [1.0, 2.0]}, "for each round"),
        ({"a": ["x"]}, {"a": [[1.0, 2.0]]}, {"a": [1.0]}, "for each operation"),
        ({"a": ["x"]}, {"a": [[-1.0]]}, {"a": [1.0]}, "below 0"),
        ({"a": ["x"]}, {"a": [[1.0]]}, {"a": [0.0]}, "not above 0"),
    ],
)
def test_damaged_profiles_are_refused(operations, ms, reference_ms, named):
    with pytest.raises(ValueError, match=named):
        Profile(operations, ms, reference_ms)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rounds": 0}, "rounds"),
        ({"target_error": 0}, "target error"),
        ({"min_processes": 1}, "at least 2 processes"),
        ({"min_processes": 5, "max_processes": 4}, "received 5 and 4"),
    ],
)
def test_bad_effort_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Effort(**arguments)
