"""Modules import only what lies below them, and nothing that reads code from a file."""

import ast
from pathlib import Path

import pytest

import skae

ROOT = Path(skae.__file__).parent
FILES = sorted(ROOT.glob("*.py"))

# From the lowest to the highest: a module imports only from modules before it.
ORDER = [
    "_version",
    "_coding",
    "_message",
    "_sklearn",
    "_random",
    "_recipe",
    "_spec",
    "_step",
    "_code",
    "_table",
    "_linear",
    "_layout",
    "_door",
    "losses",
    "noise",
    "_reader",
    "_model",
    "networks",
    "_recurrent",
    "_convolutional",
    "regularizers",
    "_solvers",
    "_build",
    "_training",
    "_course",
    "_reconstruction",
    "_compression",
    "_generation",
    "_fitting",
    "_transformer",
    "__init__",
]
WITHOUT_TORCH = [
    "_table",
    "_linear",
    "_layout",
    "_door",
    "_spec",
    "_sklearn",
    "_coding",
    "_message",
    "_version",
]
FORBIDDEN = {"eval", "exec", "__import__", "importlib", "pickle", "load", "save"}
READERS = {"torch", "np", "joblib", "skops"}


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


def names(path):
    """Return every name that is called or read as an attribute of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.attr if node.value.id in READERS else ""


def own_imports(path):
    """Return the modules of skae that a file imports."""
    for module, name in imports(path):
        if module == "skae":
            yield name if name in ORDER else "__init__"
        elif module.startswith("skae."):
            yield module.removeprefix("skae.")


def test_every_module_has_its_place():
    assert {path.stem for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_imports_point_down(path):
    below = ORDER[: ORDER.index(path.stem)]
    assert set(own_imports(path)) <= set(below)


def test_imports_are_seen():
    assert {"_linear", "_training"} <= set(own_imports(ROOT / "_course.py"))
    assert "torch" in [module for module, _ in imports(ROOT / "_training.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_private_names_of_sklearn_are_imported_in_one_place(path):
    private = [
        (module, name)
        for module, name in imports(path)
        if module.split(".")[0] == "sklearn"
        and any(part.startswith("_") for part in (*module.split("."), name))
    ]
    assert bool(private) == (path.stem == "_sklearn")


@pytest.mark.parametrize("stem", WITHOUT_TORCH)
def test_data_is_prepared_without_torch(stem):
    assert "torch" not in {m.split(".")[0] for m, _ in imports(ROOT / f"{stem}.py")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_evaluated_read_from_or_written_to_files(path):
    modules = {module.split(".")[0] for module, _ in imports(path)}
    assert not FORBIDDEN & (modules | set(names(path)))


def test_public_names_are_importable_and_say_skae():
    for name in set(skae.__all__) - {"SKOPS_TRUSTED", "__version__"}:
        assert getattr(skae, name).__module__ == "skae"
