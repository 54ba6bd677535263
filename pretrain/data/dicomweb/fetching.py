"""Fetching series from a DICOMweb server into a folder, for the verbs that read folders.

OUT/KEY/000001.dcm    the files of a series as the server has them, patient's name included

A folder appears whole, so the same call resumes what was interrupted. A series that has grown on
the server is fetched anew.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....weights.common.claims import claiming
from ....weights.common.disk import whole
from ....weights.common.progress import progress_bar
from .server import AwayError, Listed, RefusedError, Server, ServerError


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    folder: of all series. new, before: how many series were fetched, and how many already there.
    left_out: key and reason of each series that was left out.
    """

    folder: Path
    new: int
    before: int
    left_out: tuple[tuple[str, str], ...] = ()

    def table(self) -> str:
        """Counts, and why series were left out."""
        lines = [f"{self.new:,} series fetched, {self.before:,} already there; in {self.folder}"]
        reasons = Counter(reason for _, reason in self.left_out)
        return "\n".join([*lines, *(f"{n:7,}  left out: {why}" for why, n in reasons.items())])


@claiming("out", fills=True)
def fetch(
    url: str,
    out: str | Path,
    *,
    studies: Sequence[str] = (),
    since: str | None = None,
    ca: str | None = None,
    progress: bool = True,
) -> Fetched:
    """Fetch the CT series of a DICOMweb server into a folder, one folder for each.

    Repeat an interrupted call to resume it.

    Args:
        url: the root of the server's DICOMweb services.
        out: a folder, created if missing; its files identify the patients.
        studies: UIDs of the studies to fetch, all by default.
        since: date, e.g. 2026-01-31, of the oldest study to fetch.
        ca: a file of certificates to trust instead of the usual ones.
        progress: show a progress bar.

    Raises:
        ValueError: dicomweb-client is not installed, the server does not answer, refuses the login
            or is not DICOMweb, or no series matches.
    """
    server, folder = Server(url, ca), Path(out)
    listed = server.series(studies=studies, since=since)
    if not listed:
        raise ValueError(f"{server.url} holds none of the requested CT series; ask for others")
    before, left_out = 0, []
    with progress_bar(total=len(listed), title="fetch", unit="series", show=progress) as bar:
        for one in listed:
            try:
                before += not _fetch_one(server, one, folder / one.key)
            except (AwayError, RefusedError) as error:
                raise type(error)(f"{error}; repeat the command to resume it") from error
            except ServerError as error:
                left_out.append((one.key, str(error)))
            bar.update()
    new = len(listed) - before - len(left_out)
    return Fetched(folder, new, before, tuple(left_out))


def _fetch_one(server: Server, one: Listed, folder: Path) -> bool:
    """Fetch a series, unless it is there with all images. Returns whether it was not."""
    if folder.is_dir() and sum(1 for _ in folder.iterdir()) == one.images:
        return False
    with whole(folder) as part:
        part.mkdir()
        server.fetch(one, part)
        if folder.is_dir():
            shutil.rmtree(folder)
    return True
