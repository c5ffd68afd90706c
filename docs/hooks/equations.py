"""Turn the TeX that arithmatex leaves in a page into MathML, which browsers draw themselves: no script, no network."""

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """Return the page with every equation as MathML."""
    return _EQUATION.sub(_to_mathml, content)


def _to_mathml(equation: re.Match) -> str:
    display = "block" if equation[2] == "[" else "inline"
    return convert(html.unescape(equation[3]).strip(), display=display)
