"""Models for measuring, with an independent look at the files."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from keras_nas.devices import HostDevice, KerasDevice, conversion
from keras_nas.devices.conversion import EMPTY, Target, convert_models, fresh_model
from keras_nas.export import check_operations, convert_frozen
from keras_nas.models import build_network

CLASSES = 3


@pytest.fixture
def target(space):
    return Target(space, CLASSES, HostDevice(), "float32")


def shapes(path):
    interpreter = Interpreter(str(path))
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    return [list(entry["shape"]) for entry in ends]


def test_networks_pieces_and_the_empty_network(target, space, tmp_path):
    key = space.block_pieces()[0][0].key
    seen = []
    paths = convert_models(
        target,
        tmp_path,
        architectures=[space.heaviest(), space.lightest()],
        names=[key, EMPTY],
        on_progress=lambda *progress: seen.append(progress),
    )
    # The heaviest network has four pieces; the lightest shares all but its block, which is `key`.
    assert len(paths) == len(seen) == 1 + 1 + 4 + 2
    assert seen == [(n, 8, f"converting {name}") for n, name in enumerate(paths, start=1)]
    assert shapes(paths["heaviest"]) == shapes(paths["lightest"]) == [[1, 8, 8, 3], [1, 3]]
    assert shapes(paths[key]) == [[1, 4, 4, 8], [1, 2, 2, 8]]
    assert shapes(paths[EMPTY]) == [[1, 1, 1, 8]] * 2


def test_what_is_there_is_not_made_again(target, space, tmp_path, monkeypatch):
    networks = [space.heaviest(), space.lightest()]
    paths = convert_models(target, tmp_path, architectures=networks)
    monkeypatch.setattr(conversion, "build_piece", None)
    monkeypatch.setattr(conversion, "stitch", None)
    assert convert_models(target, tmp_path, architectures=networks) == paths


def test_networks_of_one_name_have_files_of_their_own(target, space, tmp_path):
    one = convert_models(target, tmp_path, architectures=[space.heaviest()])
    renamed = dataclasses.replace(space.lightest(), name="heaviest")
    other = convert_models(target, tmp_path, architectures=[renamed])
    assert one["heaviest"] != other["heaviest"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_fresh_model_has_the_operations_of_the_whole_network(space, precision):
    network = space.heaviest()
    fresh = fresh_model(network, space.input_shape, CLASSES, precision=precision)
    model = build_network(network, space.input_shape, CLASSES)
    generator = np.random.default_rng(0)
    for variable in model.variables:  # a trained network's activations do not vanish
        if len(variable.shape) > 1:
            variable.assign(generator.normal(0, 0.3, variable.shape))
    assert check_operations(fresh) == check_operations(convert_frozen(model, precision))


def test_a_fresh_model_of_another_batch(space):
    fresh = fresh_model(space.lightest(), space.input_shape, CLASSES, batch=2)
    (source,) = Interpreter(model_content=fresh).get_input_details()
    assert list(source["shape"]) == [2, 8, 8, 3]


def test_other_formats_are_converted_as_a_whole(space, tmp_path):
    target = Target(space, CLASSES, KerasDevice(batch=2), "float32")
    paths = convert_models(target, tmp_path, architectures=[space.lightest()])
    assert list(paths) == ["lightest"] and paths["lightest"].suffix == ".graph"
    fresh = fresh_model(space.lightest(), space.input_shape, CLASSES, model_format="graph", batch=2)
    assert len(fresh) == len(paths["lightest"].read_bytes())


def test_a_bad_precision_is_named(target, space, tmp_path):
    bad = dataclasses.replace(target, precision="int3")
    with pytest.raises(ValueError, match=r"precision .* 'int3'"):
        convert_models(bad, tmp_path, architectures=[space.lightest()])
