"""Public docstrings follow numpydoc, and document signatures and attributes."""

import inspect
import re

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate
from sklearn.datasets import load_iris

import skae
from skae import AutoencoderTransformer

CLASSES = [cls for cls in map(skae.__dict__.get, skae.__all__) if inspect.isclass(cls)]
METHODS = [
    f"{cls.__name__}.{name}"
    for cls in CLASSES
    for name, method in inspect.getmembers(cls, inspect.isroutine)
    if not name.startswith("_") and method.__module__.startswith("skae")
]
DEFAULT = re.compile(r"default=(?P<value>.+)$", re.DOTALL)

# A method needs no extended summary, "See Also" or "Examples", and names what it
# returns.
OPTIONAL = {"ES01", "SA01", "EX01", "RT02"}
# One line is enough for a method of a part that only this package calls.
NOT_IN_ONE_LINE = {"PR01", "RT01"}

each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
each_method = pytest.mark.parametrize("name", METHODS)


def method_of(name):
    cls, method = name.split(".")
    return getattr(getattr(skae, cls), method)


def parameters(documented):
    """Return the documented parameters, and the type of each."""
    section = NumpyDocString(inspect.getdoc(documented))["Parameters"]
    return {name: p.type for p in section for name in p.name.split(", ")}


def assert_documented(documented, signature):
    """Assert that names and defaults of parameters equal those of a signature."""
    assert list(documented) == list(signature)
    for name, parameter in signature.items():
        stated = DEFAULT.search(documented[name])
        if parameter.default is inspect.Parameter.empty:
            assert stated is None, name
        elif name != "y":  # which is ignored
            default = repr(parameter.default).replace("'", '"')
            default = default.replace("0.003", "3e-3").replace("1073741824", "2**30")
            assert stated["value"].replace("\n", " ") == default, name


@each_class
def test_docstrings_of_classes_are_valid(cls):
    assert validate(f"skae.{cls.__name__}")["errors"] == []


@each_class
def test_documented_parameters_equal_those_of_the_constructor(cls):
    assert_documented(parameters(cls), inspect.signature(cls).parameters)


@each_class
def test_every_class_has_an_example(cls):
    examples = NumpyDocString(inspect.getdoc(cls))["Examples"]
    assert any(line.startswith(">>>") for line in examples)


@each_method
def test_docstrings_of_methods_are_valid(name):
    is_internal = not name.startswith("AutoencoderTransformer")
    allowed = OPTIONAL | NOT_IN_ONE_LINE if is_internal else OPTIONAL
    errors = validate(f"skae.{name}")["errors"]
    assert [error for error in errors if error[0] not in allowed] == []


@each_method
def test_documented_parameters_equal_those_of_the_method(name):
    signature = dict(inspect.signature(method_of(name)).parameters)
    signature.pop("self", None)  # which a static method does not have
    documented = parameters(method_of(name))
    if documented or name.startswith("AutoencoderTransformer"):
        assert_documented(documented, signature)


def test_documented_attributes_are_those_of_a_fitted_estimator():
    model = AutoencoderTransformer(max_iter=1).fit(load_iris(as_frame=True).data)
    fitted = {name for name in vars(model) if name.endswith("_") and name[0] != "_"}
    section = NumpyDocString(inspect.getdoc(AutoencoderTransformer))["Attributes"]
    assert {name for a in section for name in a.name.split(", ")} == fitted
