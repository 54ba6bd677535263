"""Which files each key came from, kept in private/."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....weights.common import disk
from ..tables import DamagedTable, read_table, write_table
from ..volume import shown
from .keys import hash_text
from .rows import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


def write_sources(folder: Path, sources: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Write the files of each key, as `shown`: one table per ingest, named by its content.

    So writers never share a file.
    """
    import pyarrow as pa

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
        schema=_schema(),
    )
    with disk.whole(folder / f"{hash_text(repr(table.to_pylist()))}.parquet") as part:
        part.touch(0o600)  # its owner's: paths may hold names
        write_table(table, part)


def read_sources(folder: Path) -> dict[str, list[str]]:
    """The files of each key; where several ingests name a key, the last one counts.

    Raises:
        StoreError: a table is damaged.
    """
    files: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.parquet"), key=lambda p: p.stat().st_mtime_ns):
        try:
            table, _ = read_table(path)
            if not table.schema.equals(_schema()):
                raise DamagedTable("it has other columns")
            for row in table.to_pylist():
                files[row["key"]] = [str(Path(row["path"]) / name) for name in row["files"]]
        except (DamagedTable, TypeError) as error:
            raise StoreError(
                f"private/sources/{path.name} in the store is damaged ({error}); delete it: it "
                "only says which files some series came from"
            ) from None
    return files


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema({"key": pa.string(), "path": pa.string(), "files": pa.list_(pa.string())})
