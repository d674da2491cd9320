import dataclasses
import re

from keras_nas.report.heat_map import Chosen, alpha_map, beta_map
from keras_nas.space import HARDCORE_NAS


def _cells(html):
    """(classes, title) of every coloured cell."""
    return re.findall(r'<td class="(p[^"]*)" style="[^"]*" title="([^"]*)"', html)


def test_alpha_has_a_cell_for_every_block_and_configuration(full):
    html = alpha_map(HARDCORE_NAS, full.search["end"]["alpha"], None, "alpha")
    assert len(_cells(html)) == 20 * 12
    assert html.count("<tbody>") == 5


def test_alpha_shows_each_probability_and_label():
    rows = [[(12 * b + c) / 1000 for c in range(12)] for b in range(20)]
    cells = _cells(alpha_map(HARDCORE_NAS, rows, None, "alpha"))
    values = [float(title.split(": ")[1]) for _, title in cells]
    assert values == [value for row in rows for value in row]
    assert cells[0][1].startswith("block 1.1, e3 k3:")
    assert cells[12 * 5 + 7][1].startswith("block 2.2, e4 k5 se:")


def test_chosen_cells_are_those_of_the_network(full):
    depths, configurations = HARDCORE_NAS.encode(full.architecture)
    html = alpha_map(
        HARDCORE_NAS, full.search["start"]["alpha"], Chosen(depths, configurations), ""
    )
    marked = [n for n, (classes, _) in enumerate(_cells(html)) if "chosen" in classes]
    used = [4 * s + i for s, depth in enumerate(depths) for i in range(depth)]
    assert marked == [12 * b + configurations[b] for b in used]
    assert html.count('class="unused"') == 20 - len(used)


def test_beta_leaves_depths_that_do_not_exist_empty():
    stages = (dataclasses.replace(HARDCORE_NAS.stages[0], max_depth=3), *HARDCORE_NAS.stages[1:])
    space = dataclasses.replace(HARDCORE_NAS, stages=stages)
    html = beta_map(space, [[0.25, 0.75, 0.0], *[[0.2, 0.3, 0.5]] * 4], None, "beta")
    assert len(_cells(html)) == 2 + 4 * 3
    assert html.count("<td></td>") == 1
    assert "stage 1, depth 3: 0.7500" in html


def test_other_shapes_are_not_drawn():
    assert alpha_map(HARDCORE_NAS, [[0.5, 0.5]] * 20, None, "") is None
    assert alpha_map(HARDCORE_NAS, [[1 / 12] * 12] * 19, None, "") is None
    assert beta_map(HARDCORE_NAS, None, None, "") is None
