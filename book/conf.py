"""How Sphinx builds the site; python -m book writes the pages that it reads."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

project = "d2lstab"
author = "The d2lstab authors"
version = release = re.search(r'__version__ = "(.*)"', (ROOT / "d2lstab" / "__init__.py").read_text())[1]
html_title = f"d2lstab {release}"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx_design", "book.sphinx_parts"]
nb_execution_mode = "off"  # pages show what is stored
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints_format = "short"
autodoc_mock_imports = [] if find_spec("transformers") else ["transformers"]  # what the reference of its callback needs
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["course.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # as the reader's system has it
html_copy_source = False
html_domain_indices = False  # the reference has its own index
html_show_sphinx = False
mathjax_path = "mathjax/tex-chtml.js"  # copied by python -m book: formulas without a network
html_theme_options = {
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # one search field, the one in the sidebar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
