"""A page as a browser has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest


def in_browser(page: Path, script: str = "", *flags: str) -> str:
    """The page's elements as Chromium has them after a script has used the page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium or google-chrome on this machine")
    used = page.with_name("used.html")
    used.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page.parent / 'profile'}",
        *flags,
        "--dump-dom",
        used.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    return re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
