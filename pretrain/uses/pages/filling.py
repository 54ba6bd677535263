"""A page as one file: a template, filled, with its style and scripts in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ubr.weights.common.pages import STYLE, joined, template_in

HERE = Path(__file__).parent
STYLES, SCRIPTS = (STYLE, HERE / "style.css"), (HERE / "drawing.js", HERE / "overview.js")


def filled(
    template: Path,
    *,
    scripts: Sequence[Path],
    styles: Sequence[Path] = (),
    data: Any,
    **values: Any,
) -> str:
    """The page.

    Args:
        template: extends `base.html`.
        scripts: they follow those that all pages share.
        styles: likewise.
        data: what the scripts read, plain values.
        values: what the template reads.
    """
    return template_in([template.parent, HERE], template.name).render(
        style=joined((*STYLES, *styles)), script=joined((*SCRIPTS, *scripts)), data=data, **values
    )
