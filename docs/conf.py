"""Configuration of Sphinx, which builds the documentation."""

from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

from skae import __version__

HERE = Path(__file__).parent
HAS_GALLERY = any((HERE.parent / "examples").glob("plot_*.py"))

project = "skae"
author = "The skae developers"
copyright = "the skae developers"
version = release = __version__

extensions = [
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
        "within_subsection_order": ExplicitOrder(
            [
                "plot_pca_beside_autoencoder.py",
                "plot_pipeline_and_grid_search.py",
                "plot_number_of_components.py",
                "plot_table_components.py",
                "plot_table_classifier.py",
                "plot_tables.py",
                "plot_imputation.py",
                "plot_outliers.py",
                "plot_text.py",
                "plot_images.py",
                "plot_time_series.py",
                "plot_denoising.py",
                "plot_generation.py",
                "plot_data_augmentation.py",
                "plot_family.py",
                "plot_displays.py",
            ]
        ),
        "filename_pattern": r"/plot_",
        "ignore_pattern": r"^(?!plot_)",
        "download_all_examples": False,
        "image_srcset": ["2x"],
        "remove_config_comments": True,
        "show_memory": False,
        "abort_on_example_error": True,
    }
