"""Schedules, optimizer, losses, mixup, weight average, metrics and precision."""

import math

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from keras_nas.training import losses, metrics, mixup, optimizers, precision, schedules
from keras_nas.training.weight_average import WeightAverage


def small_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.DepthwiseConv2D(3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, bias_initializer="ones"),
        ]
    )


def test_cosine_with_and_without_warmup():
    warm, plain = schedules.cosine(0.4, 110, warmup_steps=10), schedules.cosine(0.4, 100)
    for step in (0, 3, 10):
        assert float(warm(step)) == pytest.approx(0.4 * step / 10, abs=1e-6)
    for step in (0, 1, 50, 99, 100):
        expected = 0.4 * 0.5 * (1 + math.cos(math.pi * step / 100))
        assert float(plain(step)) == pytest.approx(expected, abs=1e-6)
        assert float(warm(step + 10)) == pytest.approx(expected, abs=1e-6)
    assert float(warm(1000)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [((0.0, 10), "peak_learning_rate"), ((0.1, 10, 10), "warmup_steps"), ((0.1, 0), "warmup")],
)
def test_schedule_out_of_range(values, message):
    with pytest.raises(ValueError, match=message):
        schedules.cosine(*values)


def test_sgd_is_nesterov_with_decay_in_the_gradient():
    kernel = keras.Variable(np.array([[1.0, -2.0]], np.float32), name="kernel")
    optimizer = optimizers.sgd(0.1, [kernel], momentum=0.9, l2=0.01)
    expected, velocity = kernel.numpy().astype(np.float64), 0.0
    for gradient in ([[0.5, 1.0]], [[-1.0, 0.2]], [[0.3, 0.3]]):
        optimizer.apply([tf.constant(gradient)], [kernel])
        decayed = np.array(gradient) + 0.01 * expected
        velocity = 0.9 * velocity - 0.1 * decayed
        expected = expected + 0.9 * velocity - 0.1 * decayed
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_the_fused_step_is_that_of_keras(momentum, nesterov):
    def build(kind, **options):
        start = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
        kernels = [keras.Variable(start * scale, name="kernel") for scale in (1, 30)]
        optimizer = kind(
            learning_rate=schedules.cosine(0.1, 10), momentum=momentum, nesterov=nesterov, **options
        )
        optimizer.build(kernels)
        step = tf.function(lambda *g: optimizer.apply(list(g), kernels), autograph=False)
        for gradient in gradients:
            step(*gradient)
        return [np.asarray(v) for v in (*kernels, *optimizer.variables)]

    gradients = np.random.default_rng(1).normal(size=(6, 2, 4, 5)).astype(np.float32)
    ours, theirs = build(optimizers.L2SGD), build(keras.optimizers.SGD)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_decay_leaves_batch_norm_and_bias_alone():
    model = small_model()
    optimizer = optimizers.sgd(0.1, model.trainable_variables, l2=0.5)
    before = [variable.numpy() for variable in model.trainable_variables]
    zeros = [tf.zeros(variable.shape) for variable in model.trainable_variables]
    optimizer.apply(zeros, model.trainable_variables)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        changed = (variable.numpy() != old).any()
        assert changed == ("kernel" in variable.name), variable.path


def test_decay_skips_a_bias_kept_in_a_matrix():
    assert not optimizers.is_decayed(keras.Variable(np.ones((6, 4)), name="reduce_bias"))
    assert not optimizers.is_decayed(keras.Variable(np.ones((6, 4)), name="logits"))
    assert optimizers.is_decayed(keras.Variable(np.ones((6, 4)), name="reduce_kernel"))


def test_optimizer_refuses_what_it_would_do_twice_and_serialises():
    with pytest.raises(ValueError, match="leave weight_decay out"):
        optimizers.L2SGD(l2=1e-4, weight_decay=1e-4)
    with pytest.raises(ValueError, match="l2 must not be negative"):
        optimizers.L2SGD(l2=-1.0)
    config = keras.optimizers.serialize(optimizers.L2SGD(l2=0.25, momentum=0.5))
    assert keras.optimizers.deserialize(config).l2 == 0.25


