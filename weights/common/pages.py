"""Pages for a browser without internet: one file each, in one style, written as it is made."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Write a page from a template of jinja's, piece by piece: what the values yield while it is
    written is not held in memory.

    path: of the page. template: an .html file, which gets the common style as `style`, followed by
    that of the .css file of its name. values: what else it shows; texts are escaped.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheets = Path(__file__).with_name("page.css"), template.with_suffix(".css")
    style = Markup("\n".join(sheet.read_text("utf-8").rstrip("\n") for sheet in sheets))
    page = environment.get_template(template.name).stream(style=style, **values)
    page.enable_buffering(50)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(page)


def webp_uri(picture: bytes) -> str:
    """A WebP picture as the address of an image in the page itself."""
    return "data:image/webp;base64," + base64.b64encode(picture).decode()
