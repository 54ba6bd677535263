"""A page as one file: a template, filled, with its style and scripts in it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STYLE, SCRIPTS = HERE / "style.css", (HERE / "drawing.js", HERE / "overview.js")


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
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def copied(files: Sequence[Path]) -> Markup:
        return Markup("\n".join(file.read_text("utf-8").rstrip("\n") for file in files))

    return environment.get_template(template.name).render(
        style=copied((STYLE, *styles)), script=copied((*SCRIPTS, *scripts)), data=data, **values
    )


def data_uri(webp: bytes) -> str:
    """A picture as text that a page can hold."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()
