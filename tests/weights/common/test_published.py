"""A published checksum is what sha256sum writes and checks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ubr.weights.common.published import check_published


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "w.safetensors").write_bytes(bytes(range(256)) * 9999)
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("flags", [[], ["--binary"]])
def test_check__agrees_with_sha256sum(flags: list[str], file: Path) -> None:
    assert not check_published(file)
    made = subprocess.run(
        ["sha256sum", *flags, file.name, "/dev/null"],
        cwd=file.parent,
        capture_output=True,
        check=True,
    ).stdout
    beside = file.with_name("w.safetensors.sha256")
    for content in (
        made,
        made.replace(b"\n", b"\r\n"),
        made.upper().replace(b"W.SAFET", b"w.safet").replace(b"ENSORS", b"ensors"),
    ):
        beside.write_bytes(content)
        assert check_published(file)
    beside.write_bytes(made)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"\x00")
    with pytest.raises(ValueError, match=r"but w\.safetensors\.sha256 says .*get it again"):
        check_published(file)


@pytest.mark.parametrize(
    "text", ["", "0" * 64, f"{'0' * 64}  other.safetensors", "\x00", "x" * 10**7]
)
def test_check__a_checksum_that_names_no_such_file_is_refused(text: str, file: Path) -> None:
    file.with_name("w.safetensors.sha256").write_text(text)
    with pytest.raises(ValueError, match=r"holds no checksum of w\.safetensors; make one in"):
        check_published(file)
