"""`python -m keras_nas.tools.inspect`."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from keras_nas.tools.inspect import format_table, inspect_network
from keras_nas.tools.networks import named_network

GOLDEN = Path(__file__).parents[2] / "../shared/golden/published_networks.json"


def run(*arguments):
    command = [sys.executable, "-m", "keras_nas.tools.inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path, tiny_table):
    """A work directory after its search."""
    (tmp_path / "architecture.json").write_text(tiny_table.reference.to_json())
    (tmp_path / "latency_table.json").write_text(tiny_table.to_json())
    return tmp_path


def test_totals_are_the_golden_ones():
    if not GOLDEN.exists():
        pytest.skip("the golden numbers are not in this checkout")
    golden = json.loads(GOLDEN.read_text())["networks"]
    counted = [name for name in golden if "params" in golden[name]]
    assert len(counted) >= 6
    for name in counted:
        result = inspect_network(named_network(name))
        expected = golden[name]
        assert (result["parameters"], result["macs"]) == (expected["params"], expected["macs"]), (
            name
        )
        for row, block in zip(result["blocks"][1:-1], expected.get("blocks", ()), strict=False):
            assert row["parameters"] == block["params"], (name, row["stage"])


def test_a_block_counted_by_hand():
    """The fifth block of HardCoRe-NAS A: 40 to 40 channels at 28x28, 6x, 5x5, 240 / 4 -> 64."""
    rows = {row["stage"]: row for row in inspect_network(named_network("hardcorenas_a"))["blocks"]}
    pixels, middle, squeezed = 28 * 28, 240, 64
    weights = 40 * middle + 25 * middle + middle * 40
    assert rows["3.2"] == {
        "stage": "3.2",
        "block": "ir",
        "input_shape": (28, 28, 40),
        "output_shape": (28, 28, 40),
        "kernel_sizes": (5,),
        "stride": 1,
        "middle_channels": 240,
        "expansion_ratio": 6,
        "se_ratio": 0.25,
        "se_channels": 64,
        "activation": "relu",
        "residual": True,
        "macs": pixels * weights + 2 * middle * squeezed,
        "parameters": weights
        + 2 * (middle + middle + 40)
        + (2 * middle * squeezed + squeezed + middle),
    }
    assert rows["stem"]["kernel_sizes"] == (3,) and rows["stem"]["stride"] == 2
    assert rows["head"]["middle_channels"] == 1280
    assert rows["head"]["kernel_sizes"] is None and rows["2.1"]["se_channels"] is None
    assert rows["2.1"]["residual"] is False


def test_mixed_kernels_and_fixed_widths():
    rows = {row["stage"]: row for row in inspect_network(named_network("mixnet_s"))["blocks"]}
    assert rows["6.1"]["kernel_sizes"] == (3, 5, 7, 9, 11)
    rows = {row["stage"]: row for row in inspect_network(named_network("tf_nas_a"))["blocks"]}
    assert (rows["2.1"]["middle_channels"], rows["2.1"]["expansion_ratio"]) == (83, 83 / 16)


def test_resolution_and_classes():
    one = inspect_network(named_network("hardcorenas_a"))
    other = inspect_network(named_network("hardcorenas_a"), resolution=112, classes=10)
    assert other["input_shape"] == (112, 112, 3) and other["classes"] == 10
    assert one["parameters"] - other["parameters"] == 990 * 1281
    assert one["blocks"][0]["macs"] == 4 * other["blocks"][0]["macs"]
    assert inspect_network(named_network("ofa_note8_22ms"))["input_shape"] == (140, 140, 3)


def test_latencies_are_the_tables_and_add_up(folder, tiny_table):
    result = inspect_network(named_network(str(folder)))
    shape, classes = tiny_table.input_shape, tiny_table.classes
    expected = tiny_table.latency_ms(tiny_table.reference, shape, classes)
    assert result["latency_ms"] == expected
    parts = [row["latency_ms"] for row in result["blocks"]]
    assert math.fsum([*parts, result["overhead_ms"]]) == pytest.approx(expected, rel=1e-12)
    shares = [row["share"] for row in result["blocks"]]
    assert shares == pytest.approx([part / expected for part in parts])
    assert result["overhead_ms"] > 0 and min(parts) > 0
    assert result["latency_table"]["device"]["runtime"] == "LiteRT"


def test_a_table_that_is_given_decides_on_sizes(folder, tiny_table):
    file = named_network(str(folder / "architecture.json"))
    assert "latency_ms" not in inspect_network(file)
    assert (
        inspect_network(file, table=tiny_table)["blocks"]
        == (inspect_network(named_network(str(folder)))["blocks"])
    )


def test_a_table_for_something_else_is_refused(folder, tiny_table):
    file = named_network(str(folder / "architecture.json"))
    with pytest.raises(ValueError, match="made for input_shape"):
        inspect_network(file, table=tiny_table, resolution=224)
    with pytest.raises(ValueError, match="made for classes 10"):
        inspect_network(file, table=tiny_table, classes=11)
    with pytest.raises(ValueError, match="no entry for piece"):
        inspect_network(named_network("hardcorenas_a"), table=tiny_table)
    message = r"classes, asked for are .* 11\. Leave these out, or name .*architecture\.json"
    with pytest.raises(ValueError, match=message):
        inspect_network(named_network(str(folder)), classes=11)


def test_the_table_shows_what_the_rows_hold(folder):
    result = inspect_network(named_network(str(folder)))
    lines = format_table(result).splitlines()
    header = lines[2].split()
    assert header[0] == "stage" and header[-2:] == ["ms", "share"]
    shown = [
        dict(zip(header, line.split(), strict=True))
        for line in lines[3 : 3 + len(result["blocks"])]
    ]
    for cells, row in zip(shown, result["blocks"], strict=True):
        assert cells["stage"] == row["stage"]
        assert cells["input"] == "×".join(map(str, row["input_shape"]))
        assert cells["output"] == "×".join(map(str, row["output_shape"]))
        assert int(cells["MACs"].replace(",", "")) == row["macs"]
        assert int(cells["parameters"].replace(",", "")) == row["parameters"]
        assert float(cells["ms"]) == pytest.approx(row["latency_ms"], abs=1e-3)
        assert float(cells["share"][:-1]) == pytest.approx(100 * row["share"], abs=0.06)
    runtime, total = (line.split() for line in lines[3 + len(shown) : 5 + len(shown)])
    assert runtime[0] == "runtime" and len(runtime) == 3
    assert total[0] == "total" and total[-1] == "100.0%"
    assert "made up" in lines[-1]  # how the table was measured


def test_published_figures_stand_below():
    text = format_table(inspect_network(named_network("hardcorenas_a")))
    assert "published: top-1 75.3%, 38 ms on CPU (HardCoRe-NAS, arXiv 2102.11646)" in text
    assert " ms  share" not in text


def test_json_without_tensorflow():
    program = (
        "import runpy, sys\n"
        "sys.argv = ['inspect', 'hardcorenas_a', '--json']\n"
        "try: runpy.run_module('keras_nas.tools.inspect', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(*{'tensorflow', 'keras', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stderr.strip() == ""
    value = json.loads(result.stdout)
    assert value["macs"] == 224_227_936 and value["parameters"] == 5_260_232
    assert len(value["blocks"]) == 14
    assert value["published"][0]["top1"] == 75.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: name one network"),
        (["hardcorenas_z"], "error: 'hardcorenas_z' is neither a file"),
        (["hardcorenas_a", "--latency_table=none.json"], "error: no latency table at none.json"),
    ],
)
def test_errors_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_sizes_have_to_be_positive():
    result = run("hardcorenas_a", "--resolution=0")
    assert result.returncode == 1
    assert "flag --resolution=0" in result.stderr and "Traceback" not in result.stderr
