"""Imports point down, and nothing reads code from a file."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skae

ROOT = Path(skae.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# From the lowest to the highest: files and folders import only from those before them.
LAYERS = [
    "_version",
    "_sklearn",
    "_torch",
    "_base",
    "data",
    "losses",
    "noise",
    "networks",
    "regularizers",
    "model",
    "_codec",
    "_generation",
    "training",
    "compression",
    "_parameters",
    "_transformer",
    "_imputer",
    "_outlier",
    "metrics",
    "displays",
    "onnx",
    "__init__",
]
FORBIDDEN = {"eval", "exec", "__import__", "importlib", "pickle", "load", "save"}
LOADERS = {"torch", "np", "joblib", "skops"}


def layer(module):
    """Return the position in `LAYERS` of a module such as "skae.data._rows"."""
    _, _, path = module.partition(".")
    return LAYERS.index(path.split(".")[0] or "__init__")


def module_of(path):
    """Return the name of a file's module."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports(path):
    """Return (module, name) of every import in a file, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found += [(node.module, alias.name) for alias in node.names]
    return found


def own_imports(path):
    """Return the modules of skae that a file imports."""
    modules = {module_of(file) for file in FILES}
    for module, name in imports(path):
        if module.split(".")[0] == "skae":
            yield f"{module}.{name}" if f"{module}.{name}" in modules else module


def names(path):
    """Return every name that is called or read as an attribute of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.attr if node.value.id in LOADERS else ""


def test_every_file_and_folder_has_a_layer():
    assert {path.stem for path in ROOT.iterdir() if path.stem[:2] != "__"} | {
        "__init__"
    } == set(LAYERS) | {path.stem for path in ROOT.glob("py.typed")}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_point_down(path):
    own = layer(module_of(path))
    is_package = path.stem == "__init__"
    for module in own_imports(path):
        assert layer(module) < own or module.split(".")[1] == LAYERS[own]
        # A package's own modules import from each other, not from the package.
        assert is_package or module != module_of(path.parent)


def test_no_imports_are_circular():
    graph = {module_of(path): set(own_imports(path)) for path in FILES}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("skae.data._rows") < order.index("skae.training._fit")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_private_names_of_sklearn_are_imported_in_one_place(path):
    private = [
        (module, name)
        for module, name in imports(path)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in (*module.split("."), name))
    ]
    assert bool(private) == (path.stem == "_sklearn")


@pytest.mark.parametrize("path", sorted((ROOT / "data").glob("*.py")), ids=module_of)
def test_data_is_prepared_without_torch(path):
    assert "torch" not in {module.split(".")[0] for module, _ in imports(path)}


def test_only_the_trainer_imports_the_manual_step():
    users = {
        path.stem
        for path in FILES
        if "skae.training._manual_step" in set(own_imports(path))
    }
    assert users == {"_trainer"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_evaluated_read_from_or_written_to_files(path):
    modules = {module.split(".")[0] for module, _ in imports(path)}
    assert not FORBIDDEN & (modules | set(names(path)))


def test_public_names_are_importable_from_skae():
    for name in set(skae.__all__) - {"SKOPS_TRUSTED", "__version__"}:
        assert getattr(skae, name).__module__ == "skae"
