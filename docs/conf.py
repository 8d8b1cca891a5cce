"""Makes the documentation site: ``python -m sphinx -W -c docs . site`` in the root of the repository.

The pages are README.md, CHANGELOG.md and docs/**/*.md, as they are on a code host. Only this file knows of
Sphinx: it takes the navigation from docs/index.md, sets formulas as MathML, which browsers show without a
script or a network, and adds the entries of the Python interface to the tables of docs/api.md.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from fontTools import subset
from sphinx.util.inspect import TypeAliasForwardRef

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from regeneration.api_tables import (  # noqa: E402
    TABLES_OF_NAMES,
    VALUES,
    full_name,
    public_names,
    public_object,
)
from regeneration.notebooks import FOLDER, as_ipynb  # noqa: E402
from regeneration.site_navigation import navigation  # noqa: E402

from derive.version import VERSION  # noqa: E402
from runtime.report import mathml  # noqa: E402

project = "overlap-ode"
version = release = VERSION
html_title = f"overlap-ode {VERSION}"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/*.md", "docs/notebooks/*.md"]
exclude_patterns = ["**/.*", "**/__pycache__", "derive", "runtime", "tests", "generated", "benchmarks"]

# It would make one dash of the two of an option.
smartquotes = False
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 6

autodoc_member_order = "bysource"
# By their names instead of all types that they stand for.
autodoc_type_aliases = {"Array": "Array", "ArrayLike": "ArrayLike"}
TypeAliasForwardRef.__repr__ = lambda self: self.name
numpydoc_show_class_members = False
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
# Names of other projects would need their inventories from the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!overlap_ode).*")]

html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
# Letters, operators and arrows in the font of mathematics that comes with the site.
MATH_RANGES = (
    *((0x20, 0x7F), (0xA0, 0xFF), (0x391, 0x3F5), (0x1D434, 0x1D467), (0x1D6E2, 0x1D71B)),
    *((0x2016, 0x203F), (0x210E, 0x2113), (0x2190, 0x219F), (0x2200, 0x22FF), (0x23DC, 0x23E1)),
    (0x27E8, 0x27E9),
)
html_copy_source = False
html_show_copyright = False
pygments_style, pygments_dark_style = "default", "github-dark"

_PUBLIC = public_names()
# Classes by the module that defines them, as annotations name them.
_DEFINED = {
    f"{value.__module__}.{value.__qualname__}": full_name(name)
    for name in {name for names in TABLES_OF_NAMES.values() for name in names}
    if inspect.isclass(value := public_object(name))
}


def _entry(name: str) -> str:
    """The directive that sets the full entry of a name."""
    value, path = public_object(name), full_name(name)
    if name in VALUES:
        return f".. py:data:: {path}\n\n   {VALUES[name]}\n"
    if not inspect.isclass(value):
        return f".. autofunction:: {path}\n"
    kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    return f".. {kind}:: {path}\n   :members:\n"


def _with_entries(page: str) -> str:
    """The page of the Python interface with links in its tables, and the entries below each."""

    def section(found: re.Match[str]) -> str:
        names = TABLES_OF_NAMES[found[1]]
        table = found[2]
        for name in names:
            table = table.replace(f"| `{name}` |", f"| {{py:obj}}`{name} <{full_name(name)}>` |")
        entries = "\n".join(_entry(name) for name in names)
        return f"{table}\n```{{eval-rst}}\n{entries}```\n"

    return re.sub(r"<!-- table: (api-\w+) -->\n(.*?)<!-- end of table -->", section, page, flags=re.DOTALL)


def _read(_: Any, page: str, content: list[str]) -> None:
    """Add to a page what only the site has."""
    if page == root_doc:
        content[0] += "\n" + navigation()
    elif page == "docs/api":
        content[0] = _with_entries(content[0])
    elif (ROOT / f"{page}.md").parent == FOLDER:
        # The file is written when the site is complete.
        heading, rest = content[0].split("\n", 1)
        name = page.rpartition("/")[2]
        link = f'<a class="notebook" href="{name}.ipynb" download>Download as a Jupyter notebook</a>'
        content[0] = f"{heading}\n\n{link}\n{rest}"


def _docstring(_: Any, __: str, ___: str, ____: Any, _____: Any, lines: list[str]) -> None:
    """Turn names between backquotes into links or code, and keep bars as they are."""

    def link(found: re.Match[str]) -> str:
        name = found[1].removeprefix("oo.")
        return f":py:obj:`{name} <overlap_ode.{name}>`" if name in _PUBLIC else f"``{name}``"

    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"`([^`]+)`", link, part).replace("|", r"\|") for part in parts[::2]]
        lines[number] = "".join(parts)


def _reference(_: Any, __: Any, node: nodes.Element, text: nodes.Node) -> nodes.Node | None:
    """The entry of a class that an annotation names by the module that defines it."""
    target = _DEFINED.get(node.get("reftarget", ""))
    if target is None:
        return None
    return nodes.reference("", "", text, internal=True, refuri=f"#{target}")


def _join_marks(_: Any, tree: Any) -> None:
    """Give each formula the mark that follows it, which a browser would set on the next line."""
    for formula in list(tree.findall(nodes.math)):
        following = formula.next_node(descend=False, siblings=True)
        if isinstance(following, nodes.Text) and following[:1] in tuple(".,;:)"):
            formula["closing"] = following[0]
            following.parent.replace(following, nodes.Text(following[1:]))


def _inline_math(translator: Any, node: nodes.Element) -> None:
    text = mathml.inline(node.astext()) + node.get("closing", "")
    translator.body.append(f'<span class="formula">{text}</span>')
    raise nodes.SkipNode


def _display_math(translator: Any, node: nodes.Element) -> None:
    latex = node.astext().strip()
    latex = latex.replace("{aligned}", "{align*}") if r"\begin{align" in latex else rf"\[{latex}\]"
    formulas = "".join(text for _, text in mathml.display(latex))
    translator.body.append(f'<div class="math">{formulas}</div>\n')
    raise nodes.SkipNode


def _write_math_font(path: Path) -> None:
    """Write the part of STIX Two Math that formulas need, for readers who have no font for mathematics."""
    options = subset.Options(flavor="woff", layout_features=["math", "ssty"])
    # Ziamath itself is not needed, and so not imported.
    package: Any = importlib.util.find_spec("ziamath")
    whole = Path(package.origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
    font = subset.load_font(str(whole), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[u for first, last in MATH_RANGES for u in range(first, last + 1)])
    subsetter.subset(font)
    subset.save_font(font, str(path), options)


def _complete(app: Any, error: Exception | None) -> None:
    """Write the notebooks to download, the font, and the front page by the name that servers open."""
    out = Path(app.outdir)
    if error is not None or app.builder.name != "html":
        return
    _write_math_font(out / "_static" / "math.woff")
    shutil.copyfile(out / "README.html", out / "index.html")
    for page in FOLDER.glob("*.md"):
        notebook = json.dumps(as_ipynb(page), indent=1, ensure_ascii=False)
        (out / "docs" / "notebooks" / f"{page.stem}.ipynb").write_text(notebook + "\n", encoding="utf-8")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    # Before numpydoc, which writes roles of its own.
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("doctree-read", _join_marks)
    app.connect("missing-reference", _reference)
    app.connect("build-finished", _complete)
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
