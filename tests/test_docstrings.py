"""Public docstrings are numpydoc and match the signatures."""

import inspect
import re

import pytest
from numpydoc.docscrape import FunctionDoc, NumpyDocString
from numpydoc.validate import validate

import skae

CLASSES = [getattr(skae, name) for name in skae.__all__ if name[0].isupper()]
CLASSES = [cls for cls in CLASSES if inspect.isclass(cls)]
METHODS = [
    getattr(cls, name)
    for cls in CLASSES
    for name in dir(cls)
    if not name.startswith("_")
    and inspect.isfunction(getattr(cls, name))
    and getattr(cls, name).__module__.startswith("skae")
]
DEFAULT = re.compile(r"default=(?P<value>.+)$", re.DOTALL)

# What numpydoc may complain of here: no section "Examples" or "See Also" in a method,
# an infinitive in place of a noun phrase, no blank line after a closing formula.
ALLOWED = {"ES01", "SA01", "SA04", "EX01", "GL08", "SS05", "SS06", "RT03", "PR01"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_is_documented_as_numpydoc_asks(cls):
    errors = validate(f"skae.{cls.__name__}")["errors"]
    assert [e for e in errors if e[0] not in ALLOWED] == []


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_documented_parameters_and_defaults_are_those_of_the_constructor(cls):
    documented = {
        p.name: p.type for p in NumpyDocString(inspect.getdoc(cls))["Parameters"]
    }
    documented = {n: t for names, t in documented.items() for n in names.split(", ")}
    signature = inspect.signature(cls).parameters
    assert list(documented) == list(signature)
    for name, parameter in signature.items():
        if parameter.default is inspect.Parameter.empty:
            continue
        stated = DEFAULT.search(documented[name])["value"].replace("\n", " ")
        assert stated == _written(parameter.default), name


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_but_the_base_has_an_example(cls):
    examples = NumpyDocString(inspect.getdoc(cls))["Examples"]
    assert any(line.startswith(">>>") for line in examples)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__qualname__)
def test_documented_parameters_of_methods_are_those_of_their_signatures(method):
    document = FunctionDoc(method)
    wanted = [name for name in inspect.signature(method).parameters if name != "self"]
    documented = ", ".join(p.name for p in document["Parameters"])
    if documented:
        assert documented.split(", ") == wanted
    else:  # one line says it all, in parts that only this package calls
        public = ("AutoencoderTransformer", "GenerationMixin")
        assert not method.__qualname__.startswith(public)


def _written(default):
    text = repr(default).replace("'", '"')
    return text.replace("0.003", "3e-3")
