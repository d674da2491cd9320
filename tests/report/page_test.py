import dataclasses
import math
import re
from html.parser import HTMLParser

import pytest

from keras_nas import report
from keras_nas.report.page import SECTIONS
from keras_nas.resources import macs, parameters

VOID = {"meta", "br", "hr", "img", "link", "input"}
PARTS = ("latency", "search", "measurement", "training", "table", "files", "settings", "versions")


class Page(HTMLParser):
    """Checks that elements nest, and collects what a reader sees."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.text, self.tags, self.anchors = [], {"": ""}, [], []
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "section":
            self.section = attributes["id"]
            self.anchors.append(self.section)
            self.text[self.section] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text[self.section] += data + " "


def test_page_nests_and_has_every_section(full):
    page = Page(report.render(full))
    assert page.anchors == [anchor for anchor, _, _ in SECTIONS]
    linked = [a["href"] for tag, a in page.tags if tag == "a"]
    assert linked == [f"#{anchor}" for anchor in page.anchors]
    assert not any("missing" in a.get("class", "") for _, a in page.tags)


def test_headline_shows_the_run_s_numbers(full):
    text = Page(report.render(full)).text[""]
    predicted = math.fsum(full.latency) + 0.125
    for shown in (
        "93.8%", "7.750 ms", "± 0.05 ms", f"{predicted:.3f} ms", "8.000 ms", "5.31 MB",
        f"{macs(full.architecture, full.input_shape, full.classes) / 1e6:.0f} M",
        f"{parameters(full.architecture, full.input_shape, full.classes) / 1e6:.2f} M",
    ):  # fmt: skip
        assert shown in text
    assert "✓ Keeps the latency limit" in text
    assert "By measurement: kept (7.750 ms ± 0.05 ms, 3.1% below)" in text


def test_sections_show_the_run_s_numbers(full):
    text = Page(report.render(full)).text
    assert "linear programs 1.0 s: 1.00% of the search" in text["trajectory"]
    assert "Expected latency stays within the limit" in text["trajectory"]
    for n in range(3):
        assert f"{5.2 + n:.3f} ms" in text["latency"]
        assert f"{100 * (5.2 + n) / (5 + n) - 100:+.1f}%" in text["latency"]
    assert "91.2%" in text["accuracy"] and "1 min 01 s" in text["accuracy"]
    for shown in ("3.500 ms", "12.75 ms", "8.125 ms", "exact (used)"):
        assert shown in text["limit"]
    for shown in ("Test CPU", "3.15.0", "search.steps", "digit 9", "5.31 MB", "runs/digits"):
        assert shown in text["provenance"]


@pytest.mark.parametrize(
    ("measurement", "head"),
    [
        ({"latency_ms": 7.9, "spread_ms": 0.05}, "✓ Keeps the latency limit"),
        ({"latency_ms": 7.99, "spread_ms": 0.05}, "only within the measurement"),
        ({"latency_ms": 8.01, "spread_ms": 0.0}, "✗ Breaks the latency limit"),
    ],
)
def test_verdict_follows_the_measurement(full, measurement, head):
    assert head in report.render(dataclasses.replace(full, measurement=measurement))


def test_trajectory_over_the_limit_is_named(full):
    full.search["trajectory"][3]["latency_ms"] = 8.01
    assert "Expected latency exceeds the limit" in report.render(full)


def test_every_limited_resource_has_verdict_chart_and_range(full):
    full.search["limits"]["macs"] = 1e6
    full.search["resources"]["macs"] = {"smallest": 9e5, "largest": 3e8}
    for row in full.search["trajectory"]:
        row["macs"] = 9e5
    text = Page(report.render(full)).text
    assert "✗ Breaks the MACs limit" in text[""]
    assert "Expected MACs stays within the limit" in text["trajectory"]
    assert "MACs of the space" in text["limit"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_said_not_raised(full, bare, part):
    page = Page(report.render(dataclasses.replace(full, **{part: getattr(bare, part)})))
    assert any(a.get("class") == "missing" for _, a in page.tags)
    assert ("not exported" in page.text[""]) == (part == "files")


def test_a_bare_run_says_what_is_missing(bare):
    page = Page(report.render(bare))
    assert "No limit was set" in page.text[""]
    for anchor, sentence in {
        "network": "No latency of its pieces",
        "choices": "no probabilities",
        "trajectory": "no trajectory",
        "latency": "not measured yet",
        "accuracy": "No stage trained",
        "limit": "no candidates",
        "provenance": "Versions: not recorded",
    }.items():
        assert sentence in page.text[anchor]


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "text"])
def test_bad_numbers_become_dashes(full, bad):
    def spoiled(value):
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return bad if isinstance(value, float) else value

    parts = ("search", "measurement", "training", "table", "latency")
    data = dataclasses.replace(full, **{p: spoiled(getattr(full, p)) for p in parts})
    page = Page(report.render(data))
    assert page.anchors == [anchor for anchor, _, _ in SECTIONS]
    assert not re.search(r"\b(nan|inf|None)\b", "".join(page.text.values()))
    assert "–" in page.text[""]


def test_strings_are_escaped(full):
    evil = "<script>alert('x')</script>&\""
    data = dataclasses.replace(
        full,
        title=evil,
        class_names=(evil,),
        training={evil: {"history": [{"step": 1, f"loss{evil}": 1.0, "loss": 2.0}]}},
        table={**full.table, "device": {evil: evil}, "method": evil},
        files=[(evil, 1)],
        settings={evil: evil},
        versions={evil: evil},
        directory=evil,
        space=dataclasses.replace(full.space, name=evil),
        search={**full.search, "resources": {evil: {evil: 1.0}}, "limits": {evil: 2.0}},
        projection={"candidates": {evil: {}}},
    )  # fmt: skip
    page = Page(report.render(data))
    assert all(tag != "script" for tag, _ in page.tags)
    assert page.text["provenance"].count(evil) >= 9
    assert evil in page.text[""] and evil in page.text["accuracy"] and evil in page.text["limit"]


def test_page_is_self_contained(full):
    text = report.render(full)
    assert not re.search(r"https?:|@import|url\(|<(script|link|img|iframe|object)", text)
    assert all("src" not in attributes for _, attributes in Page(text).tags)


def test_drawings_and_tables_are_labelled(full):
    page = Page(report.render(full))
    drawings = [a for tag, a in page.tags if tag == "svg"]
    assert drawings and all(a["role"] == "img" and a["aria-label"] for a in drawings)
    tables = sum(tag == "table" for tag, _ in page.tags)
    heads = sum(tag == "thead" for tag, _ in page.tags)
    assert tables == heads > 0
    assert all(a.get("scope") for tag, a in page.tags if tag == "th")
