"""What a comparison's command line may name."""

import json

import pytest

from keras_nas.space.published import published_networks
from keras_nas.tools.comparison_entries import read_entries


def test_published_stands_for_all():
    entries = read_entries(["published"])
    assert [entry.network.name for entry in entries] == [n.name for n in published_networks()]
    assert {entry.accuracy for entry in entries} == {None}


def test_every_network_has_its_own_resolution_unless_told_otherwise():
    own = read_entries(["hardcorenas_a", "ofa_note8_22ms"])
    assert [entry.network.input_shape for entry in own] == [(224, 224, 3), (140, 140, 3)]
    same = read_entries(["hardcorenas_a", "ofa_note8_22ms"], 96)
    assert [entry.network.input_shape for entry in same] == [(96, 96, 3)] * 2


def test_own_networks_bring_accuracies(tmp_path, tiny_table):
    folder = tmp_path / "lr=0.1"
    folder.mkdir()
    file = folder / "architecture.json"
    file.write_text(tiny_table.reference.to_json())
    (folder / "latency_table.json").write_text(tiny_table.to_json())
    assert read_entries([str(folder)])[0].accuracy is None
    (folder / "train.json").write_text(json.dumps({"accuracy": 0.5}))
    trained, given = read_entries([str(folder), f"{file}=71.3"])
    assert (trained.accuracy, given.accuracy) == (50.0, 71.3)
    assert trained.accuracy_source == "stage train, on its own test images"
    assert given.accuracy_source == "as given"
    assert trained.network.input_shape == tiny_table.input_shape
    assert trained.network.classes == tiny_table.classes
    assert given.network.input_shape == (224, 224, 3)
    replaced = read_entries([f"{folder}=60"])[0]
    assert (replaced.accuracy, replaced.accuracy_source) == (60.0, "as given")
    assert replaced.network.name == str(folder)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no network given"),
        (["hardcorenas_z"], "neither a file"),
        (["mnasnet_a1", "semnasnet_100"], "semnasnet_100 stands twice"),
        (["published", "mixnet_s"], "mixnet_s stands twice"),
        (["mixnet_s=high"], "in 'mixnet_s=high' should be a number, in percent"),
        (["mixnet_s=0.75"], "in percent, above 1 and at most 100, received 0.75"),
        (["mixnet_s=101"], "received 101"),
        (["mixnet_s=nan"], "received nan"),
    ],
)
def test_entries_that_are_refused(texts, message):
    with pytest.raises(ValueError, match=message):
        read_entries(texts)
