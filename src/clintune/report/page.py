"""One page of HTML that needs nothing else, made of sections."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

import jinja2
from markupsafe import Markup

from clintune.core.text import visible
from clintune.report.section import Picture, Section
from clintune.report.svg import render


def render_page(name: str, about: str, warning: str, sections: Sequence[Section]) -> str:
    """Return a page with a title, what it is `about`, and a warning that nobody may miss.

    Equal sections give an equal page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_readable,
    )
    environment.filters |= {"kind": _kind, "svg": partial(_svg, numbers=count(1))}
    page = environment.get_template("page.html.j2")
    return page.render(name=name, about=about, warning=warning, sections=sections)


def _readable(value: object) -> object:
    """Return what an expression gives without characters that hide or turn others."""
    return value if isinstance(value, Markup) else visible(value)


def _kind(part: object) -> str:
    """Return the name of the macro that writes a block or cell."""
    return type(part).__name__


def _svg(picture: Picture, *, numbers: Iterator[int]) -> Markup:
    """Return a figure, whose ids begin with a number of its own on this page."""
    return Markup(render(picture.draw, picture.size, f"figure{next(numbers)}", picture.title))
