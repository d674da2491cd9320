import logging
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu import checkpoint

VALUES = {
    "weights": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "half": np.linspace(-2, 2, 5).astype(tf.bfloat16.as_numpy_dtype),
    "count": np.int64(2**53 + 1),
    "seed": np.array([2**32 - 1, 5], np.uint32),
    "mask": np.array([True, False]),
    "double": np.array([1 / 3, np.nan, -0.0]),
    "empty": np.zeros([0, 3], np.float32),
    "text": np.array([b"a", b"bc"], object),
}


def variables(values=VALUES):
    return [tf.Variable(value, name=name) for name, value in values.items()]


def zeros():
    return [tf.Variable(tf.zeros_like(v), name=n) for n, v in VALUES.items()]


def assert_same_bits(found, values=VALUES):
    for variable, value in zip(found, values.values(), strict=True):
        assert variable.numpy().dtype == value.dtype
        assert variable.numpy().tolist() == value.tolist() or (
            variable.numpy().tobytes() == value.tobytes()
        )


def plain(value):
    return [tf.Variable(np.full([50], value, np.float32), name="v")]


def folders(directory):
    return sorted(path.name for path in directory.iterdir())


def test_restores_every_dtype_and_shape_exactly(tmp_path):
    assert checkpoint.save(tmp_path, 7, variables()) == tmp_path / "step-7"
    restored = zeros()
    assert checkpoint.restore(tmp_path, restored) == 7
    assert_same_bits(restored)


def test_without_a_checkpoint_variables_keep_their_values(tmp_path):
    kept = variables()
    assert checkpoint.restore(tmp_path, kept) == 0
    assert_same_bits(kept)


def test_saves_keras_variables_and_generator_state(tmp_path):
    generator = keras.random.SeedGenerator(3)
    keras.random.uniform([2], seed=generator)
    saved = [keras.Variable(np.float32([1, 2]), name="a"), generator.state]
    checkpoint.save(tmp_path, 1, saved)
    again = [
        keras.Variable(np.float32([0, 0]), name="a"),
        keras.random.SeedGenerator(9).state,
    ]
    checkpoint.restore(tmp_path, again)
    for before, after in zip(saved, again, strict=True):
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))


@pytest.fixture(params=["disk", "object store"])
def place(request, tmp_path, object_store):
    """A folder on each kind of storage."""
    object_store.mkdir()
    return tmp_path if request.param == "disk" else object_store


def test_keeps_the_newest_by_number_and_those_to_spare(place):
    for step in (8, 9, 10, 11, 12):
        checkpoint.save(place, step, plain(step))
    checkpoint.prune(place, 4)
    assert checkpoint.steps(place) == [9, 10, 11, 12]
    checkpoint.prune(place, 2, {9})
    assert folders(place) == ["step-11", "step-12", "step-9"]
    restored = plain(0)
    assert checkpoint.restore(place, restored) == 12
    assert restored[0][0] == 12


def test_on_an_object_store_only_what_has_its_marker_counts(object_store, caplog):
    object_store.mkdir()
    saved = variables()
    assert checkpoint.save(object_store, 1, saved) == object_store / "step-1"
    checkpoint.save(object_store, 2, saved)
    (object_store / "step-2" / "complete").unlink()
    restored = zeros()
    assert checkpoint.restore(object_store, restored) == 1
    assert_same_bits(restored)
    assert folders(object_store) == ["step-1"]
    assert caplog.text == ""
    checkpoint.save(object_store, 2, saved)
    (object_store / "step-2" / "variables.index").unlink()
    assert not checkpoint.is_sound(object_store, 2)
    assert checkpoint.restore(object_store, restored) == 1
    assert "step-2 is damaged" in caplog.text
    for _ in range(2):
        assert checkpoint.steps(object_store) == [1]
        assert (object_store / "step-2" / ".damaged").exists()
        assert checkpoint.restore(object_store, restored) == 1
    checkpoint.save(object_store, 2, saved)
    assert checkpoint.restore(object_store, restored) == 2


def test_damage_in_older_checkpoints_is_found_as_well(tmp_path, caplog):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, plain(step))
    truncate_data(tmp_path / "step-1")
    assert [checkpoint.is_sound(tmp_path, step) for step in (1, 2, 3)] == [False, True, True]
    restored = plain(0)
    assert checkpoint.restore(tmp_path, restored, tidies=False) == 3
    assert folders(tmp_path) == ["step-1", "step-2", "step-3"]
    assert checkpoint.restore(tmp_path, restored) == 3
    assert restored[0][0] == 3
    assert folders(tmp_path) == ["step-1.damaged", "step-2", "step-3"]
    assert "step-1 is damaged" in caplog.text
    assert "the one before" not in caplog.text


def test_a_process_that_does_not_tidy_skips_damage_and_leaves_it(tmp_path):
    checkpoint.save(tmp_path, 1, plain(1))
    checkpoint.save(tmp_path, 2, plain(2))
    truncate_index(tmp_path / "step-2")
    shutil.copytree(tmp_path / "step-1", tmp_path / "step-3.partial")
    assert checkpoint.restore(tmp_path, plain(0), tidies=False) == 1
    assert folders(tmp_path) == ["step-1", "step-2", "step-3.partial"]


def test_names_a_variable_that_is_not_finite():
    fine = {name: value for name, value in VALUES.items() if name != "double"}
    assert checkpoint.not_finite(variables(fine)) is None
    assert checkpoint.not_finite(variables()) == "double:0"
    bad = fine | {"half": np.array([np.inf], tf.bfloat16.as_numpy_dtype)}
    assert checkpoint.not_finite(variables(bad)) == "half:0"


