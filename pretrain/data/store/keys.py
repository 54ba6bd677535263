"""Keys: hashes that name series and patients without identifying anyone."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from ....weights.common import disk


def hash_text(text: str, *, secret: bytes = b"", size: int = 8) -> str:
    """blake2b of a text, `2 * size` hexadecimal digits, keyed where a secret is given.

    The text may hold surrogates, as a path does that is not UTF-8.
    """
    return blake2b(text.encode(errors="surrogatepass"), digest_size=size, key=secret).hexdigest()


def make_secret(path: Path) -> None:
    """Write a new secret, unless another writer was first: its secret stays."""
    with suppress(FileExistsError), disk.whole(path) as part:
        part.touch(0o600)  # its owner's
        part.write_text(secrets.token_hex(32), "ascii")
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists():
                raise FileExistsError from None


def read_secret(path: Path) -> bytes:
    """The secret, empty where it is damaged. Raises `OSError` where there is none."""
    try:
        return bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        return b""


def check_of(secret: bytes) -> str:
    """What tells another secret from this one and says nothing about it."""
    return hash_text("", secret=secret)
