"""A checksum that is published beside a file: `FILE.sha256`, as `sha256sum FILE` prints it.

Digests inside a file guard against accidents: whoever alters the file can make them anew. A
checksum from elsewhere guards against forgery, as far as the place that it comes from is trusted.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

MOST_BYTES = 1 << 20


def checksum_beside(path: Path) -> Path:
    """Where a file's published checksum is looked for."""
    return path.with_name(path.name + ".sha256")


def check_published(path: Path) -> bool:
    """Compare a file with the checksum beside it.

    Returns:
        Whether there is one.

    Raises:
        ValueError: they differ, or the checksum cannot be read.
    """
    beside = checksum_beside(path)
    if not beside.is_file():
        return False
    found = {}
    if beside.stat().st_size <= MOST_BYTES:
        text = beside.read_text("utf-8-sig", errors="replace")
        lines = re.findall(r"(?m)^([0-9a-fA-F]{64}) [ *](.+?)\r?$", text)
        found = {Path(name).name: digest.lower() for digest, name in lines}
    if path.name not in found:
        raise ValueError(
            f"{beside}: holds no checksum of {path.name}; make one in its folder: sha256sum "
            f"{path.name} > {beside.name}"
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != found[path.name]:
        raise ValueError(
            f"{path}: its SHA-256 is {digest[:12]}..., but {beside.name} says "
            f"{found[path.name][:12]}...; the file was altered or damaged: get it again"
        )
    return True
