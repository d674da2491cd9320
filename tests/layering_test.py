"""Who may import whom, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EVERYTHING = {
    "config", "space", "solvers", "layers", "training", "resources", "models", "data", "export",
    "devices", "methods", "report", "files", "progress", "tpu", "storage",
}  # fmt: skip

MAY_IMPORT = {
    "config": set(),
    "space": set(),
    "solvers": set(),
    "layers": {"replicas"},
    "training": {"replicas"},
    "replicas": set(),
    "tpu": {"replicas", "storage"},
    "storage": set(),
    "files": {"storage"},
    "resources": {"space"},
    "models": {"space", "layers", "replicas"},
    "data": {"config", "files", "storage"},
    "export": {"models", "progress"},
    "progress": set(),
    "devices": {"space", "resources", "models", "export", "files"},
    "methods": {
        "space", "resources", "solvers", "models", "layers", "training", "data", "config", "tpu",
        "files", "replicas", "storage",
    },
    "report": {"space", "resources"},
    "pipeline": EVERYTHING,
    "tools": EVERYTHING | {"pipeline"},
    "__main__": EVERYTHING | {"pipeline"},
}  # fmt: skip

TOP = {path.stem for path in (ROOT / "keras_nas").glob("*.py")}
PIPELINE = TOP - set(MAY_IMPORT) - {"__init__"} | {"pipeline"}
"""Modules, not folders, at the top of the package that together are the layer `pipeline`."""

WITHOUT_TENSORFLOW = ("space", "resources", "solvers", "config", "report", "files", "storage")

METHODS = {"hardcore_nas", "tf_nas", "single_path", "multi_path", "random_search", "evolution"}

LONGEST_FILE = 330


def layer_of(module: str) -> str:
    """`keras_nas.space.blocks` -> `space`; `tpu.loop` -> `tpu`, but for its leaves."""
    package, *rest = module.split(".")
    if package == "tpu":
        return rest[0] if rest in (["replicas"], ["storage"]) else "tpu"
    first = rest[0] if rest else "__init__"
    return "pipeline" if first in PIPELINE else first


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


def imports(tree: ast.AST) -> set[str]:
    """Modules of this project that a file imports, anywhere in it: also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this project"
            # `from keras_nas import files` imports a module; deeper, it may be any name.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module in ("keras_nas", "tpu") else {node.module}
            if node.module == "keras_nas.methods":
                found |= names
    return {name for name in found if name.split(".")[0] in ("keras_nas", "tpu")}


def wrong_arrows(source: str, target: str) -> list[str]:
    """Why the module `source` may not import the module `target`; empty if it may."""
    one, other = layer_of(source), layer_of(target)
    wrong = []
    if one != other and other not in MAY_IMPORT[one]:
        wrong.append(f"{source} ({one}) imports {target} ({other})")
    method = target.removeprefix("keras_nas.methods.").split(".")[0]
    if one == other == "methods" and method in METHODS and source != "keras_nas.methods":
        wrong.append(f"{source} imports the method {target}: move what both need down")
    return wrong


SOURCES = sorted(
    path for package in ("keras_nas", "tpu") for path in (ROOT / package).rglob("*.py")
)


def test_no_new_arrows():
    found = []
    for path in SOURCES:
        source = module_of(path)
        if source == "keras_nas.__init__":  # re-exports lazily what users ask for
            continue
        assert layer_of(source) in MAY_IMPORT, f"{path}: no layer is declared for it"
        for target in imports(ast.parse(path.read_text())):
            found += wrong_arrows(source, target)
    assert found == []


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("keras_nas.models.supernet", "keras_nas.layers.sampling", True),
        ("keras_nas.layers.sampling", "keras_nas.space.blocks", False),
        ("keras_nas.space.blocks", "keras_nas.files", False),
        ("keras_nas.stages", "keras_nas.pipeline", True),
        ("keras_nas.pipeline", "keras_nas.tools.measure", False),
        ("keras_nas.methods.tf_nas", "keras_nas.methods.hardcore_nas", False),
        ("keras_nas.methods.tf_nas", "keras_nas.methods.runtime", True),
        ("keras_nas.methods.runtime", "keras_nas.devices", False),
        ("tpu.loop", "keras_nas.config", False),
        ("keras_nas.layers.sampling", "tpu.replicas", True),
        ("keras_nas.layers.sampling", "tpu.loop", False),
    ],
)
def test_the_rules_bite(source, target, allowed):
    assert (wrong_arrows(source, target) == []) == allowed


def test_imports_inside_functions_are_seen():
    code = "def f():\n    from keras_nas import files\n    import tpu.loop\n    import os\n"
    assert imports(ast.parse(code)) == {"keras_nas.files", "tpu.loop"}


def test_layers_without_tensorflow():
    modules = [
        module_of(path) for path in SOURCES if layer_of(module_of(path)) in WITHOUT_TENSORFLOW
    ]
    assert len(modules) > len(WITHOUT_TENSORFLOW)
    program = (
        f"import importlib, sys\nfor module in {modules}: importlib.import_module(module)\n"
        "print(*(name for name in ('tensorflow', 'keras') if name in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_no_file_is_too_long():
    folders = ("keras_nas", "tpu", "tests", "benchmarks", "configs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths}
    too_long = {path: length for path, length in lengths.items() if length > LONGEST_FILE}
    assert not too_long, f"longer than {LONGEST_FILE} lines: these have two jobs"
