"""How the documentation is built: `make docs`, offline, warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

from trainguard import __version__  # noqa: E402

project = "trainguard"
author = "the trainguard contributors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "checks",
    "docstrings",
]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"trainguard {release}"
html_static_path = ["_static"]
html_css_files = ["checks.css"]
html_js_files = ["checks.js"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

# The public names come from modules that import torch and transformers; neither is needed to
# read their docstrings. Of transformers only the base of the callback is.
autodoc_mock_imports = ["torch", "peft", "trl", "accelerate", "datasets"]
transformers = ModuleType("transformers")
transformers.TrainerCallback = type("TrainerCallback", (), {})  # type: ignore[attr-defined]
sys.modules["transformers"] = transformers
autodoc_typehints = "none"  # they stand in the signatures already
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"
