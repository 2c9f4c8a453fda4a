"""The package's layout: imports point down, and some things are done nowhere."""

import ast
from pathlib import Path

import pytest

import skae

ROOT = Path(skae.__file__).parent
MODULES = sorted(path.stem for path in ROOT.glob("*.py"))

# Each module imports only from those above it.
LAYERS = [
    {"_version", "_sklearn", "_random", "_recipe", "_step"},
    {"_spec", "_table", "_model", "losses", "noise"},
    {"_linear", "_solvers", "networks", "regularizers"},
    {"_training", "_build"},
    {"_course"},
    {"_fitting"},
    {"_transformer"},
    {"__init__"},
]
# What a reader of the file may take for granted.
ROOMS = {
    "_table": {"_sklearn"},
    "_linear": {"_table"},
    "_model": {"_step"},
    "networks": {"_spec", "_step", "_sklearn"},
    "regularizers": {"_spec", "_sklearn"},
    "noise": {"_spec", "_sklearn"},
    "losses": set(),
    "_random": set(),
    "_recipe": set(),
    "_spec": set(),
    "_step": set(),
}
NEVER = {
    "torch": {"load", "save", "manual_seed", "set_default_dtype", "compile"},
    "np": {"load", "save", "fromfile"},
    "pickle": {"load", "loads"},
    "F": {"dropout"},
    "os": {"system", "putenv", "environ", "makedirs", "mkdir"},
}
NEVER_CALLED = {"eval", "exec", "open", "compile", "__import__"}


def tree(module):
    return ast.parse((ROOT / f"{module}.py").read_text())


def imports(module):
    """Return the dotted names of everything that a module imports, anywhere in it."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(module):
    """Return the modules of skae that a module imports."""
    paths = (name.split(".") for name in imports(module))
    return {path[1] for path in paths if path[0] == "skae"}


def layer(module):
    (found,) = [i for i, modules in enumerate(LAYERS) if module in modules]
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    assert all(layer(other) < layer(module) for other in rooms(module))


@pytest.mark.parametrize("module", ROOMS)
def test_a_room_needs_no_other_room_than_the_plan_says(module):
    assert rooms(module) <= ROOMS[module]


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"_sklearn"}))
def test_private_names_of_other_libraries_stay_in_one_place(module):
    private = [
        name
        for name in imports(module)
        if name.startswith(("sklearn", "scipy", "numpy"))
        and any(part.startswith("_") for part in name.split("."))
    ]
    assert not private


@pytest.mark.parametrize("module", ["_table", "_linear", "_sklearn", "_spec"])
def test_tables_and_linear_algebra_need_no_torch(module):
    assert not [name for name in imports(module) if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_loaded_executed_or_set_for_all(module):
    nodes = list(ast.walk(tree(module)))
    attributes = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    assert not {(a, b) for a, b in attributes if b in NEVER.get(a, ())}
    calls = (node.func for node in nodes if isinstance(node, ast.Call))
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    assert not called & NEVER_CALLED
    assert not {name.split(".")[0] for name in imports(module)} & {
        "importlib",
        "pickle",
        "tempfile",
        "socket",
        "subprocess",
        "urllib",
    }


def test_every_public_name_is_said_to_live_in_the_package():
    classes = [getattr(skae, name) for name in skae.__all__]
    assert {c.__module__ for c in classes if isinstance(c, type)} == {"skae"}
