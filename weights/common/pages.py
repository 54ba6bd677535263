"""Pages that open offline in any browser: one file each, in one style."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

STYLE = Path(__file__).with_name("page.css")
"""The style that all pages share; those of a page follow it."""


def template_in(folders: Sequence[Path], name: str) -> Template:
    """A template of jinja that lies in one of these folders. Texts that it shows are escaped."""
    from jinja2 import Environment, FileSystemLoader

    return Environment(
        loader=FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template(name)


def joined(files: Sequence[Path]) -> Markup:
    """Styles or scripts as they stand in a page."""
    from markupsafe import Markup

    return Markup("\n".join(file.read_text("utf-8").rstrip("\n") for file in files))


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Write a page from a template, piece by piece: what values yield while it is written is not
    held in memory.

    path: of the page. template: an .html file, which gets the common style as `style`, followed by
    that of the .css file of its name. values: what else it shows.
    """
    style = joined([STYLE, template.with_suffix(".css")])
    page = template_in([template.parent], template.name).stream(style=style, **values)
    page.enable_buffering(50)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(page)


def webp_uri(picture: bytes) -> str:
    """A WebP picture as the address of an image in the page itself."""
    return "data:image/webp;base64," + base64.b64encode(picture).decode()
