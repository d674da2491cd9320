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
