"""The report of a search over operations with free widths."""

import dataclasses

import pytest

from keras_nas.report import render, summary
from keras_nas.space import TF_NAS, pieces

OPERATIONS = tuple(b % 8 for b in range(18))
DEPTHS = (2, 3, 4, 4, 2, 1)


@pytest.fixture
def run(full):
    """A run of TF-NAS; alpha ends in the chosen operations."""
    network = TF_NAS.architecture(OPERATIONS, DEPTHS, TF_NAS.initial_widths() + 1, "found")
    count = len(pieces(network, (224, 224, 3), 10))
    alpha = [[float(o == chosen) for o in range(8)] for chosen in OPERATIONS]
    beta = [[float(d == depth) for d in row] for row, depth in zip(TF_NAS.depths, DEPTHS,
            strict=True)]  # fmt: skip
    search = full.search | {
        "method": "tf_nas",
        "start": {"alpha": [[1 / 8] * 8] * 18, "beta": [[1 / 4] * 4] * 6},
        "end": {"alpha": alpha, "beta": beta},
    }
    return dataclasses.replace(
        full, space=TF_NAS, architecture=network, latency=[0.25] * count, search=search
    )


def test_operations_and_depths_are_shown(run):
    page = render(run)
    for name in TF_NAS.choice_names:
        assert f'<th scope="col">{name}</th>' in page
    assert "block 1.2, k3_e6: 1.0000, chosen" in page
    assert "block 1.2, k3_e3: 0.0000" in page and "block 1.2, k3_e3: 0.0000, chosen" not in page
    assert page.count(", chosen") == 2 * (sum(DEPTHS) + len(DEPTHS))  # at the start and the end
    assert 'title="block 5.3 is not used"' in page
    assert "stage 5, depth 2: 1.0000, chosen" in page


def test_free_widths_are_shown(run):
    page = render(run)
    assert "16 channels in, 49 inside, 24 out" in page
    assert "×3.062" in page  # 49 / 16
    assert "predicted" in summary(run)


def test_a_network_of_another_space_is_not_marked(run, full):
    page = render(dataclasses.replace(run, architecture=full.architecture, latency=None))
    assert "is not in this space" in page and ", chosen" not in page
