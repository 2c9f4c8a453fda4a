"""Configuration of Sphinx, which builds the documentation."""

# sphinx-gallery imports IterativeImputer to link it, also if examples are not run.
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sphinx_gallery.sorting import ExplicitOrder

from skae import __version__

project = "skae"
author = "The skae developers"
copyright = "the skae developers"
version = release = __version__

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "sg_execution_times.rst", "**/sg_execution_times.rst"]
default_role = "py:obj"
root_doc = "index"

# Unknown references are errors. In docstrings, single backticks also mark parameters
# and expressions, so that only names of a library must exist.
nitpicky = True
nitpick_ignore_regex = [("py:obj", r"(?!(skae|sklearn|numpy|scipy|pandas|torch)\.).*")]

# The inventories are written by _inventories/write.py. No network is needed.
intersphinx_mapping = {
    name: (url, f"_inventories/{name}.inv")
    for name, url in {
        "python": "https://docs.python.org/3/",
        "numpy": "https://numpy.org/doc/stable/",
        "scipy": "https://docs.scipy.org/doc/scipy/",
        "pandas": "https://pandas.pydata.org/docs/",
        "sklearn": "https://scikit-learn.org/stable/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}

autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc lists the types of the parameters
numpydoc_show_class_members = False

# The code of a figure is a doctest as well, and is shown above it.
plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 90)]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"skae {version}"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_favicon = "_static/logo.svg"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo_dark.svg",
        "text": html_title,
    },
    "icon_links": [
        {
            "name": "Source code",
            "url": "https://github.com/skae-dev/skae",
            "icon": "fa-brands fa-github",
        }
    ],
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": {"**": ["page-toc", "sg_download_links"], "index": []},
    "show_prev_next": False,
    "show_toc_level": 2,
}
# Only pages of a section have a sidebar that lists the section.
SECTION = ["sidebar-nav-bs"]
html_sidebars = {
    "*": [],
    "*/*": SECTION,
    "api": SECTION,
    "how_to": SECTION,
    "user_guide": SECTION,
}

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
    "backreferences_dir": "generated/backreferences",
    "doc_module": "skae",
    "reference_url": {"skae": None},
    "remove_config_comments": True,
    "show_memory": False,
    "abort_on_example_error": True,
}