def test_smoothed_cross_entropy_equals_numpy():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(6, 5)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3])
    targets = losses.smooth_labels(tf.constant(labels, tf.int32), 5, 0.1)
    expected_targets = np.eye(5)[labels] * 0.9 + 0.02
    np.testing.assert_allclose(targets, expected_targets, rtol=1e-6)
    expected = -(expected_targets * scipy.special.log_softmax(logits, -1)).sum(-1)
    np.testing.assert_allclose(
        losses.cross_entropy(targets, tf.constant(logits)), expected, rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\)"):
        losses.smooth_labels(tf.constant(labels), 5, 1.0)


def test_distillation_equals_numpy_and_spares_the_teacher():
    random = np.random.default_rng(0)
    teacher, student = (tf.Variable(random.normal(size=(6, 5)), dtype=tf.float32) for _ in "ab")
    with tf.GradientTape() as tape:
        loss = losses.distillation(teacher, student, temperature=3.0)
    softened = scipy.special.softmax(teacher.numpy() / 3, -1)
    log_student = scipy.special.log_softmax(student.numpy() / 3, -1)
    expected = 9 * (softened * (np.log(softened) - log_student)).sum(-1)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    teacher_gradient, student_gradient = tape.gradient(loss, [teacher, student])
    assert teacher_gradient is None
    expected_gradient = 3 * (np.exp(log_student) - softened)
    np.testing.assert_allclose(student_gradient, expected_gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(losses.distillation(teacher, teacher), np.zeros(6), atol=1e-6)
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.distillation(teacher, student, 0.0)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_beta_samples_have_the_distribution(alpha):
    sample = mixup.sample_beta([100_000], alpha, tf.constant([1, 2])).numpy()
    assert sample.min() >= 0 and sample.max() <= 1
    exact = scipy.stats.beta(alpha, alpha)
    # Nearer to the ends than 1e-3 the table cannot resolve; an image does not show it.
    for place in (0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999):
        # Five standard deviations of 100,000 draws.
        assert (sample < place).mean() == pytest.approx(exact.cdf(place), abs=0.008)
    assert sample.mean() == pytest.approx(0.5, abs=0.008)
    assert sample.var() == pytest.approx(exact.var(), abs=0.005)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_beta_table_is_as_exact_as_promised(alpha):
    table = mixup._beta_quantiles(alpha)
    places = np.linspace(0, 1, 20481)
    interpolated = np.interp(places, np.linspace(0, 1, len(table)), table)
    assert np.abs(interpolated - scipy.stats.beta.ppf(places, alpha, alpha)).max() < 1e-4


def test_mixup_mixes_image_and_label_alike():
    images = tf.reshape(tf.repeat(tf.range(8.0), 12), [8, 2, 2, 3])
    labels = tf.one_hot(tf.range(8), 8)
    seed = tf.constant([3, 4])
    mixed, mixed_labels = mixup.mixup(images, labels, alpha=1.0, seed=seed)
    # Image i is the constant i, so a mixed image is the mean of its label distribution.
    np.testing.assert_allclose(
        mixed[:, 0, 0, 0], tf.linalg.matvec(mixed_labels, tf.range(8.0)), rtol=1e-5
    )
    np.testing.assert_allclose(tf.reduce_sum(mixed_labels, -1), np.ones(8), rtol=1e-6)
    assert (np.count_nonzero(mixed_labels, axis=-1) == 2).all()
    again, _ = mixup.mixup(images, labels, alpha=1.0, seed=seed)
    np.testing.assert_array_equal(mixed, again)
    other, _ = mixup.mixup(images, labels, alpha=1.0, seed=seed + 1)
    assert (mixed.numpy() != other.numpy()).any()


@pytest.mark.parametrize(("count", "group"), [(8, 2), (9, 3), (7, 7), (1, 1)])
def test_mixup_mixes_neighbours_of_a_group(count, group):
    assert mixup.mixup_group(count) == group
    labels = tf.eye(count)
    _, mixed = mixup.mixup(tf.ones([count, 1, 1, 3]), labels, alpha=1.0, seed=tf.constant([3, 4]))
    for i, row in enumerate(mixed.numpy()):
        partner = i // group * group + (i + 1) % group
        assert set(np.flatnonzero(row)) <= {i, partner}
        assert row[i] < 1 or group == 1


def test_mixup_off_and_out_of_range():
    images, labels = tf.ones([2, 1, 1, 3]), tf.eye(2)
    np.testing.assert_array_equal(mixup.mixup(images, labels, alpha=0, seed=(1, 2))[1], labels)
    with pytest.raises(ValueError, match="alpha must not be negative"):
        mixup.mixup(images, labels, alpha=-1, seed=(1, 2))


def test_weight_average_follows_the_recurrence_and_swaps():
    weight = keras.Variable(np.float32(1.0))
    average = WeightAverage([weight], decay=0.5)
    expected = 1.0
    for updates, value in enumerate([2.0, -3.0, 5.0, 7.0, 1.0, 0.0, 4.0, 8.0, 8.0, 8.0]):
        weight.assign(value)
        average.update()
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * value
    average.swap()
    assert float(weight.numpy()) == pytest.approx(expected, rel=1e-5)
    average.swap()
    assert float(weight.numpy()) == 8.0


def test_weight_average_holds_every_float_variable_in_its_dtype():
    model = small_model()
    half, whole = keras.Variable(np.float16([[1, 2]])), keras.Variable(5, dtype="int32")
    variables = [*model.variables, half, whole]
    average = WeightAverage(variables, decay=0.5)
    before = [v.numpy() for v in variables]
    for variable in variables:
        variable.assign(variable + 10)
    average.update()  # the first takes a tenth of what was
    average.swap()
    assert {v.name for v in model.variables} >= {"kernel", "moving_mean", "moving_variance"}
    for variable, was in zip(variables[:-1], before, strict=False):
        np.testing.assert_allclose(variable.numpy(), was + 9, rtol=1e-3)
    assert whole.numpy() == 15  # not averaged
    assert {v.dtype for v in average.variables} == {"float32", "float16", "int32"}


def test_weight_average_refuses_a_decay_of_one():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
        WeightAverage(small_model().variables, decay=1.0)


def test_correct_counts_the_k_largest():
    logits = tf.constant([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.3, 0.4, 0.9]])
    labels = tf.constant([1, 1, 0])
    np.testing.assert_array_equal(metrics.correct(labels, logits), [1, 0, 0])
    np.testing.assert_array_equal(metrics.correct(labels, logits, k=2), [1, 1, 0])
    not_finite = tf.constant([[math.nan, 1.0]])
    np.testing.assert_array_equal(metrics.correct(tf.constant([0]), not_finite), [0])


