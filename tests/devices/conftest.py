"""A device whose times are known, and a space small enough to convert for real."""

import numpy as np
import pytest

from keras_nas.devices import DeviceDescription, Profile, Run
from keras_nas.space import ElasticStage, Head, SearchSpace, Stem, pieces
from keras_nas.space.cover import covering_architectures

CLASSES = 3
TRUE_SCALE, OVERHEAD_MS = 1.25, 0.002


@pytest.fixture
def space():
    stage = ElasticStage(8, 2, "hard_swish", min_depth=1, max_depth=2)
    return SearchSpace(
        "tiny",
        stem=Stem(8, 3, 2),
        stages=(stage,),
        kernel_sizes=(3,),
        expansion_ratios=(3,),
        head=Head(8),
        resolution=8,
    )


def true_piece_ms(piece):
    return 0.01 + 0.0003 * len(piece.key)


class FakeDevice:
    """Pieces alone cost `true_piece_ms` + overhead; networks cost TRUE_SCALE times their pieces +
    overhead. Each process and round runs at a speed of its own, as on a shared machine."""

    format, threads, batch = "tflite", 1, 1

    def __init__(self, space, noise=0.0):
        self.networks = {
            a.name: a for a in (space.lightest(), space.heaviest(), *map(space.random, range(50)))
        }
        self.by_key = {
            p.key: p for a in self.networks.values() for p in pieces(a, space.input_shape, CLASSES)
        }
        self.space, self.noise, self.calls = space, noise, []
        self.names = {}  # of the files that it has run; any other is the lightest network
        self.cut_off_in_process = None

    def describe(self):
        return DeviceDescription("fake", "Chip", 1, "None", "Fake", "1", "none")

    def true_ms(self, name):
        if name == "empty":
            return OVERHEAD_MS
        if name in self.by_key:
            return true_piece_ms(self.by_key[name]) + OVERHEAD_MS
        parts = pieces(self.networks[name], self.space.input_shape, CLASSES)
        return TRUE_SCALE * sum(map(true_piece_ms, parts)) + OVERHEAD_MS

    def run(self, models, reference, *, rounds, seed, on_round):
        if seed == self.cut_off_in_process:
            raise KeyboardInterrupt
        self.calls.append(seed)
        self.names |= {path: name for name, path in models.items()}
        generator = np.random.default_rng(seed)
        speed = generator.uniform(1, 1.5, rounds)
        ms, reference_ms = {}, {}
        for name, path in models.items():
            assert path.is_file()
            noise = 1 + self.noise * generator.standard_normal()
            ms[name] = list(self.true_ms(name) * speed * noise)
            reference_ms[name] = list(self.true_ms(self.names.get(reference, "lightest")) * speed)
        assert reference.is_file()
        for done in range(rounds):
            on_round(done + 1)
        return Run(
            {k: [float(t) for t in v] for k, v in ms.items()},
            {k: [float(t) for t in v] for k, v in reference_ms.items()},
        )


class FakeProfilingDevice(FakeDevice):
    """A network's piece takes TRUE_SCALE times `true_piece_ms`, in two operations, 1 to 3."""

    def profile(self, models, reference, *, rounds, seed, on_round):
        if f"profile {seed}" == self.cut_off_in_process:
            raise KeyboardInterrupt
        self.calls.append(f"profile {seed}")
        generator = np.random.default_rng(seed)
        speed = generator.uniform(1, 1.5, rounds)
        operations, ms = {}, {}
        for name in models:
            network = self.covering[name]
            parts = pieces(network, self.space.input_shape, CLASSES)
            operations[name] = ["Convolution (NHWC)", "Add (ND)"] * len(parts)
            times = [TRUE_SCALE * true_piece_ms(p) * q for p in parts for q in (0.25, 0.75)]
            noise = 1 + self.noise * generator.standard_normal((rounds, len(times)))
            ms[name] = (np.outer(speed, times) * noise).tolist()
        assert reference.is_file()
        reference_ms = (self.true_ms(self.names.get(reference, "lightest")) * speed).tolist()
        for done in range(rounds):
            on_round(done + 1)
        return Profile(operations, ms, dict.fromkeys(models, reference_ms))

    @property
    def covering(self):
        return {network.name: network for network in covering_architectures(self.space)}


@pytest.fixture
def fake_device(space):
    return FakeDevice(space)


@pytest.fixture
def fake_profiling_device(space):
    return FakeProfilingDevice(space)


@pytest.fixture
def noisy_device(space):
    return FakeDevice(space, noise=0.05)
