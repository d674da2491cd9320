"""Reading benchmark_model's output: formats of several years, and damage.

Lines are of public logs: tensorflow issue 42507 (Android, 2020), issue 73862 (Linux, 2024), the
TensorFlow Lite performance pages, Arm Total Compute's and LiteRT's documentation.
"""

import pytest

from keras_nas.devices.benchmark_model import (
    OperationTime,
    UnreadableOutput,
    inference_ms,
    operation_times,
)

RUNS_2020 = """\
STARTING!
Num threads: [4]
Loaded model /data/local/tmp/espcn.tflite
Initialized session in 0.855ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450

Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4
"""  # noqa: E501
RUNS_2024 = """\
INFO: STARTING!
INFO: count=37 first=14744 curr=15520 min=13164 max=18295 avg=13764.3 std=967

INFO: Running benchmark for at least 50 iterations and at least 1 seconds.
INFO: count=74 first=14850 curr=13315 min=13105 max=15765 avg=13520.2 std=470 p5=13110 median=13400 p95=15000

INFO: Inference timings in us: Init: 12750, First inference: 14744, Inference (avg): 13520.2
"""  # noqa: E501
RUNS_2019 = """\
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
SLOW = """\
count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798
"""
ONCE = "count=3 first=9 curr=9 min=9 max=9 avg=9 std=0\n\ncount=1 curr=3512391\n"

LOADING = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
{header}
{row}

Timings (microseconds): count=1 curr=21
Memory (bytes): count=0
1 nodes observed

"""
LATER = """
============================== Top by Computation Time ==============================
SOMETHING_ELSE, 0, 0, 0, 1%, 1%, 0, 1, x

Number of nodes executed: 2
============================== Summary by node type ==============================
count=9 inside a table is not a line of runs

Timings (microseconds): count=50 first=9 curr=9 min=9 max=9 avg=9 std=0
"""
REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
ORDER = "============================== Run Order ==============================\n"

HEADER_OLD = (
    "\t             [node type]\t          [start]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]"
    "\t  [mem KB]\t[times called]\t[Name]\n"
)
TABLE_OLD = (
    HEADER_OLD
    + "\t                 CONV_2D\t            0.066\t   87.754\t   60.957\t  2.066%\t  2.066%"
    "\t     0.000\t        1\t[MobilenetV1/Conv2d_0/Relu6]:0\n"
    "\t       DEPTHWISE_CONV_2D\t           61.040\t   19.300\t    8.250\t  0.661%\t  2.727%"
    "\t     0.000\t        1\t[MobilenetV1/a;b, MobilenetV1/c]:1\n"
)
HEADER_NEW = (
    "\t                             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]"
    "\t  [mem KB]\t[times called]\t[Name]\n"
)
TABLE_NEW = (
    HEADER_NEW
    + "\t           Convolution (NHWC, QU8) IGEMM\t    0.267\t    0.278\t  3.783%\t  3.783%"
    "\t     0.000\t        1\tDelegate/Convolution (NHWC, QU8) IGEMM:0\n"
    "\t                                 SOFTMAX\t    0.002\t    0.001\t  0.010%\t  3.793%"
    "\t     0.000\t        1\t[]:12\n"
)
CSV_OLD = (
    "node type, start, first, avg_ms, %, cdf%, mem KB, times called, name\n"
    "CONV_2D, 0, 0.11, 0.0930388, 44.8994%, 44.8994%, 0, 1, [sequential_11/conv2d_33/Conv2D]:0\n"
    "MEAN, 0.0931, 0.01, 1.2e-05, 0.1%, 45%, 0, 1, [a, b]:1\n"
)
CSV_NEW = (
    "node type, first, avg_ms, %, cdf%, mem KB, times called, name\n"
    "Convolution (NHWC, F32) IGEMM, 0.16, 0.1999, 11.4405%, 11.4405%, 0, 1, "
    "Delegate/Convolution (NHWC\t F32) IGEMM:0\n"
    "Global Average Pooling (NWC, F32), 0.01, 0.011, 1%, 12.4%, 0, 1, "
    "Delegate/Global Average Pooling (NWC\t F32):1\n"
)
FORMATS = {
    "table of 2020": (TABLE_OLD, [("CONV_2D", 60.957), ("DEPTHWISE_CONV_2D", 8.25)]),
    "table of 2024": (TABLE_NEW, [("Convolution (NHWC, QU8) IGEMM", 0.278), ("SOFTMAX", 0.001)]),
    "CSV of 2020": (CSV_OLD, [("CONV_2D", 0.0930388), ("MEAN", 1.2e-05)]),
    "CSV of 2024": (
        CSV_NEW,
        [("Convolution (NHWC, F32) IGEMM", 0.1999), ("Global Average Pooling (NWC, F32)", 0.011)],
    ),
}


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        (RUNS_2020, 33.2094),
        (RUNS_2024, 13.5202),
        (RUNS_2019, 66.7676),
        (SLOW, 2950.34),
        (ONCE, 3512.391),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])  # adb on old phones
