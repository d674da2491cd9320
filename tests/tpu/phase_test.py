import pytest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"steps": 0}, "'counting': steps must be at least 1, received 0"),
        ({"steps_per_loop": -2}, "'counting': steps_per_loop must be at least 1, received -2"),
    ],
)
def test_a_phase_checks_itself(counting, changes, message):
    with pytest.raises(ValueError, match=message):
        counting(**changes)
