"""`import keras_nas`: lazy, complete, and every stage by itself as in a notebook."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import keras_nas
from keras_nas.export import TOLERANCE


def test_importing_takes_no_tensorflow_and_no_time():
    script = (
        "import sys, time; began = time.perf_counter(); import keras_nas\n"
        "print(time.perf_counter() - began < 0.5)\n"
        "keras_nas.resources.macs(keras_nas.HARDCORE_NAS.lightest(), (224, 224, 3), 1000)\n"
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert process.stdout.split("\n")[:2] == ["True", "[]"], process.stderr


def test_every_name_exists_where_it_is_said_to():
    assert set(keras_nas.__all__) <= set(dir(keras_nas))
    for name in keras_nas.__all__:
        value = getattr(keras_nas, name)
        assert getattr(importlib.import_module(keras_nas._HOME[name]), name) is value
        assert getattr(value, "__doc__", None)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'keras_nas' has no attribute 'serach'"):
        _ = keras_nas.serach
    with pytest.raises(ImportError):
        from keras_nas import serach  # noqa: F401


def test_a_walk_through_the_stages(tiny_config, made_up_table, tmp_path):
    """As a notebook has it, but for the table, which is made up to save the time of measuring."""
    config = tiny_config
    space = keras_nas.load_space(config.space)
    examples = keras_nas.load_examples(config.data, resolution=16, seed=0)
    classes = examples.source.classes
    table = made_up_table(space, classes)
    runtime = keras_nas.Runtime(tmp_path)

    heaviest, _ = keras_nas.pretrain(space, examples, config.pretrain, runtime)
    supernet, _ = keras_nas.train_supernet(space, examples, config.supernet, runtime, heaviest)

    models, limits = keras_nas.limited_resources(space, table, config.limits)
    costs = keras_nas.staged_costs(space, models)
    values = [limit.limit for limit in limits]
    result = keras_nas.search(supernet, costs, values, config.search, examples, runtime)
    architecture = keras_nas.project_search(space, result, costs, limits)
    assert table.latency_ms(architecture, space.input_shape, classes) <= values[0]

    network, _ = keras_nas.final_network(
        architecture,
        space,
        examples,
        config.finetune,
        runtime,
        batch_norm_images=64,
        supernet=supernet,
        heaviest=heaviest,
    )
    assert network.count_params() >= keras_nas.parameters(architecture, space.input_shape, classes)
    assert 0 <= keras_nas.accuracy(network, examples, runtime, batch_size=180) <= 1

    tflite = keras_nas.convert(network, "float32")
    images = next(iter(examples.evaluation(8)))[0].numpy()
    keras_nas.check_operations(tflite)
    assert keras_nas.check_outputs(network, tflite, images, TOLERANCE["float32"]) < 1e-3
