"""The site's settings. `make book` lays out the sources with stage.py and then runs Sphinx; no notebook is executed."""
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # api.py, and the ddad of this checkout

import api  # noqa: E402

import ddad  # noqa: E402

project, author, version = "DDAD", "the ddad authors", ddad.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
exclude_patterns = ["files"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables, equations and links in outputs, as in the text
nb_ipywidgets_js = {}  # no widget is stored in a notebook, so no page asks for their scripts
nb_code_prompt_show = "Code"
nb_code_prompt_hide = "Code"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4

# MathJax out of its package, so that a reader needs no network; the package's own extension forbids reading in parallel
MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static"
mathjax_path = "mathjax/tex-chtml.js"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_inherit_docstrings = False  # no page on what torch and scikit-learn say of their own methods
maximum_signature_line_length = 80
add_module_names = False

html_theme = "sphinx_book_theme"
html_favicon = str(HERE / "_static/icon.svg")
html_context = {"default_mode": "auto"}
html_title = "DDAD"
html_static_path = [str(HERE / "_static"), str(MATHJAX)]
html_css_files = ["book.css"]
html_js_files = [("book.js", {"defer": "defer"})]
html_use_index = html_domain_indices = False
html_show_sourcelink = False
html_theme_options = {
    "show_navbar_depth": 1,
    "collapse_navigation": True,  # a page lists the chapters of its own part alone, and builds faster
    "show_toc_level": 2,
    "navbar_persistent": [],  # the search stands in the sidebar
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
}


def setup(app): app.connect("autodoc-process-docstring", api.document)
