"""The timing protocol, with a clock that only the models advance."""

import random

import pytest

from keras_nas.devices import host_worker
from keras_nas.devices.litert_profiler import ProfilerError


class Machine:
    """A clock in ns. `model(times)` takes times[n] ns at its n-th call, then the last for ever."""

    def __init__(self):
        self.now = 0
        self.log = []

    def clock(self):
        return self.now

    def model(self, name, *times):
        calls = []

        def call():
            calls.append(None)
            self.log.append(name)
            self.now += times[min(len(calls), len(times)) - 1]

        return call


def test_a_sample_drops_the_first_and_takes_the_smallest():
    machine = Machine()
    call = machine.model("a", 1, 900, 700, 800)  # the first would be the smallest
    assert host_worker.sample_ns(call, 1, machine.clock) == 700
    assert len(machine.log) == host_worker.CALLS


def test_a_short_model_is_repeated_until_the_clock_can_see_it():
    machine = Machine()
    assert host_worker.repeats_of(machine.model("short", 5000, 1000), machine.clock) == 300
    assert host_worker.repeats_of(machine.model("long", 400_000), machine.clock) == 1
    assert host_worker.repeats_of(machine.model("too short to see", 0), machine.clock) == 300_000
    assert host_worker.sample_ns(machine.model("b", 1000), 300, machine.clock) == 1000


def names_of_visits(log):
    """The log with calls of the same model in a row as one."""
    return [name for name, before in zip(log, [None, *log], strict=False) if name != before]


def test_rounds_visit_all_in_shuffled_order_with_the_reference_in_between():
    machine = Machine()
    names = [f"m{n}" for n in range(13)]
    models = {name: machine.model(name, 1_000_000 + n) for n, name in enumerate(names)}
    reference = machine.model("reference", 20_000_000)
    rounds = []
    samples = host_worker.time_models(models, reference, machine.clock, 4, 7, rounds.append)
    assert rounds == [1, 2, 3, 4]
    for n, name in enumerate(names):
        assert samples["ms"][name] == pytest.approx([1 + n / 1e6] * 4)
        assert samples["reference_ms"][name] == [20.0] * 4
    last_round = names_of_visits(machine.log)[-17:]
    # Before, after 6 and 12 models, and at the end.
    assert [i for i, name in enumerate(last_round) if name == "reference"] == [0, 7, 14, 16]
    order = [name for name in last_round if name != "reference"]
    assert sorted(order) == sorted(names) and order != names
    generator = random.Random(7)
    for _ in range(4):
        expected = list(names)
        generator.shuffle(expected)
    assert order == expected  # repeats by its seed


def test_models_that_take_long_have_the_reference_after_each():
    machine = Machine()
    models = {name: machine.model(name, 3_000_000) for name in "abc"}
    host_worker.time_models(models, machine.model("r", 1_000_000), machine.clock, 1, 0, print)
    visits = names_of_visits(machine.log)[-7:]
    assert visits[::2] == ["r"] * 4 and sorted(visits[1::2]) == ["a", "b", "c"]


def test_what_ran_while_the_speed_changed_is_run_again():
    machine = Machine()
    warm_up = 2 + host_worker.CALLS  # calls of the reference network up to its first sample
    speed = [1_000_000] * warm_up + [3_000_000] * 100
    model = machine.model("a", *[5_000_000] * 2, *[4_000_000] * 4, 6_000_000)
    samples = host_worker.time_models(
        {"a": model}, machine.model("r", *speed), machine.clock, 1, 0, print
    )
    assert samples == {"ms": {"a": [6.0]}, "reference_ms": {"a": [3.0]}}
    assert names_of_visits(machine.log)[-4:] == ["a", "r", "a", "r"]


def test_a_speed_that_never_settles_is_taken_in_the_end():
    machine = Machine()
    generator = random.Random(0)
    speed = [generator.choice([1, 2]) * 1_000_000 for _ in range(1000)]

    def reference_sample():
        return speed.pop()

    ms, reference_ms = host_worker.visit(
        ["a"], lambda name: 1.0, reference_sample, machine.clock, 50, 0, lambda done: None
    )
    assert len(ms["a"]) == len(reference_ms["a"]) == 50
    assert set(reference_ms["a"]) == {1e6, 1.5e6, 2e6}


def test_shares_of_the_smallest_times():
    calls = [[0.1, 0.1], [1, 4], [1, 5], [100, 3], [2, 3]]  # the first is dropped
    assert host_worker.shares(calls) == pytest.approx([1 / 4, 3 / 4])
    assert host_worker.shares([[0, 0]] * 2) == pytest.approx([0.5, 0.5])


class ProfiledModel:
    """Runs for 4 ms; its profile says that two operations took 1 and 3 parts of it."""

    def __init__(self, machine, kinds=("conv", "add")):
        self.run = machine.model("p", 4_000_000)
        self.kinds = iter([kinds] * 2 + [("conv", "add")] * 1000)

    def profile(self):
        first, second = next(self.kinds)
        return [(first, 100.0), (second, 300.0)]


def test_a_profile_divides_the_time_of_the_whole():
    machine = Machine()
    reference = machine.model("r", 2_000_000)
    rounds = []
    found = host_worker.profile_models(
        {"p": ProfiledModel(machine)}, reference, machine.clock, 3, 0, rounds.append
    )
    assert found["operations"] == {"p": ["conv", "add"]}
    assert found["ms"]["p"] == [pytest.approx([1.0, 3.0])] * 3
    assert found["reference_ms"] == {"p": [2.0] * 3}
    assert rounds == [1, 2, 3]


def test_operations_that_change_are_refused():
    machine = Machine()
    model = ProfiledModel(machine, kinds=("conv", "mul"))
    with pytest.raises(ProfilerError, match="p ran other operations"):
        host_worker.profile_models(
            {"p": model}, machine.model("r", 2_000_000), machine.clock, 3, 0, print
        )


def test_a_damaged_model_ends_the_worker():
    def load(path):
        raise RuntimeError("too\nshort")

    request = {"models": {"a": "a.tflite"}, "reference": "r.tflite", "seed": 0}
    with pytest.raises(SystemExit, match=r"cannot run .\.tflite: too short"):
        host_worker.load_all(request, load)