def test_time_of_the_runs_that_count(text, ms, ending):
    assert inference_ms(text.replace("\n", ending)) == pytest.approx(ms, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no times of its runs; it ends with 'nothing'"),
        ("count=15 first=49060 curr=1 min=1 max=1 avg=34825.1 std=3930\n\nkilled\n", "'killed'"),
        ("count=2 avg=1\ncount=2 min=0 avg=0 std=0", "a time of 0"),
        ("count=2 avg=1\ncount=2 min=0 avg=-3 std=0", "'-3' where a time"),
        ("count=2 avg=1\ncount=2 min=0 avg=fast std=0", "'fast' where a time"),
        ("count=2 avg=1\ncount=2 min=0 avg=inf std=0", "'inf' where a time"),
    ],
)
def test_unreadable_times(text, message):
    with pytest.raises(UnreadableOutput, match=message):
        inference_ms(text)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("loading", [True, False])
def test_profiles_of_all_years(name, ending, loading):
    table, expected = FORMATS[name]
    header, first, *_ = table.splitlines()
    before = RUNS_2020 + (LOADING.format(header=header, row=first) if loading else "")
    text = (before + REGULAR + ORDER + table + LATER).replace("\n", ending)
    assert operation_times(text) == [OperationTime(kind, ms) for kind, ms in expected]


def test_a_whole_log_gives_both():
    text = RUNS_2020 + REGULAR + ORDER + TABLE_OLD + LATER
    assert inference_ms(text) == pytest.approx(33.2094)
    assert len(operation_times(text)) == 2


def regular(table):
    return RUNS_2024 + REGULAR + ORDER + table + LATER


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RUNS_2020, "0 profiles in run order where 1 is expected"),
        (regular(TABLE_OLD) + ORDER + TABLE_OLD, "2 profiles in run order"),
        (regular(HEADER_OLD), "without operations"),
        (regular(CSV_NEW + "Convolution (NHWC, F32) IGEMM, 0.16, 0.19"), "damaged row: 'Conv"),
        (regular(CSV_OLD.replace("0.0930388", "nan")), "'nan' where a time"),
        (
            regular(TABLE_NEW.replace("        1\tDelegate", "        3\tDelegate")),
            r"merged profile: 'Convolution \(NHWC, QU8\) IGEMM' stands for 3 operations",
        ),
        (regular(CSV_NEW.replace("0, 1, Delegate", "0, 2, Delegate")), "stands for 2 operations"),
        (regular(TABLE_OLD.replace("CONV_2D", "TfLiteXNNPackDelegate", 1)), "2.9.1 or later"),
        (regular(CSV_OLD.replace("CONV_2D", "DELEGATE", 1)), "'DELEGATE' as one operation"),
    ],
)
def test_unusable_profiles_are_refused(text, message):
    with pytest.raises(UnreadableOutput, match=message):
        operation_times(text)


KINDS = [  # all that LiteRT 2.3.0 ran of the largest HardCoRe-NAS network, in float32 and int8
    "Add (ND)",
    "Convolution (NHWC, F32) DWConv",
    "Convolution (NHWC, QC8) IGEMM",
    "Fully Connected (NC, QS8, QC8W) GEMM",
    "HardSwish (NC)",
    "Invalid Unary Op",
    "Mean (ND) Reduce2",
    "Static Reshape (NC)",
    "ADD",
]


def test_every_name_of_the_runtime_survives_both_formats():
    """Rows as StatsCalculator::ColumnString writes them."""
    table, csv = HEADER_NEW, CSV_NEW.splitlines()[0] + "\n"
    expected = []
    for number, kind in enumerate(KINDS):
        ms, name = 0.001 * 1.5**number, f"Delegate/{kind}:{number}"
        table += f"\t{kind:>40}\t{ms:9.3f}\t{ms:9.3f}\t{9.5:7.3f}%\t{9.5:7.3f}%\t{0:10.3f}"
        table += f"\t{1:9}\t{name}\n"
        csv += f"{kind}, {ms:.6g}, {ms:.6g}, 9.5%, 9.5%, 0, 1, {name.replace(',', chr(9))}\n"
        expected.append((kind, pytest.approx(ms, rel=1e-5), pytest.approx(ms, abs=5e-4)))
    exact, rounded = operation_times(regular(csv)), operation_times(regular(table))
    assert [(o.kind, o.ms) for o in exact] == [(kind, ms) for kind, ms, _ in expected]
    assert [(o.kind, o.ms) for o in rounded] == [(kind, ms) for kind, _, ms in expected]