def test_precision_names():
    assert precision.dtype_policy("mixed_bfloat16").compute_dtype == "bfloat16"
    assert precision.dtype_policy("float32").compute_dtype == "float32"
    with pytest.raises(ValueError, match=r"precision must be one of.*Received: 'half'"):
        precision.dtype_policy("half")


def test_whole_recipe_compiles_with_xla():
    model = small_model()
    optimizer = optimizers.sgd(schedules.cosine(0.1, 10, 2), model.trainable_variables, l2=1e-4)
    average = WeightAverage(model.variables, decay=0.9)
    random = np.random.default_rng(0)
    images = tf.constant(random.normal(size=(4, 4, 4, 3)), tf.float32)
    labels = tf.constant([0, 1, 1, 0])

    @tf.function(jit_compile=True)
    def step(seed: tf.Tensor) -> tf.Tensor:
        targets = losses.smooth_labels(labels, 2, 0.1)
        mixed, targets = mixup.mixup(images, targets, alpha=0.2, seed=seed)
        with tf.GradientTape() as tape:
            logits = model(mixed, training=True)
            loss = losses.cross_entropy(targets, logits) + losses.distillation(
                tf.zeros([4, 2]), logits, 2.0
            )
            mean = tf.reduce_mean(loss)
        gradients = tape.gradient(mean, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        average.update()
        return tf.reduce_mean(metrics.correct(labels, logits))

    for number in range(3):
        assert 0 <= float(step(tf.constant([1, number]))) <= 1
    assert int(optimizer.iterations) == 3
