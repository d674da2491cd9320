"""The training phase of a classifier, on one dense layer, against NumPy."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_nas.config import RecipeConfig
from keras_nas.methods.classification import accuracy, train_classifier
from keras_nas.methods.runtime import stage_seed

RECIPE = RecipeConfig(
    epochs=0.02,  # two steps
    batch_size=12,
    learning_rate=0.1,
    momentum=0.0,
    weight_decay=0.0,
    label_smoothing=0.0,
    mixup=0.0,
    weight_average=0.0,
)


def linear(seed):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def logits_of(model, images):
    kernel, bias = model.get_weights()
    return images.reshape(len(images), -1).astype(np.float64) @ kernel + bias


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_first_loss_is_cross_entropy_and_distillation(examples, runtime, weight):
    student, teacher = linear(0), linear(1)
    recipe = dataclasses.replace(RECIPE, distillation=weight, epochs=0.005)  # one step
    dataset = examples.training(12, 0, int(stage_seed(0, "one")[1]))
    images, labels = (part.numpy() for part in next(iter(dataset)))
    probabilities = softmax(logits_of(student, images))
    wanted = softmax(logits_of(teacher, images))
    expected = -np.mean(np.log(probabilities[np.arange(12), labels]))
    # Kullback-Leibler divergence of the student from the teacher at temperature 1.
    expected += weight * np.mean(np.sum(wanted * np.log(wanted / probabilities), axis=1))
    history = train_classifier("one", student, examples, recipe, runtime, teacher=teacher)
    assert len(history) == 1
    assert history[0]["loss"] == pytest.approx(expected, rel=1e-4)
    hits = np.mean(probabilities.argmax(axis=1) == labels)
    assert history[0]["accuracy"] == pytest.approx(hits)


def test_averaged_weights_stay_in_the_model(examples, tmp_path, runtime):
    """Of two plain SGD steps w0 -> w1 -> w2, the model keeps the average that the engine kept."""
    kernels = {}
    for average in (0.0, 0.9):
        model = linear(0)
        start = model.get_weights()[0]
        where = dataclasses.replace(runtime, checkpoints=tmp_path / str(average))
        train_classifier(
            "two", model, examples, dataclasses.replace(RECIPE, weight_average=average), where
        )
        kernels[average] = model.get_weights()[0]
    last, averaged = kernels[0.0] - start, kernels[0.9] - start
    assert np.abs(last).max() > 0
    assert 0 < np.abs(averaged).sum() < np.abs(last).sum()


def test_accuracy_counts_every_image_once(examples, runtime):
    model = linear(0)
    for held_out, size in ((False, 359), (True, 288)):
        hits = total = 0
        for images, labels in examples.evaluation(100, held_out=held_out):
            hits += np.sum(logits_of(model, images.numpy()).argmax(axis=1) == labels.numpy())
            total += len(labels)
        assert abs(total - size) <= 1
        found = accuracy(model, examples, runtime, 100, held_out=held_out)
        assert found == pytest.approx(hits / total, abs=1e-9)
