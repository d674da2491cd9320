"""Latency tables from a device with known times, and one from this machine."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from keras_nas.devices import Effort, HostDevice, conversion, entries, profile
from keras_nas.resources import LatencyTable
from keras_nas.resources.latency_table import all_pieces
from keras_nas.space import ElasticStage, Stem, TFNASOperation, TFNASSpace, pieces

CLASSES = 3
QUICK = Effort(rounds=2, min_processes=2, max_processes=2)


@pytest.fixture
def conversions(monkeypatch):
    """Replaces building and converting, which are slow; counts the conversions."""
    made = []
    monkeypatch.setattr(conversion, "build_piece", lambda piece, _: piece.key)
    monkeypatch.setattr(conversion, "_empty_network", lambda: conversion.EMPTY)

    def convert(name, precision, batch):
        made.append(name)
        return name.encode()

    def operations_of_parts(parts):
        return [["CONV_2D", "ADD"] for _ in parts]

    monkeypatch.setitem(conversion.CONVERTERS, "tflite", convert)
    monkeypatch.setattr(
        conversion, "stitch", lambda parts: made.append("network") or b"-".join(parts)
    )
    monkeypatch.setattr(entries, "operations_of_parts", operations_of_parts)
    monkeypatch.setattr(profile, "operations_of_parts", operations_of_parts)
    return made


@pytest.mark.parametrize(("kind", "scale"), [("fake_device", 1.25), ("fake_profiling_device", 1.0)])
def test_the_truth_is_recovered(kind, scale, request, space, conversions, tmp_path):
    device = request.getfixturevalue(kind)
    table = profile.build_latency_table(space, CLASSES, device, tmp_path, networks=4, effort=QUICK)
    assert table.overhead_ms / table.reference_ms == pytest.approx(
        device.true_ms("empty") / device.true_ms(table.reference.name), rel=1e-4
    )
    machine = table.reference_ms / device.true_ms(table.reference.name)  # its mean speed
    assert table.scale == pytest.approx(scale, rel=1e-6)
    assert table.mean_error < 1e-7 and table.worst_error < 1e-7
    for network in map(space.random, range(20)):
        predicted = table.latency_ms(network, space.input_shape, CLASSES)
        true_ms = device.true_ms(network.name)
        assert predicted == pytest.approx(true_ms * machine, rel=1e-7)


def test_what_the_table_says_about_itself(space, fake_device, conversions, tmp_path):
    table = profile.build_latency_table(
        space, CLASSES, fake_device, tmp_path, networks=4, effort=QUICK, precision="float16"
    )
    table.check(
        device=fake_device.describe(),
        precision="float16",
        threads=1,
        space=space,
        input_shape=space.input_shape,
        classes=CLASSES,
    )
    assert table.reference.name not in ("lightest", "heaviest")
    assert table.method == ("blocks timed alone; scale and overhead fitted on 4 whole networks")
    assert table.space_fingerprint == space.fingerprint()
    assert [n.architecture.name for n in table.calibration][:2] == ["lightest", "heaviest"]
    names = {p.key for p in all_pieces(space, CLASSES)} | {conversion.EMPTY}
    names |= {n.architecture.name for n in table.calibration}
    assert set(table.samples.ratios) == names
    assert all(np.shape(rows) == (2, QUICK.rounds) for rows in table.samples.ratios.values())
    assert conversions.count("network") == 4
    assert sorted(set(conversions) - {"network"}) == sorted(
        {p.key for p in all_pieces(space, CLASSES)} | {conversion.EMPTY}
    )
    assert LatencyTable.from_json(table.to_json()) == table


def test_what_a_table_profiled_in_place_says(space, fake_profiling_device, conversions, tmp_path):
    table = profile.build_latency_table(
        space, CLASSES, fake_profiling_device, tmp_path, networks=4, effort=QUICK
    )
    assert table.method == (
        "operations profiled inside 2 whole networks; scale and overhead fitted on 4 whole networks"
    )
    chosen = {n.architecture.name for n in table.calibration}
    occurrences = {
        f"{name}/{number} {piece.key}"
        for name, network in fake_profiling_device.covering.items()
        for number, piece in enumerate(pieces(network, space.input_shape, CLASSES))
    }
    assert set(table.samples.ratios) == chosen | occurrences
    assert conversions.count("network") == len(chosen) + 2
    assert len(conversions) == len(set(conversions)) + len(chosen) + 1  # each piece once
    assert set(table.entries) == {p.key for p in all_pieces(space, CLASSES)}
    assert LatencyTable.from_json(table.to_json()) == table


def test_a_cut_off_profile_in_place_continues(space, fake_profiling_device, conversions, tmp_path):
    device = fake_profiling_device

    def build():
        return profile.build_latency_table(
            space, CLASSES, device, tmp_path, networks=3, effort=QUICK
        )

    for process in (1, "profile 1"):
        device.cut_off_in_process = process
        with pytest.raises(KeyboardInterrupt):
            build()
    device.cut_off_in_process = None
    table = build()
    assert device.calls == [0, 1, "profile 0", "profile 1"]  # each once
    assert build().entries == table.entries and len(device.calls) == 4
    assert conversions.count("network") == 5


def test_operations_too_fast_for_a_profile(
    space, fake_profiling_device, conversions, tmp_path, monkeypatch
):
    monkeypatch.setattr(profile, "FINEST_US", 50.0)
    table = profile.build_latency_table(
        space, CLASSES, fake_profiling_device, tmp_path, networks=4, effort=QUICK
    )
    assert re.match(
        r"blocks timed alone, at \d+ microseconds an operation too fast for a profile; scale",
        table.method,
    )
    assert not any(str(call).startswith("profile") for call in fake_profiling_device.calls)
    assert table.scale == pytest.approx(1.25, rel=1e-6)


def test_a_cut_off_profile_continues(space, fake_device, conversions, tmp_path):
    def build(progress=lambda *_: None):
        return profile.build_latency_table(
            space, CLASSES, fake_device, tmp_path, networks=3, effort=QUICK, on_progress=progress
        )

    def interrupt(done, total, what):
        if what.startswith("converting") and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(interrupt)
    assert len(conversions) == 4
    fake_device.cut_off_in_process = 1
    with pytest.raises(KeyboardInterrupt):
        build()
    fake_device.cut_off_in_process = None
    table = build()
    assert len(conversions) == len(table.samples.ratios)  # each once
    assert fake_device.calls == [0, 1, 0, 1]  # networks, then pieces, each once
    again = build()
    assert fake_device.calls == [0, 1, 0, 1] and again.entries == table.entries


def test_samples_of_something_else_are_not_used(space, fake_device, conversions, tmp_path):
    def build(space=space, classes=CLASSES, **options):
        profile.build_latency_table(
            space, classes, fake_device, tmp_path, networks=3, **{"effort": QUICK, **options}
        )

    build()
    build(precision="float16")
    build(effort=dataclasses.replace(QUICK, rounds=3))
    fake_device.threads = 2
    build()
    assert fake_device.calls == [0, 1] * 8
    build()
    assert fake_device.calls == [0, 1] * 8


def test_noise_ends_in_the_reported_error(space, noisy_device, conversions, tmp_path):
    effort = Effort(rounds=1, min_processes=8, max_processes=8)
    table = profile.build_latency_table(
        space, CLASSES, noisy_device, tmp_path, networks=5, effort=effort
    )
    assert table.scale == pytest.approx(1.25, rel=0.1)
    assert 0.001 < table.mean_error < 0.1


def test_calibration_networks_are_distinct_and_hold_the_extremes(space):
    found = profile.calibration_architectures(space, 4)
    assert len(found) == 4 and found[:2] == [space.lightest(), space.heaviest()]
    assert all(a.stages != b.stages for a, b in itertools.combinations(found, 2))
    assert len(profile.calibration_architectures(space, 100)) == space.size()


def test_free_widths_are_fitted_on_random_networks_twice_as_many(
    fake_device, conversions, tmp_path
):
    space = TFNASSpace(
        "free",
        stages=(ElasticStage(8, 2, min_depth=1, max_depth=2),),
        operations=(TFNASOperation(3, 2, 4), TFNASOperation(5, 2, 4)),
        stem=Stem(4),
        resolution=8,
    )
    chosen = profile.calibration_architectures(space, 3)
    assert len(chosen) == 6 and chosen[:2] == [space.lightest(), space.heaviest()]
    device = type(fake_device)(space)
    device.by_key |= {piece.key: piece for piece in all_pieces(space, CLASSES)}
    table = profile.build_latency_table(space, CLASSES, device, tmp_path, networks=3, effort=QUICK)
    assert [row.architecture for row in table.calibration] == chosen[2:]
    assert {network.name for network in chosen} <= set(table.samples.ratios)
    assert "fitted on 4 whole networks" in table.method


def test_bad_arguments_are_refused(space, fake_device, tmp_path):
    with pytest.raises(ValueError, match="at least 3 networks, received 2"):
        profile.build_latency_table(space, CLASSES, fake_device, tmp_path, networks=2)
    with pytest.raises(ValueError, match=r"precision .* 'int3'"):
        profile.build_latency_table(space, CLASSES, fake_device, tmp_path, precision="int3")
    assert fake_device.calls == []


@pytest.mark.parametrize("finest_us", [0.0, 5.0])
def test_a_real_table(space, tmp_path, monkeypatch, finest_us):
    monkeypatch.setattr(profile, "FINEST_US", finest_us)
    device = HostDevice()
    table = profile.build_latency_table(space, CLASSES, device, tmp_path, networks=3, effort=QUICK)
    way = "blocks timed alone" if finest_us else "operations profiled inside 2 whole networks"
    assert table.method.startswith(way)
    assert table.device == device.describe()
    assert table.batch == 1 and table.threads == 1
    # These pieces take microseconds, so only the order of magnitude is certain.
    for network in (space.lightest(), space.heaviest()):
        whole = table.latency_ms(network, space.input_shape, CLASSES)
        parts = [table.piece_ms(p) for p in pieces(network, space.input_shape, CLASSES)]
        assert whole == pytest.approx(table.overhead_ms + sum(parts))
    for row in table.calibration:
        assert row.predicted_ms == pytest.approx(row.measured_ms, rel=0.5)
    assert profile.reference_model(table)[4:8] == b"TFL3"


def test_whole_networks_run_in_all_processes_that_are_allowed(
    space, fake_device, conversions, tmp_path
):
    effort = dataclasses.replace(QUICK, rounds=5, max_processes=4)
    table = profile.build_latency_table(
        space, CLASSES, fake_device, tmp_path, networks=3, effort=effort
    )
    assert fake_device.calls == [0, 1, 2, 3, 0, 1]  # pieces end with the error
    shapes = {name: np.shape(rows) for name, rows in table.samples.ratios.items()}
    assert shapes["lightest"] == (4, 3) and shapes[conversion.EMPTY] == (2, 5)


def test_the_reference_is_the_middle_one_by_size(space):
    chosen = profile.calibration_architectures(space, 4)
    sizes = dict(zip((a.name for a in chosen), (10, 500, 90, 40), strict=True))
    assert profile.reference_among(chosen, sizes) == chosen[2]
    assert profile.reference_among(chosen[:3], sizes) == chosen[2]
