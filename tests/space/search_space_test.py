import dataclasses
import itertools
import json
import subprocess
import sys

import pytest

from keras_nas.space import (
    HARDCORE_NAS,
    HARDCORE_NAS_TABLE_3,
    SINGLE_PATH,
    SINGLE_PATH_SE,
    SPACES,
    TF_NAS,
    Block,
    Configuration,
    ElasticStage,
    Head,
    SearchSpace,
    pieces,
)

TINY = SearchSpace(
    name="tiny",
    stages=(ElasticStage(8, 2, "relu", 1, 2), ElasticStage(16, 1, "swish", 2, 2)),
    kernel_sizes=(3, 5),
    expansion_ratios=(2,),
    se_ratios=(0,),
    resolution=20,
)
ALL_SPACES = (HARDCORE_NAS, HARDCORE_NAS_TABLE_3, TINY)


def test_size_of_the_paper_space():
    assert HARDCORE_NAS.size() == HARDCORE_NAS_TABLE_3.size() == (12**2 + 12**3 + 12**4) ** 5


def test_size_is_the_number_of_architectures():
    every = {
        TINY.architecture(depths, configurations).stages
        for depths in itertools.product((1, 2), (2,))
        for configurations in itertools.product(range(2), repeat=4)
    }
    assert len(every) == TINY.size() == (2 + 4) * 4


def test_paper_table_3_as_data():
    space = HARDCORE_NAS
    assert [(s.channels, s.stride) for s in space.stages] == [
        (24, 2),
        (40, 2),
        (80, 2),
        (112, 1),
        (192, 2),
    ]
    assert all((s.min_depth, s.max_depth) == (2, 4) for s in space.stages)
    assert [s.activation for s in space.stages] == ["relu"] * 2 + ["hard_swish"] * 3
    assert [s.activation for s in HARDCORE_NAS_TABLE_3.stages] == ["relu"] + ["swish"] * 4
    assert HARDCORE_NAS_TABLE_3.head.before_pooling and not space.head.before_pooling
    assert space.configurations[0] == Configuration(3, 3, 0)
    assert space.configurations[1] == Configuration(3, 3, 0.25)
    assert space.configurations[2] == Configuration(3, 5, 0)
    assert space.configurations[-1] == Configuration(6, 5, 0.25)
    assert len(set(space.configurations)) == 12
    expected = [HARDCORE_NAS, HARDCORE_NAS_TABLE_3, SINGLE_PATH, SINGLE_PATH_SE]
    assert list(SPACES.values()) == expected
    assert all(SPACES[space.name] is space for space in SPACES.values())


def test_numbering():
    assert TINY.stage_of_block == (0, 0, 1, 1)
    assert TINY.first_blocks == (0, 2)
    assert TINY.depths == ((1, 2), (2, 0))
    assert TINY.input_shape == (20, 20, 3)
    assert HARDCORE_NAS.first_blocks == (0, 4, 8, 12, 16)
    assert HARDCORE_NAS.depths == ((2, 3, 4),) * 5


@pytest.mark.parametrize("space", ALL_SPACES, ids=lambda space: space.name)
def test_encode_inverts_architecture(space):
    for seed in range(30):
        architecture = space.random(seed)
        depths, configurations = space.encode(architecture)
        assert space.architecture(depths, configurations, architecture.name) == architecture
        again = space.encode(space.architecture(depths, configurations))
        assert again == (depths, configurations)


def test_extremes():
    heavy, light = HARDCORE_NAS.heaviest(), HARDCORE_NAS.lightest()
    assert HARDCORE_NAS.encode(heavy) == ((4,) * 5, (11,) * 20)
    assert HARDCORE_NAS.encode(light) == ((2,) * 5, (0,) * 20)
    assert heavy.stages[1][0] == Block("ir", 5, 2, 24, 6, 0.25, "relu")
    assert light.stages[-2] == (
        Block("ir", 3, 2, 192, 3, 0, "hard_swish"),
        Block("ir", 3, 1, 192, 3, 0, "hard_swish"),
    )


def test_random_covers_the_space_and_repeats():
    assert TINY.random(3) == TINY.random(3)
    assert len({TINY.random(seed).stages for seed in range(400)}) == TINY.size()


@pytest.mark.parametrize("space", ALL_SPACES, ids=lambda space: space.name)
def test_pieces_of_the_space_are_those_of_its_networks(space):
    fixed, rows = space.fixed_pieces(5), space.block_pieces()
    before = 1 + len(space.first_stages_blocks())
    for seed in range(10):
        architecture = space.random(seed)
        depths, configurations = space.encode(architecture)
        blocks = [
            rows[first + i][configurations[first + i]]
            for first, depth in zip(space.first_blocks, depths, strict=True)
            for i in range(depth)
        ]
        expected = [*fixed[:before], *blocks, *fixed[before:]]
        assert pieces(architecture, space.input_shape, 5) == expected


def test_scaled():
    assert HARDCORE_NAS.scaled(1) is HARDCORE_NAS
    half, double = HARDCORE_NAS.scaled(0.5), HARDCORE_NAS.scaled(2)
    assert [s.channels for s in half.stages] == [16, 24, 40, 56, 96]
    assert half.stem.channels == 16 and half.final_stages[0][0].channels == 480
    assert half.head.features == 1280 and double.head.features == 2560
    assert half.name == "hardcore_nas_width0.5"
    with pytest.raises(ValueError, match="width multiplier should be above 0, received -1"):
        HARDCORE_NAS.scaled(-1)


@pytest.mark.parametrize("space", ALL_SPACES, ids=lambda space: space.name)
def test_json_round_trip(space):
    again = SearchSpace.from_json(space.to_json())
    assert again == space and again.fingerprint() == space.fingerprint()


