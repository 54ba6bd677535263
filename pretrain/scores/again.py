"""A folder of scores read again with other regions: the same scores, new tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...weights.common.disk import scratch
from ...weights.common.working import Working, setting_shown
from ..data.volume import LeftOut
from ..reading.intervals import notes
from .read import read_features, read_rows, weights_of
from .scored import Scored
from .series import SeriesScores
from .slices import LAST, read_settings
from .streamed import each_series
from .write import TableOptions, write_tables

CHANGES = ("regions_sha256", "coverage", "features", "with_paths")
"""Settings that do not change scores."""


@dataclass(frozen=True)
class Again:
    """A folder of scores, and what its new tables hold. settings: as `score` was asked for them."""

    folder: Path
    options: TableOptions
    settings: Mapping[str, object]

    def write(self, out: Path) -> Scored:
        """Write the new tables into a new folder.

        Raises:
            ValueError: the scores were made with other weights or other slices, or lack what is
                asked for; `out` holds something else.
        """
        begun = self._begun()
        backbone = {"backbone": begun.pop("backbone", None)}
        options = self.options
        working = Working(out, {**begun, **{k: self.settings[k] for k in CHANGES}}, LAST)
        rows = list(read_rows(self.folder / "series.csv"))
        where = {row["series"]: row.get("path", "") for row in rows}
        missing = notes(options.regions, options.coverage) if options.regions else ()
        runtime = str(begun.get("runtime", "torch"))
        scored = Scored(working.folder, where, len(rows), missing, runtime)
        if working.finished:
            working.tidy()
            return scored
        working.begin()
        with scratch(working.path, "tables") as made:
            names = write_tables(
                made, self._series, self._left_out(), options, {**working.settings, **backbone}
            )
            working.finish(made, names)
        return scored

    def _begun(self) -> dict[str, Any]:
        """The settings of the scores, if these are what is asked for."""
        begun = read_settings(self.folder)
        weights_of(self.folder, begun)
        for name, asked in self.settings.items():
            given = name == "weights_sha256" or asked is not None
            if name not in CHANGES and given and begun.get(name) != asked:
                option = "weights" if name == "weights_sha256" else f"`{name}`"
                was, now = map(setting_shown, (begun.get(name), asked))
                raise ValueError(
                    f"{self.folder} was scored with {option} {was}, not {now}; give what it was "
                    "scored with, or the scans"
                )
        paths = self.options.with_paths and not begun.get("with_paths")
        if paths:
            raise ValueError(f"{self.folder} holds no paths; leave out `with_paths`")
        if self.options.by_features:
            read_features(self.folder)  # refuses where they are lacking or damaged
        return begun

    def _series(self) -> Iterator[SeriesScores]:
        return each_series(self.folder, features=self.options.by_features)

    def _left_out(self) -> list[LeftOut]:
        rows = read_rows(self.folder / "left_out.csv")
        return [LeftOut(row.get("path", ""), row["reason"], row["series"]) for row in rows]
