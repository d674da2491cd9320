"""What a run leaves in log.txt and events.jsonl, also where it is killed."""

import logging
import warnings

import pytest

from keras_nas import journal


def lines(folder):
    """The log without its times."""
    return [line[20:] for line in (folder / journal.LOG).read_text().splitlines()]


LOOP = {"phase": "pretrain", "steps": 9, "seconds": 0.5, "loss": 2.25, "accuracy": 0.125}


def test_a_run_is_written_down(tmp_path):
    with journal.opened(tmp_path, "mine") as book:
        book.line("[1/9] profile: up to date\nresource")
        book.event("restored", phase="pretrain", step=3, checkpoint="x")
        book.event("loop", step=6, **LOOP)
        book.event("loop", step=7, **LOOP)
        book.event("loop", step=9, **LOOP)
    found = journal.read_events(tmp_path)
    kinds = ["run_began", "restored", "loop", "loop", "loop", "run_ended"]
    assert [event["event"] for event in found] == kinds
    assert found[0]["name"] == "mine"
    assert {**found[3], "time": ""} == {"time": "", "event": "loop", "step": 7, **LOOP}
    assert found[0]["time"] <= found[-1]["time"]
    assert found[0]["time"].endswith("+00:00")
    assert lines(tmp_path) == [
        "[1/9] profile: up to date",
        "resource",
        "pretrain: continues after step 3",
        "pretrain: step 6 of 9, loss 2.25, accuracy 0.125",
        "pretrain: step 9 of 9, loss 2.25, accuracy 0.125",  # 7 came too soon after 6
    ]


def test_it_grows_and_a_half_line_of_a_killed_run_is_dropped(tmp_path):
    with journal.opened(tmp_path, "first"):
        pass
    for name in (journal.EVENTS, journal.LOG):
        with open(tmp_path / name, "a") as file:
            file.write('{"time": "2024-05-01T12')
    assert [event["event"] for event in journal.read_events(tmp_path)] == ["run_began", "run_ended"]
    with journal.opened(tmp_path, "second") as book:
        book.line("a line")
    assert [event.get("name") for event in journal.read_events(tmp_path)] == [
        "first",
        None,
        "second",
        None,
    ]
    assert lines(tmp_path) == ["a line"]


def test_the_error_that_ends_a_run_is_in_both(tmp_path):
    with pytest.raises(ValueError, match="too tight"), journal.opened(tmp_path, "mine"):
        raise ValueError("too tight")
    last = journal.read_events(tmp_path)[-1]
    assert (last["event"], last["kind"], last["message"]) == ("error", "ValueError", "too tight")
    assert lines(tmp_path) == ["error: too tight"]


def test_warnings_are_in_both_while_it_is_open(tmp_path):
    with pytest.warns(UserWarning), journal.opened(tmp_path, "mine"):
        logging.getLogger("tpu.checkpoint").warning("step-%d is damaged", 3)
        logging.getLogger("tpu.checkpoint").info("no news")
        logging.getLogger("another").warning("not ours")
        warnings.warn("does not bind", UserWarning, stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    logging.getLogger("tpu.checkpoint").warning("too late")
    said = [
        event["message"] for event in journal.read_events(tmp_path) if event["event"] == "warning"
    ]
    assert said == ["step-3 is damaged", "does not bind"]
    assert lines(tmp_path) == ["warning: step-3 is damaged", "warning: does not bind"]


def test_on_an_object_store(object_store):
    object_store.mkdir()
    for name in ("first", "second"):
        with journal.opened(object_store, name) as book:
            book.line("a line")
    assert [event.get("name") for event in journal.read_events(object_store)] == [
        "first",
        None,
        "second",
        None,
    ]
    assert lines(object_store) == ["a line"] * 2


def test_a_damaged_line_is_an_error_that_names_it(tmp_path):
    assert journal.read_events(tmp_path) == []
    (tmp_path / journal.EVENTS).write_text('{"event": "loop"}\n{"event"\n')
    with pytest.raises(ValueError, match=r"line 2 of .*events.jsonl is damaged or truncated"):
        journal.read_events(tmp_path)