def test_removes_what_a_killed_writer_left(tmp_path):
    checkpoint.save(tmp_path, 1, plain(1))
    shutil.copytree(tmp_path / "step-1", tmp_path / "step-2.partial")
    assert checkpoint.restore(tmp_path, plain(0)) == 1
    assert folders(tmp_path) == ["step-1"]


def truncate_data(folder):
    data = next(folder.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:-30])


def truncate_index(folder):
    index = folder / "variables.index"
    index.write_bytes(index.read_bytes()[:-10])


def delete_index(folder):
    (folder / "variables.index").unlink()


def delete_data(folder):
    next(folder.glob("*.data-*")).unlink()


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def hold_another_step(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.with_name("step-1"), folder)


@pytest.mark.parametrize(
    "damage",
    [truncate_data, truncate_index, delete_index, delete_data, empty_folder, hold_another_step],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path, caplog, damage):
    checkpoint.save(tmp_path, 1, plain(1))
    checkpoint.save(tmp_path, 2, plain(2))
    damage(tmp_path / "step-2")
    restored = plain(0)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.restore(tmp_path, restored) == 1
    assert restored[0].numpy().tolist() == [1] * 50
    assert f"Checkpoint {tmp_path / 'step-2'} is damaged" in caplog.text
    assert folders(tmp_path) == ["step-1", "step-2.damaged"]
    checkpoint.save(tmp_path, 2, plain(3))
    assert checkpoint.restore(tmp_path, restored) == 2
    assert restored[0][0] == 3


def test_all_checkpoints_damaged_is_logged_and_starts_over(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, plain(1))
    delete_index(tmp_path / "step-1")
    restored = plain(5)
    assert checkpoint.restore(tmp_path, restored) == 0
    assert restored[0][0] == 5
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("pattern", ["*.data-*", "*.index"])
def test_no_flipped_byte_gives_wrong_values(tmp_path, pattern):
    checkpoint.save(tmp_path, 1, plain(1))
    folder = checkpoint.save(tmp_path, 2, plain(2))
    file = next(folder.glob(pattern))
    content = file.read_bytes()
    fallbacks = 0
    for position in range(0, len(content), 5):
        garbled = bytearray(content)
        garbled[position] ^= 0x55
        file.write_bytes(garbled)
        restored = plain(0)
        step = checkpoint.restore(tmp_path, restored)
        assert restored[0].numpy().tolist() == [step] * 50
        if step == 1:
            fallbacks += 1
            shutil.move(tmp_path / "step-2.damaged", folder)
    assert fallbacks > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.zeros([3, 5], np.float32)},
         r"variable 0 is 'weights:0' float32 \[3, 5\] .* and 'weights:0' float32 \[3, 4\] in the"),
        ({"count": np.int32(0)}, r"variable 2 is 'count:0' int32 \[\] .* 'count:0' int64 \[\]"),
        ({"extra": np.float32(0)},
         r"variable 8 is 'extra:0' float32 \[\] in .* and missing .*\(of 9 and 8 variables\)"),
    ],
)  # fmt: skip
def test_a_checkpoint_of_another_program_is_refused_and_kept(tmp_path, changes, message):
    checkpoint.save(tmp_path, 1, variables())
    others = variables(VALUES | changes)
    others[1].assign(tf.ones_like(others[1]))
    with pytest.raises(ValueError, match=message) as raised:
        checkpoint.restore(tmp_path, others)
    assert f"Checkpoint {tmp_path / 'step-1'} was written by another program" in str(raised.value)
    assert "Use another directory, or delete" in str(raised.value)
    assert others[1].numpy().tolist() == [1] * 5
    restored = zeros()
    assert checkpoint.restore(tmp_path, restored) == 1
    assert_same_bits(restored)


def test_a_missing_and_a_renamed_variable_are_refused(tmp_path):
    checkpoint.save(tmp_path, 1, variables())
    with pytest.raises(ValueError, match="variable 7 is missing in this program and 'text:0'"):
        checkpoint.restore(tmp_path, variables()[:-1])
    renamed = [tf.Variable(VALUES["weights"], name="other"), *variables()[1:]]
    with pytest.raises(ValueError, match="variable 0 is 'other:0'"):
        checkpoint.restore(tmp_path, renamed)


def test_numbers_that_keras_appends_to_names_do_not_matter(tmp_path):
    def build():
        model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
        optimizer = keras.optimizers.SGD(momentum=0.9)
        optimizer.build(model.trainable_variables)
        return [*model.variables, *optimizer.variables]

    first, second = build(), build()
    assert [v.path for v in first] != [v.path for v in second]
    checkpoint.save(tmp_path, 1, first)
    checkpoint.restore(tmp_path, second)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))


def test_a_variable_listed_twice_is_an_error(tmp_path):
    shared = keras.Variable(1.0, name="shared")
    with pytest.raises(ValueError, match=r"'shared.*' is listed twice, at positions 0 and 1"):
        checkpoint.save(tmp_path, 1, [shared, shared.value])


def test_a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    checkpoint.save(tmp_path, 1, plain(1))
    with pytest.raises(OSError, match=r"step-1 cannot be written .*Directory not empty"):
        checkpoint.save(tmp_path, 1, plain(2))
    with pytest.raises(OSError, match=r"gone/step-2 cannot be written .*No such file"):
        checkpoint.save(tmp_path / "gone", 2, plain(2))
    assert folders(tmp_path) == ["step-1"]
    restored = plain(0)
    checkpoint.restore(tmp_path, restored)
    assert restored[0][0] == 1
