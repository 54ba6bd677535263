"""The store: the pixels of many series and what is known of them, made once by `ingest` and read by
everything else.

    STORE/
      store.json          format and the version that made it
      catalog.parquet     a row a series, taken or left out; made from the rows in series/, and made anew whenever it lags behind them
      series/KEY.b2nd     blosc2, int16 [z, y, x], one slice a chunk
      series/KEY.json     the row of a series that was taken; written after its pixels, so that its presence is what "done" means
      series/KEY.left.json    the row of one that was left out
      private/            the secret of the patients' keys, and which key came from which path. Delete this folder before the store
                          leaves the hospital; training never reads it.

Every file is written under a temporary name, brought to the disk and renamed, and none is shared
between writers: a kill leaves nothing half made, two ingests into one store need no lock, and the
catalogue is a pure function of the rows.

Nothing outside private/ identifies a patient. A series' key is a hash of its UID. Patient ids are
short, so anyone could hash all of them and compare: the patient's key is therefore keyed with the
store's secret. Series are ordered by a digest of their content, which does not depend on the
secret: the same scans ingested anew give the same order, and so the same split by patient. Of two
series with the same content under different UIDs the catalogue takes one, or they would sit on both
sides of a split.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .volume import Series, Volume

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
TAKEN, LEFT_OUT = "taken", "left out"
SAME_CONTENT = "the same pixels and geometry as another series"


class StoreError(ValueError):
    """A store that cannot be used as asked. The text says in one line what to do."""


@dataclass(frozen=True, eq=False)
class SeriesRow:
    """A series in the store.

    key, patient: hashes. kind: the reader that took it. spacing_mm: (z, y, x). z_mm: `[z]` mm below
    the first slice. body: `[z, 4]` the body's box in each slice (`ubr.weights.body`). hu_min,
    hu_max: of all pixels. warnings: codes of `volume.WARNINGS` with details. digest: of pixels and
    geometry; equal for the same scan in another store.
    """

    key: str
    patient: str
    kind: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    z_mm: NDArray[np.float64]
    body: NDArray[np.int16]
    hu_min: int
    hu_max: int
    warnings: tuple[str, ...]
    digest: str

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """`[z]` area of the body's box in each slice."""
        y0, y1, x0, x1 = self.body.astype(np.float64).T
        return np.asarray((y1 - y0) * (x1 - x0) * self.spacing_mm[1] * self.spacing_mm[2])


