"""Every experiment in configs/: loads, is valid, and builds."""

import runpy
from pathlib import Path

import pytest

from keras_nas.method_space import method_space
from keras_nas.models import Supernet, build_network
from keras_nas.models.single_path_supernet import SinglePathSupernet
from keras_nas.models.supernet import check_batch_size
from keras_nas.resources import macs, parameters
from keras_nas.space import SearchSpace
from keras_nas.stage_list import stages_of

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
PREFIXES = {"hardcore_nas": "hardcore", "tf_nas": "tf_nas", "single_path": "single_path"}
"""Method -> how the names of its experiments begin."""
SMALL = 10e6
"""MACs of the heaviest network up to which the supernet is built."""


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def module(request):
    return runpy.run_path(str(request.param)) | {"file": request.param}


def test_there_are_experiments():
    names = {path.stem for path in FILES}
    for prefix in PREFIXES.values():
        assert {f"{prefix}_{data}" for data in ("fashion_mnist", "cifar10", "imagenet")} <= names
    assert {"quickstart", "tf_nas_quickstart", "single_path_quickstart"} <= names


def test_valid_and_named_after_method_and_data(module):
    config = module["get_config"]()
    config.validate()
    stem = module["file"].stem
    assert config.name == stem
    prefix = PREFIXES[config.method]
    if stem not in ("quickstart", "quickstart_two_devices", f"{prefix}_quickstart"):
        method, _, data = stem.partition(f"{prefix}_")
        kind, _, source = config.data.source.partition(":")
        assert method == ""
        assert data == "folder" if kind == "folder" else source.startswith(data.split("_")[0])
    assert stages_of(config)[-1].name == "report"


def test_docstring_states_paper_command_cost_and_what_to_expect(module):
    text = module["__doc__"]
    for field in ("Paper:", "Command:", "Cost:", "Expect:"):
        assert field in text, field
    assert f"configs/{module['file'].name}" in text


def test_space_and_networks_build(module):
    config = module["get_config"]()
    space = method_space(config)
    if config.method == "hardcore_nas" and config.supernet.sampling == "stratified":
        check_batch_size(space, config.supernet.batch_size)
    lightest, heaviest = space.lightest(), space.heaviest()
    for formula in (macs, parameters):
        small, large = (formula(a, space.input_shape, 10) for a in (lightest, heaviest))
        assert 0 < small < large
    network = build_network(lightest, space.input_shape, 10)
    trainable = sum(int(w.numpy().size) for w in network.trainable_weights)
    assert trainable == parameters(lightest, space.input_shape, 10)
    if isinstance(space, SearchSpace) and macs(heaviest, space.input_shape, 10) <= SMALL:
        supernets = {"hardcore_nas": Supernet, "single_path": SinglePathSupernet}
        supernet = supernets[config.method](space, 10)
        assert supernet.count_params() > network.count_params()