def test_fingerprint_changes_with_every_field_and_not_with_the_process():
    changes = [
        {"name": "x"}, {"resolution": 32}, {"kernel_sizes": (3,)}, {"se_ratios": (0, 0.25)},
        {"expansion_ratios": (3,)}, {"head": Head(64)}, {"stages": TINY.stages[:1]},
        {"final_stages": ((Block("cn", 1, 1, 8),),)},
    ]  # fmt: skip
    fingerprints = {dataclasses.replace(TINY, **change).fingerprint() for change in changes}
    assert len(fingerprints | {TINY.fingerprint()}) == len(changes) + 1
    program = "from keras_nas.space import HARDCORE_NAS as s; print(s.fingerprint())"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert output.stdout.decode().strip() == HARDCORE_NAS.fingerprint()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stages": ()}, "search space 'tiny' needs at least one elastic stage"),
        ({"kernel_sizes": ()}, "kernel_sizes should be ascending, .* not empty, received \\(\\)"),
        ({"kernel_sizes": (5, 3)}, "kernel_sizes should be ascending"),
        ({"kernel_sizes": (3, 4)}, "kernel size should be odd, received 4"),
        ({"expansion_ratios": (3, 3)}, "expansion_ratios should be ascending, without repeats"),
        ({"se_ratios": (0, 2)}, "ratio should be in"),
        ({"resolution": 0}, "resolution should be a positive integer, received 0"),
    ],
)
def test_bad_spaces(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "stage channels should be a positive integer, received 0"),
        ({"stride": 3}, "stage stride should be 1 or 2, received 3"),
        ({"min_depth": 0}, "smallest depth of a stage should be a positive integer, received 0"),
        ({"max_depth": 2.5}, "largest depth of a stage should be a positive integer, received 2.5"),
        ({"max_depth": 1}, "largest depth 1 is below its smallest 2"),
        ({"activation": "x"}, "stage: unknown activation 'x'"),
    ],
)
def test_bad_stages(fields, message):
    with pytest.raises(ValueError, match=message):
        ElasticStage(**({"channels": 8, "stride": 2} | fields))


@pytest.mark.parametrize(
    ("depths", "configurations", "message"),
    [
        ((2,), (0,) * 4, "has 2 stages and 4 blocks, received 1 depths and 4 configurations"),
        ((2, 2), (0,) * 3, "received 2 depths and 3 configurations"),
        ((3, 2), (0,) * 4, "depth of stage 0 should be 1 to 2, received 3"),
        ((1, 2), (2, 0, 0, 0), r"configurations of stage 0 should be 0 to 1, received \[2\]"),
        ((1, 2), (0, 0, 0, -1), r"configurations of stage 1 should be 0 to 1, received \[0, -1\]"),
    ],
)
def test_bad_choices(depths, configurations, message):
    with pytest.raises(ValueError, match=message):
        TINY.architecture(depths, configurations)


def test_encode_names_the_first_difference():
    light = HARDCORE_NAS.lightest()
    stages = list(light.stages)
    cases = [
        ({"stem": dataclasses.replace(light.stem, channels=8)}, "stem is Stem.channels=8"),
        ({"head": Head(8)}, "head is Head.features=8"),
        ({"stages": (*stages[:-1], (Block("cn", 1, 1, 8),))}, "its fixed stages differ"),
        ({"stages": tuple(stages[:-1])}, "it has 6 stages, expected 7"),
        ({"stages": (*stages[:3], stages[3][:1], *stages[4:])}, "stage 2 has 1 blocks"),
        ({"stages": (*stages[:3], stages[2], *stages[4:])}, "stage 2 cannot hold ir_r1_k3_s2_e3"),
    ]
    for fields, message in cases:
        with pytest.raises(ValueError, match=f"is not in space 'hardcore_nas': {message}"):
            HARDCORE_NAS.encode(dataclasses.replace(light, **fields))
    # Without fixed stages a missing stage shows nowhere else.
    one = dataclasses.replace(TINY.lightest(), stages=TINY.lightest().stages[:1])
    with pytest.raises(ValueError, match="it has 1 stages, expected 2"):
        TINY.encode(one)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 0}, "s.json has version 0"),
        ({"extra": 1}, "s.json is not a valid search space: .*extra"),
        ({"stages": [{"channels": 8}]}, "not a valid search space: .*stride"),
        ({"stages": 4}, "not a valid search space: "),
        ({"stem": None}, "not a valid search space: .*Stem"),
        ({"first_stages": [["ir"]]}, "block string 'ir' lacks"),
        ({"kernel_sizes": ["3"]}, "kernel size of a ir block should be a positive integer"),
    ],
)
def test_bad_json(fields, message):
    text = json.dumps(json.loads(TINY.to_json()) | fields)
    with pytest.raises(ValueError, match=message):
        SearchSpace.from_json(text, "s.json")


def test_truncated_json():
    with pytest.raises(ValueError, match=r"s\.json is damaged or truncated"):
        SearchSpace.from_json(TINY.to_json()[:50], "s.json")


def test_names_of_choices():
    assert HARDCORE_NAS.choice_names[:4] == ("e3 k3", "e3 k3 se", "e3 k5", "e3 k5 se")
    assert Configuration(1.5, 3, 0).name == "e1.5 k3"


@pytest.mark.parametrize("space", [HARDCORE_NAS, TF_NAS], ids=lambda space: space.name)
def test_choices_are_those_of_the_architecture(space):
    depths, choices = space.choices_of(space.random(3))
    assert depths == tuple(map(len, space.elastic_blocks(space.random(3))))
    assert len(choices) == len(space.stage_of_block)
    assert set(choices) <= set(range(len(space.choice_names)))
    assert set(space.kernel_sizes) == {3, 5}
