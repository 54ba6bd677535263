"""Which files each key came from, kept in private/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ubr.weights.common import disk

from ..volume import shown
from .keys import hash_text


def write_sources(folder: Path, sources: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Write the files of each key, as `shown`: one table per ingest, named by its content.

    So writers never share a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folders = [os.path.commonpath([str(Path(f).parent) for f in files]) for _, files in sources]
    names = [
        [os.path.relpath(file, parent) for file in sorted(files)]
        for (_, files), parent in zip(sources, folders, strict=True)
    ]
    table = pa.table(
        {
            "key": [key for key, _ in sources],
            "path": [shown(folder) for folder in folders],
            "files": [[shown(name) for name in several] for several in names],
        },
        schema=pa.schema({"key": pa.string(), "path": pa.string(), "files": pa.list_(pa.string())}),
    )
    with disk.whole(folder / f"{hash_text(repr(table.to_pylist()))}.parquet") as part:
        part.touch(0o600)  # its owner's: paths may hold names
        pq.write_table(table, part)


def read_sources(folder: Path) -> dict[str, list[str]]:
    """The files of each key; where several ingests name a key, the last one counts."""
    import pyarrow.parquet as pq

    files: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns):
        for row in pq.read_table(path).to_pylist():
            files[row["key"]] = [str(Path(row["path"]) / name) for name in row["files"]]
    return files
