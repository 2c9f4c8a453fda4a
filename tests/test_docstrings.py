"""Docstrings: in numpydoc's form, and true to the signatures."""

import inspect
import re

import pytest
from numpydoc.docscrape import NumpyDocString
from numpydoc.validate import validate

import skae

CLASSES = [name for name in skae.__all__ if inspect.isclass(getattr(skae, name))]

# What scikit-learn leaves out as well: the summary's place and its length, a verb's
# form, sections that not every object needs, the order of See Also.
IGNORED = {
    "GL01", "GL02", "GL03", "ES01", "SA01", "SA04", "EX01", "SS05", "SS06", "RT02",
    "PR06", "YD01",
}  # fmt: skip


def documented():
    """Yield the paths of public classes and of their own public methods."""
    for name in CLASSES:
        yield f"skae.{name}"
        for method, value in vars(getattr(skae, name)).items():
            callable_ = inspect.isfunction(value) or isinstance(value, property)
            if callable_ and not method.startswith("_"):
                yield f"skae.{name}.{method}"


DOCUMENTED = list(documented())


def resolve(path):
    thing = skae
    for name in path.split(".")[1:]:
        thing = getattr(thing, name)
    return thing


def signature(path):
    parameters = inspect.signature(resolve(path)).parameters.values()
    return {p.name: p for p in parameters if p.name != "self"}


def documentation(path):
    documentation = NumpyDocString(inspect.getdoc(resolve(path)))
    return {p.name: p for p in documentation["Parameters"]}


def with_parameters():
    return [
        path for path in DOCUMENTED if callable(resolve(path)) and documentation(path)
    ]


@pytest.mark.parametrize("path", DOCUMENTED)
def test_numpydoc_finds_nothing_to_mend(path):
    errors = [error for error in validate(path)["errors"] if error[0] not in IGNORED]
    # One line says all there is to say of a step that only a subclass calls.
    if not documentation_is_long(path):
        errors = [e for e in errors if e[0] not in {"PR01", "RT01"}]
    assert not errors


def documentation_is_long(path):
    return "\n" in inspect.getdoc(resolve(path))


@pytest.mark.parametrize("path", with_parameters())
def test_parameters_are_those_of_the_signature_in_its_order(path):
    assert list(documentation(path)) == list(signature(path))


@pytest.mark.parametrize("path", with_parameters())
def test_defaults_are_those_of_the_signature(path):
    for name, parameter in signature(path).items():
        said = re.search(r"default=(.*)$", documentation(path)[name].type)
        has_default = parameter.default is not inspect.Parameter.empty
        if name == "y":  # ignored everywhere: "y : None"
            assert parameter.default is None
        else:
            assert (said is not None) == has_default, name
        if said:
            names = {key: getattr(skae, key) for key in CLASSES}
            assert eval(said[1], names) == parameter.default, name


def test_every_fitted_attribute_is_documented_and_every_documented_one_exists(digits):
    attributes = NumpyDocString(skae.AutoencoderTransformer.__doc__)["Attributes"]
    documented = {n for a in attributes for n in a.name.split(", ")}
    model = skae.AutoencoderTransformer(max_iter=0).fit(digits)
    fitted = {n for n in vars(model) if n.endswith("_") and not n.startswith("_")}
    assert fitted == documented - {"feature_names_in_"}
