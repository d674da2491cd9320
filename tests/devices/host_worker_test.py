"""The timing protocol, with a clock that only the models advance."""

import random

import pytest

from keras_nas.devices import host_worker


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


def test_rounds_visit_all_in_shuffled_order_with_the_reference_in_between():
    machine = Machine()
    names = [f"m{n}" for n in range(13)]
    models = {name: machine.model(name, 1_000_000 + n) for n, name in enumerate(names)}
    reference = machine.model("reference", 2_000_000)
    rounds = []
    samples = host_worker.time_models(models, reference, machine.clock, 4, 7, rounds.append)
    assert rounds == [1, 2, 3, 4]
    for n, name in enumerate(names):
        assert samples["ms"][name] == pytest.approx([1 + n / 1e6] * 4)
        assert samples["reference_ms"][name] == [2.0] * 4
    visits = [machine.log[i] for i in range(len(machine.log) - 1, 0, -1)]
    visits = [a for a, b in zip(visits, [None, *visits], strict=False) if a != b][::-1]
    last_round = visits[-16:]  # 13 models, the reference before 1, 7 and 13
    assert [i for i, name in enumerate(last_round) if name == "reference"] == [0, 7, 14]
    order = [name for name in last_round if name != "reference"]
    assert sorted(order) == sorted(names) and order != names
    expected = list(names)
    generator = random.Random(7)
    for _ in range(4):
        generator.shuffle(expected)
    assert order == expected  # repeats by its seed


def test_ratio_follows_a_machine_that_slows_down():
    machine = Machine()
    slow = [1_000_000] * 6 + [3_000_000] * 100
    samples = host_worker.time_models(
        {"a": machine.model("a", *slow)}, machine.model("r", *slow), machine.clock, 2, 0, print
    )
    assert samples["ms"]["a"] == samples["reference_ms"]["a"] == [1.0, 3.0]
