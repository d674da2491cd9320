"""The page and the picture of a comparison."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_nas.devices import DeviceDescription
from keras_nas.space.published import published_network, published_networks
from keras_nas.tools.comparison import ComparedNetwork, Comparison
from keras_nas.tools.comparison_page import markdown, write
from keras_nas.tools.comparison_plot import DOT, Dot, dots, place_labels, plot


def row(name, latency_ms, *, size=224, accuracy=None, published=True):
    return ComparedNetwork(
        name=name,
        input_shape=(size, size, 3),
        classes=1000,
        macs=224_227_936,
        parameters=5_260_232,
        latency_ms=latency_ms,
        spread_ms=latency_ms / 100,
        raw_ms=latency_ms,
        accuracy=accuracy,
        accuracy_source="as given" if accuracy else "",
        published=published_network(name) if published else None,
    )


def comparison(*networks):
    device = DeviceDescription("host", "Pear 5", 2, "Linux x86_64", "LiteRT", "2.1", "XNNPACK")
    return Comparison(
        device, "float32", 1, 1, "2024-05-01T12:00:00+00:00", 3.25, 5, 8, tuple(networks)
    )


def table(page):
    """Rows of the page's table as column -> cell."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    header, _, *rows = [[cell.strip() for cell in line] for line in cells]
    return [dict(zip(header, line, strict=True)) for line in rows]


def test_the_table_of_published_networks():
    page = markdown(comparison(row("hardcorenas_a", 12.345), row("fbnet_b", 13.0)), "picture.svg")
    first, second = table(page)
    assert first == {
        "network": "hardcorenas_a",
        "input": "224×224",
        "parameters": "5.26 M",
        "MACs": "224 M",
        "**measured latency, ms**": "**12.35 ± 0.12**",
        "published top-1, %": "75.3 [1], 78.3 [2]",
        "published latency, ms": "38 (CPU) [1]",
    }
    assert second["published latency, ms"] == "23.1 (Samsung Galaxy S8) [3]"
    assert "- [1] HardCoRe-NAS, arXiv 2102.11646" in page
    assert "- [3] FBNet, arXiv 1812.03443" in page
    assert "![Published accuracy over measured latency](picture.svg)" in page


def test_it_says_what_was_measured_and_what_was_not():
    page = markdown(comparison(row("hardcorenas_a", 12.345)), None)
    assert "Pear 5, 2 cores, Linux x86_64; LiteRT 2.1 with XNNPACK, float32, 1 thread" in page
    assert "with fresh weights" in page and "5 processes of 8 rounds" in page
    assert "mobilenetv3_small_100, which runs in between, took 3.25 ms" in page
    assert "nothing of them was measured here" in page
    assert "![" not in page and "own top-1" not in page


def test_sources_that_agree_share_a_number():
    (cells,) = table(markdown(comparison(row("mobilenetv3_large_100", 9.0)), None))
    assert cells["published top-1, %"] == "75.2 [1, 2, 3, 4]"


def test_an_accuracy_for_another_resolution_says_so():
    found = comparison(row("hardcorenas_a", 12.0, size=160), row("ofa_note8_22ms", 5.0, size=140))
    first, second = table(markdown(found, None))
    assert first["input"] == "160×160"
    assert first["published top-1, %"].endswith("at 224×224")
    assert second["published top-1, %"] == "70.4 [3]"
    assert [dot.name for dot in dots(found)] == ["ofa_note8_22ms"]


def test_own_accuracies_have_their_own_column():
    own = row("runs/a|b", 8.0, size=64, accuracy=71.25, published=False)
    page = markdown(comparison(own, row("hardcorenas_a", 12.0)), None)
    first, second = table(page)
    assert first["own top-1, %"] == "71.25 (as given)" and second["own top-1, %"] == "–"
    assert first["published top-1, %"] == first["published latency, ms"] == "–"
    assert first["network"] == "runs/a\\|b"
    assert "comparable with published ones only where" in page


def test_dots_are_networks_of_known_accuracy():
    found = comparison(
        row("hardcorenas_a", 12.0),
        row("hardcorenas_b", 13.0, accuracy=50.0),
        row("runs/mine", 5.0, accuracy=60.0, published=False),
        row("runs/other", 5.0, published=False),
        row("mobilenetv3_rw", 9.0),  # no accuracy is published
    )
    assert dots(found) == [
        Dot("hardcorenas_a", 12.0, 0.12, 75.3, False),
        Dot("hardcorenas_b", 13.0, 0.13, 50.0, True),
        Dot("runs/mine", 5.0, 0.05, 60.0, True),
    ]


@pytest.fixture(scope="module")
def picture():
    rows = [
        row(network.name, 5.0 + number, size=network.resolution)
        for number, network in enumerate(published_networks())
    ]
    return dots(comparison(*rows)), plot(dots(comparison(*rows)), "Pear 5")


def test_the_picture_names_every_network(picture):
    points, svg = picture
    assert len(points) > 25
    ElementTree.fromstring(svg)
    # Matplotlib draws text as shapes and keeps what it says in a comment.
    comments = re.findall(r"<!-- (.*?) -->", svg.decode())
    assert {dot.name for dot in points} <= set(comments)
    assert "latency measured on Pear 5, ms" in comments
    assert "published accuracy (ImageNet; not measured here)" in comments
    assert not any("own accuracy" in comment for comment in comments)


def test_the_same_figures_give_the_same_picture(picture):
    points, svg = picture
    assert plot(points, "Pear 5") == svg


def test_a_single_network_can_be_drawn():
    svg = plot([Dot("only", 5.0, 0.1, 70.0, True)], "Pear 5").decode()
    assert "<!-- only -->" in svg and "<!-- own accuracy (on own test images) -->" in svg


def test_labels_cover_nothing_where_there_is_room():
    generator = np.random.default_rng(0)
    middles = generator.uniform(40, 460, (20, 2))
    sizes = np.tile([30.0, 8.0], (20, 1))
    frame, legend = (0, 0, 500, 500), (400, 0, 500, 60)
    boxes = place_labels(middles, sizes, frame, [legend])
    assert boxes[:, 2:] - boxes[:, :2] == pytest.approx(sizes)
    assert boxes[:, :2].min() >= 0 and boxes[:, 2:].max() <= 500
    dots_at = [(x - DOT / 2, y - DOT / 2, x + DOT / 2, y + DOT / 2) for x, y in middles]
    for index, box in enumerate(boxes):
        for other in [*boxes[:index], *dots_at, legend]:
            apart = (
                box[2] <= other[0] + 1e-9 or other[2] <= box[0] + 1e-9
                or box[3] <= other[1] + 1e-9 or other[3] <= box[1] + 1e-9
            )  # fmt: skip
            assert apart, (index, box, other)


def test_a_label_stands_right_of_its_dot_where_nothing_is_in_its_way():
    middles, sizes = np.array([[50.0, 50.0]]), np.array([[20.0, 8.0]])
    (box,) = place_labels(middles, sizes, (0, 0, 100, 100), [])
    assert box == pytest.approx([55, 46, 75, 54])
    (box,) = place_labels(middles, sizes, (0, 0, 60, 100), [])
    assert box == pytest.approx([25, 46, 45, 54])  # left: on the right it would not fit


def test_writing(tmp_path):
    found = comparison(row("hardcorenas_a", 12.0))
    page = write(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison.json", "comparison.md", "comparison.svg",
    ]  # fmt: skip
    assert (tmp_path / "comparison.md").read_text() == page
    write(comparison(row("mobilenetv3_rw", 9.0)), tmp_path)
    assert not (tmp_path / "comparison.svg").exists()  # that of other networks would mislead
