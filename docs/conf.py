"""Configuration of Sphinx, which builds the documentation."""

from pathlib import Path

from skae import __version__

HERE = Path(__file__).parent
HAS_GALLERY = any((HERE.parent / "examples").glob("plot_*.py"))

project = "skae"
author = "The skae developers"
copyright = "the skae developers"
version = release = __version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "sg_execution_times.rst", "**/sg_execution_times.rst"]
default_role = "py:obj"
root_doc = "index"

autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False

# The code of a figure is a doctest as well, and is shown above it.
plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 90)]

html_theme = "pydata_sphinx_theme"
html_title = f"skae {version}"
html_static_path = ["_static"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "show_prev_next": False}

if HAS_GALLERY:
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": "../examples",
        "gallery_dirs": "auto_examples",
        "filename_pattern": r"/plot_",
        "ignore_pattern": r"^(?!plot_)",
        "download_all_examples": False,
        "remove_config_comments": True,
        "show_memory": False,
        "abort_on_example_error": True,
    }
