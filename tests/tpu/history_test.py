import pytest

from tpu.history import FILE_NAME, History


def rows(*steps):
    return [{"step": step, "loss": 1 / step} for step in steps]


def test_rows_after_the_restored_step_are_dropped(tmp_path):
    history = History(tmp_path, 0)
    assert history.rows == []
    for row in rows(3, 6, 9):
        history.append(row)
    history.flush()
    assert History(tmp_path, 8).rows == rows(3, 6)
    history = History(tmp_path, 6)
    history.append({"step": 8, "loss": float("nan")})
    assert [row["step"] for row in History(tmp_path, 8).rows] == [3, 6, 8]


def test_a_row_whose_writer_was_killed_is_dropped(tmp_path):
    history = History(tmp_path, 0)
    for row in rows(3, 6):
        history.append(row)
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text()[:-4])
    history = History(tmp_path, 6)
    assert history.rows == rows(3)
    history.append(rows(6)[0])
    assert History(tmp_path, 6).rows == rows(3, 6)


@pytest.mark.parametrize("line", ["{", '{"loss": 1}', "[1]", ""])
def test_a_damaged_line_is_an_error_that_names_it(tmp_path, line):
    path = tmp_path / FILE_NAME
    content = f'{{"step": 1}}\n{line}\n{{"step": 3}}\n'
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"Line 2 of {path} is not a row .* delete the file"):
        History(tmp_path, 3)
    assert path.read_text() == content


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    history = History(tmp_path, 0)
    path = tmp_path / FILE_NAME
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=rf"History {path} cannot be written \(Is a directory\)"):
        history.append(rows(1)[0])


def test_on_an_object_store_rows_are_there_after_flush(object_store):
    object_store.mkdir()
    history = History(object_store, 0)
    for row in rows(3, 6):
        history.append(row)
    history.flush()
    history.append(rows(9)[0])
    assert History(object_store, 9).rows == rows(3, 6)
    assert History(object_store, 5).rows == rows(3)


def test_one_that_does_not_write_leaves_the_file_alone(tmp_path):
    assert History(tmp_path, 0, writes=False).rows == []
    assert list(tmp_path.iterdir()) == []
    history = History(tmp_path, 0)
    for row in rows(3, 6):
        history.append(row)
    reader = History(tmp_path, 3, writes=False)
    reader.append(rows(9)[0])
    reader.flush()
    assert [row["step"] for row in reader.rows] == [3, 9]
    assert History(tmp_path, 9).rows == rows(3, 6)


def test_the_best_of_some_steps_is_that_of_the_lowest_metric(tmp_path):
    history = History(tmp_path, 0)
    for step, loss in ((2, 0.5), (4, 0.25), (6, 0.1), (8, 0.25)):
        history.append({"step": step, "loss": loss})
    assert history.best([2, 4, 6, 8], "loss") == 6
    assert history.best([2, 4, 8, 10], "loss") == 8  # of two as good, the later
    assert history.best([10], "loss") is None
    with pytest.raises(ValueError, match=r"lowest 'error', which .* have \['loss', 'step'\]"):
        history.best([2], "error")
