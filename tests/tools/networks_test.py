"""What a command line may name as a network."""

import json

import pytest

from keras_nas.space.published import published, published_networks
from keras_nas.tools.networks import named_network, run_accuracy


@pytest.fixture
def folder(tmp_path, tiny_table):
    """A work directory after its search."""
    (tmp_path / "architecture.json").write_text(tiny_table.reference.to_json())
    (tmp_path / "latency_table.json").write_text(tiny_table.to_json())
    return tmp_path


def test_a_published_network_is_known_by_all_its_names():
    network = named_network("mnasnet_a1")
    assert network == named_network("semnasnet_100")
    assert network.name == "semnasnet_100"
    assert network.architecture == published("semnasnet_100")
    assert (network.input_shape, network.classes) == ((224, 224, 3), 1000)
    assert network.published is not None and network.published.top1 == 75.2


def test_every_published_network_comes_at_its_own_resolution():
    for entry in published_networks():
        size = named_network(entry.name).input_shape[0]
        assert size == entry.resolution


def test_a_file_of_an_architecture(folder, tiny_table):
    path = str(folder / "architecture.json")
    network = named_network(path)
    assert network.architecture == tiny_table.reference
    assert network.name == path
    assert (network.input_shape, network.classes) == ((224, 224, 3), 1000)
    assert network.table is None and network.published is None


def test_a_work_directory_brings_its_table_and_shapes(folder, tiny_table):
    network = named_network(str(folder))
    assert network.architecture == tiny_table.reference
    assert (network.table, network.folder) == (tiny_table, folder)
    assert (network.input_shape, network.classes) == (tiny_table.input_shape, tiny_table.classes)


def test_a_folder_without_a_table_is_taken_for_imagenet(folder):
    (folder / "latency_table.json").unlink()
    network = named_network(str(folder))
    assert (network.table, network.input_shape, network.classes) == (None, (224, 224, 3), 1000)


@pytest.mark.parametrize("text", ["hardcorenas_z", "missing.json", ""])
def test_unknown_names_list_what_is_published(text):
    with pytest.raises(ValueError, match=r"neither a file.*hardcorenas_a.*mixnet_s"):
        named_network(text)


def test_damaged_files_are_named(folder, tmp_path):
    path = folder / "architecture.json"
    for content, message in (
        (b'{"format": "keras_nas.arch', "damaged or truncated"),
        (b'{"format": "keras_nas.latency_table"}', "should have format"),
        (b"\xff\xfe", "not UTF-8"),
    ):
        path.write_bytes(content)
        for text in (str(folder), str(path)):
            with pytest.raises(ValueError, match=message) as caught:
                named_network(text)
            assert str(path) in str(caught.value)


def test_a_damaged_table_is_named(folder):
    (folder / "latency_table.json").write_text("{}")
    with pytest.raises(ValueError, match=r"latency_table\.json should have format"):
        named_network(str(folder))


def test_a_folder_without_an_architecture_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no architecture\.json; .* search has ended"):
        named_network(str(tmp_path))


def test_a_runs_accuracy(tmp_path):
    assert run_accuracy(tmp_path) is None
    (tmp_path / "train.json").write_text(json.dumps({"accuracy": 0.75}))
    assert run_accuracy(tmp_path) == (75.0, "train")
    (tmp_path / "finetune.json").write_text(json.dumps({"accuracy": 0.5}))
    with pytest.raises(ValueError, match=r"finetune and train; say which one counts.*=ACCURACY"):
        run_accuracy(tmp_path)


@pytest.mark.parametrize("accuracy", [None, 75.0, -0.1, "0.7", True])
def test_a_damaged_accuracy_is_refused(tmp_path, accuracy):
    (tmp_path / "train.json").write_text(json.dumps({"accuracy": accuracy}))
    with pytest.raises(ValueError, match=r"train\.json should hold an accuracy between 0 and 1"):
        run_accuracy(tmp_path)