class Store:
    """A store on disk; cheap to open, safe to pass to other processes.

    Made by `Store.open` or `Store.create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Store:
        """Make an empty store, or open the one that is there.

        Raises `StoreError` if the folder holds something else.
        """
        root = Path(path)
        if not (root / "store.json").exists():
            if root.exists() and (
                not root.is_dir()
                or {p.name for p in root.iterdir() if p.suffix != ".tmp"} - {"series", "private"}
            ):
                raise StoreError(f"{root} exists and is not a store; name a new or an empty folder")
            try:
                (root / "series").mkdir(parents=True, exist_ok=True)
                (root / "private" / "sources").mkdir(parents=True, exist_ok=True)
                _write(root / "private" / "secret", secrets.token_hex(32).encode(), first_wins=True)
                _write(
                    root / "store.json",
                    json.dumps({"format": FORMAT, "made_with": _version()}).encode(),
                )
            except OSError as error:
                raise StoreError(
                    f"a store cannot be made at {root} ({error.strerror}); name a folder that "
                    "can be written to"
                ) from None
        return cls.open(root)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store. Raises `StoreError` if there is none or if a newer version made it."""
        root = Path(path)
        try:
            made = json.loads((root / "store.json").read_text("utf-8"))
            found = int(made["format"])
        except (OSError, ValueError, KeyError, TypeError):
            make = f"ubr-pretrain ingest SOURCE --store {root}"
            raise StoreError(
                f"{root} is not a store (no readable store.json); make one with: {make}"
            ) from None
        if found > FORMAT:
            raise StoreError(
                f"{root} has store format {found}, made with "
                f"{made.get('made_with', 'a newer version')}; "
                f"this version reads up to {FORMAT}: update ubr-pretrain, or ingest into a new "
                "store"
            )
        return cls(root)

    # -------------------------------------------------------------------------------------------------------------
    # reading

    def catalog(self) -> pa.Table:
        """A row a series, taken ones first, in an order that depends on nothing but their content."""
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path / "catalog.parquet")
        except (OSError, ValueError):
            return self.rebuild()
        have_pixels = table["digest"].is_valid().to_pylist()
        listed = {
            f"{key}.json" if taken else f"{key}.left.json"
            for key, taken in zip(table["key"].to_pylist(), have_pixels, strict=True)
        }
        return table if listed == self._row_files() else self.rebuild()

    def rows(self) -> list[SeriesRow]:
        """The series that were taken, in the catalogue's order."""
        import pyarrow.compute as pc

        table = self.catalog()
        table = table.filter(pc.equal(table["status"], TAKEN)).combine_chunks()
        arrays = {name: _lists(table[name]) for name in ("z_mm", "body")}
        return [
            SeriesRow(
                **{
                    name: row[name]
                    for name in (
                        "key",
                        "patient",
                        "kind",
                        "slices",
                        "rows",
                        "columns",
                        "hu_min",
                        "hu_max",
                        "digest",
                    )
                },
                spacing_mm=(row["spacing_z_mm"], row["spacing_y_mm"], row["spacing_x_mm"]),
                z_mm=z_mm,
                body=body.reshape(-1, 4),
                warnings=tuple(row["warnings"]),
            )
            for row, z_mm, body in zip(
                table.drop_columns(list(arrays)).to_pylist(), *arrays.values(), strict=True
            )
        ]

    def usable(self) -> list[SeriesRow]:
        """`rows()`, or `StoreError` with the reasons when no series was taken."""
        rows = self.rows()
        if not rows:
            reasons = self.catalog()["reason"].to_pylist()
            most = f" (most often: {max(set(reasons), key=reasons.count)})" if reasons else ""
            raise StoreError(
                f"{self.path} holds no usable series; {len(reasons)} were left out{most}; ingest "
                "CT series into it"
            )
        return rows

    def read(self, key: str, slices: Sequence[int] | slice | None = None) -> NDArray[np.int16]:
        """HU of a series, `[z, y, x]`: all slices, a range, or those named, in the order given.
        Only these are decompressed.

        The file is opened anew each time (0.1 ms), so nothing is kept in memory and forked workers
        share no state. Raises `StoreError` if the pixel file is missing or damaged (as far as its
        structure shows it: single bits that flip on the disk do not), IndexError for a slice
        outside the series.
        """
        import blosc2

        path = self._pixels(key)
        if not path.exists():
            raise StoreError(
                f"the pixels of series {key} are missing from the store; ingest its source again"
            )
        try:
            array = blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
            if slices is None or isinstance(slices, slice):
                return np.asarray(array[slices or slice(None)], np.int16)
            out = np.empty((len(slices), *array.shape[1:]), np.int16)
            for i, z in enumerate(slices):
                out[i] = array[int(z)]
            return out
        except (
            RuntimeError,
            ValueError,
            TypeError,
            SyntaxError,
            MemoryError,
        ) as error:  # what blosc2 makes of a damaged header
            what = f"cannot be read ({type(error).__name__})"
            raise StoreError(
                f"the pixels of series {key} {what}; delete series/{path.name} and ingest its "
                "source again"
            ) from error

    def fingerprint(self, keys: Iterable[str]) -> str:
        """Digest of the content of these series, whatever their order: provenance that identifies
        no one.

        Raises KeyError for a key that is not in the store.
        """
        table = self.catalog()
        digests = dict(zip(table["key"].to_pylist(), table["digest"].to_pylist(), strict=True))
        return _hash("\n".join(sorted(digests[k] for k in keys)), size=16)

    # -------------------------------------------------------------------------------------------------------------
    # writing

    @staticmethod
    def key(series: Series) -> str:
        """The series' key, the same in every store."""
        return _hash(series.uid)

    def patient(self, series: Series) -> str:
        """The patient's key:

        keyed with the store's secret; the series' own key where the format names no patient.
        """
        return _hash(series.patient, secret=self._secret) if series.patient else self.key(series)

    def has(self, key: str) -> bool:
        """Whether the series was taken, row and pixels."""
        return self._row(key).exists() and self._pixels(key).exists()

    def add(self, series: Series, volume: Volume, boxes: NDArray[np.int16]) -> str:
        """Write a series and its row (boxes: `[z, 4]`). Returns its key."""
        import blosc2

        key = self.key(series)
        slices, rows, columns = volume.hu.shape
        temporary = temporary_name(self._pixels(key))
        try:
            blosc2.asarray(
                np.ascontiguousarray(volume.hu),
                urlpath=str(temporary),
                mode="w",
                chunks=(1, rows, columns),
                cparams={
                    "codec": blosc2.Codec.LZ4,
                    "clevel": 5,
                    "filters": [blosc2.Filter.BITSHUFFLE],
                    "nthreads": 1,
                },
            )
            rename_durably(temporary, self._pixels(key))
        except RuntimeError as error:  # blosc2's for a disk that is full
            raise StoreError(f"{self.path} cannot be written to ({error})") from error
        finally:
            temporary.unlink(missing_ok=True)
        row = {
            "key": key,
            "patient": self.patient(series),
            "status": TAKEN,
            "reason": "",
            "kind": series.kind,
            "slices": slices,
            "rows": rows,
            "columns": columns,
            "spacing_z_mm": float(volume.spacing_mm[0]),
            "spacing_y_mm": float(volume.spacing_mm[1]),
            "spacing_x_mm": float(volume.spacing_mm[2]),
            "z_mm": volume.z_mm.tolist(),
            "body": boxes.ravel().tolist(),
            "hu_min": int(volume.hu.min()),
            "hu_max": int(volume.hu.max()),
            "warnings": list(volume.warnings),
            "digest": _content_digest(volume),
        }
        _write(self._row(key), json.dumps(row).encode())
        self._left(key).unlink(missing_ok=True)
        return key

    def leave_out(self, key: str, kind: str, reason: str) -> None:
        """Record that a series was not taken. reason: one line without path or identity."""
        _write(
            self._left(key),
            json.dumps({"key": key, "status": LEFT_OUT, "reason": reason, "kind": kind}).encode(),
        )

    def path_key(self, path: str) -> str:
        """Key of something that was left out before it had a UID.

        Paths can be guessed, hence the secret.
        """
        return _hash(path, secret=self._secret)

    def name_patients(self, found: Iterable[Series]) -> None:
        """Bring the patients' keys of series taken earlier up to date, where their patient is known
        only now.
        """
        known = {row.key: row.patient for row in self.rows()}
        for series in found:
            key = self.key(series)
            if series.patient and known.get(key, self.patient(series)) != self.patient(series):
                row = json.loads(self._row(key).read_text("utf-8"))
                _write(
                    self._row(key), json.dumps({**row, "patient": self.patient(series)}).encode()
                )

    def note_sources(self, sources: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Keep in private/ which files each key came from:

        a file an ingest, named by its content, so that writers never share one.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folders = [os.path.commonpath([str(Path(f).parent) for f in files]) for _, files in sources]
        names = [
            [os.path.relpath(f, folder) for f in sorted(files)]
            for (_, files), folder in zip(sources, folders, strict=True)
        ]
        table = pa.table(
            {"key": [key for key, _ in sources], "path": folders, "files": names},
            schema=pa.schema(
                {"key": pa.string(), "path": pa.string(), "files": pa.list_(pa.string())}
            ),
        )
        path = self.path / "private" / "sources" / f"{_hash(repr(table.to_pylist()))}.parquet"
        temporary = temporary_name(path)
        try:
            pq.write_table(table, temporary)
            rename_durably(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def sources(self) -> dict[str, list[str]]:
        """Files of each key, as far as private/ still says."""
        import pyarrow.parquet as pq

        files: dict[str, list[str]] = {}
        for path in sorted(
            (self.path / "private" / "sources").glob("*.parquet"),
            key=lambda p: p.stat().st_mtime_ns,
        ):
            for row in pq.read_table(path).to_pylist():
                files[row["key"]] = [str(Path(row["path"]) / name) for name in row["files"]]
        return files

    def forget_left_out(self, sources: Sequence[Path], keys: set[str]) -> None:
        """Drop rows of what an earlier ingest of `sources` left out, except `keys`:

        the file has gone, or was taken under its UID.
        """
        files = self.sources()
        for path in (self.path / "series").glob("*.left.json"):
            key = path.name.split(".")[0]
            if key not in keys and any(
                Path(file).is_relative_to(source.absolute())
                for file in files.get(key, ())
                for source in sources
            ):
                path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove temporary files of writers that are dead:

        processes of this machine that no longer run, or any after a day.
        """
        here = _hash(socket.gethostname(), size=4)
        for folder in (".", "series", "private", "private/sources"):
            for path in (self.path / folder).glob("*.tmp"):
                host, _, process = path.suffixes[-2].removeprefix(".").partition("-")
                with suppress(FileNotFoundError):  # it was renamed, or another ingest cleans too
                    if time.time() - path.stat().st_mtime > 86400 or (
                        host == here and not _runs(int(process))
                    ):
                        path.unlink()

    def rebuild(self) -> pa.Table:
        """Make the catalogue from the rows in series/.

        Where the store cannot be written to, it is made in memory only.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = []
        for name in self._row_files():
            try:
                rows.append(json.loads((self.path / "series" / name).read_text("utf-8")))
            except FileNotFoundError:  # another ingest took it meanwhile
                continue
        # Of equals the one whose patient is known comes first.
        rows.sort(key=lambda r: (r.get("digest", ""), r.get("patient") == r["key"], r["key"]))
        for row, before in zip(rows[1:], rows, strict=False):
            if row["status"] == TAKEN and row["digest"] == before.get("digest"):
                row |= {"status": LEFT_OUT, "reason": SAME_CONTENT}
        rows.sort(key=lambda r: r["status"] == LEFT_OUT)
        table = pa.Table.from_pylist(rows, schema=_schema())
        temporary = temporary_name(self.path / "catalog.parquet")
        try:
            pq.write_table(table, temporary)
            rename_durably(temporary, self.path / "catalog.parquet")
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return table

    # -------------------------------------------------------------------------------------------------------------
    # files

    def _pixels(self, key: str) -> Path:
        return self.path / "series" / f"{key}.b2nd"

    def _row(self, key: str) -> Path:
        return self.path / "series" / f"{key}.json"

    def _left(self, key: str) -> Path:
        return self.path / "series" / f"{key}.left.json"

    def _row_files(self) -> set[str]:
        names = {p.name for p in (self.path / "series").iterdir() if p.suffix == ".json"}
        return {
            n for n in names if not (n.endswith(".left.json") and n.replace(".left", "") in names)
        }

    @cached_property
    def _secret(self) -> bytes:
        try:
            return bytes.fromhex((self.path / "private" / "secret").read_text("ascii"))
        except OSError:
            raise StoreError(
                f"{self.path} has no private/secret; it can be read, but not added to"
            ) from None


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number, real = pa.string(), pa.int32(), pa.float64()
    return pa.schema(
        {
            "key": text, "patient": text, "status": text, "reason": text, "kind": text,
            "slices": number, "rows": number, "columns": number,
            "spacing_z_mm": real, "spacing_y_mm": real, "spacing_x_mm": real, "z_mm": pa.list_(real), "body": pa.list_(pa.int16()),
            "hu_min": number, "hu_max": number, "warnings": pa.list_(text), "digest": text,
        }
    )  # fmt: skip


def _lists(column: pa.ChunkedArray) -> list[NDArray[Any]]:
    """A column of lists as arrays, without a Python number for each of their elements."""
    lengths = column.combine_chunks().value_lengths().to_numpy()
    values = column.combine_chunks().flatten().to_numpy()
    ends = np.cumsum(lengths)
    return [values[end - length : end] for length, end in zip(lengths, ends, strict=True)]


def _content_digest(volume: Volume) -> str:
    """Digest of pixels and geometry.

    Positions count to a micrometre: the last bits differ between file formats.
    """
    digest = blake2b(digest_size=16)
    digest.update(repr(volume.hu.shape).encode())
    digest.update(np.round(volume.spacing_mm, 3).astype("<f8").tobytes())
    digest.update(np.round(volume.z_mm, 3).astype("<f8").tobytes())
    digest.update(np.ascontiguousarray(volume.hu, "<i2").data)
    return digest.hexdigest()


def _hash(text: str, secret: bytes = b"", size: int = 8) -> str:
    return blake2b(text.encode(), digest_size=size, key=secret).hexdigest()


def _version() -> str:
    try:
        return f"ubr-pretrain {version('ubr-pretrain')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "ubr-pretrain"


def temporary_name(path: Path) -> Path:
    """A name no other writer uses.

    It says whose it is, so that what a dead process left can be told from what a living one writes.
    """
    return path.with_name(f"{path.name}.{_hash(socket.gethostname(), size=4)}-{os.getpid()}.tmp")


def _runs(process: int) -> bool:
    """Whether a process of this machine lives; taken for granted where signal 0 is not a question
    (Windows).
    """
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write(path: Path, data: bytes, first_wins: bool = False) -> None:
    """Replace a file in one act.

    first_wins: of several writers the first one's content stays instead of the last one's.
    """
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        if not first_wins:
            rename_durably(temporary, path)
        elif not path.exists():
            try:
                os.link(temporary, path)
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                rename_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def rename_durably(temporary: Path, path: Path) -> None:
    """The content is on the disk before the name is:

    after a power cut a name never stands for half a file.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
