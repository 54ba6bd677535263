"""An audit in a minute: counts, the most frequent contradictions, and what to look at first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .rows import Row

SHOWN = 8
"""Kinds of contradictions, and reasons, that are shown."""
AGREEMENTS = {
    "yes": "agrees with what is seen",
    "partly": "agrees partly",
    "no": "contradicts what is seen",
    "not stated": "is not stated",
    "unknown": "cannot be judged",
}
COMPLETE = {
    "complete": "are complete",
    "missing": "lack slices",
    "unknown": "may lack slices: the files do not say",
}


@dataclass
class Summary:
    """Counts of rows; `add` each once."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    studies: set[str] = field(default_factory=set)
    slices_missing: int = 0

    def add(self, row: Row) -> Row:
        """Count a row; returns it."""
        self.counts["ct", str(row["ct"])] += 1
        if row["study"]:
            self.studies.add(str(row["study"]))
        if row["ct"] in ("no", "unknown"):
            self.reasons[_kind(str(row["reason"]))] += 1
            return row
        if not row["study"]:
            self.studies.add(str(row["series"]))  # a study of its own
        for name in ("agreement", "complete", "direction", "stated_kind"):
            self.counts[name, str(row[name])] += 1
        for name in ("uneven", "tilt_deg", "twice", "copy_of", "findings"):
            self.counts[name, ""] += bool(row[name])
        for part in str(row["seen"] or "").split("; "):
            self.counts["seen", part] += bool(part)
        self.slices_missing += int(str(row["missing"] or 0))
        if row["agreement"] in ("no", "partly"):
            self.pairs[str(row["stated"]), str(row["seen"])] += 1
        return row

    def other(self, reason: str) -> None:
        """Count a file that is no series."""
        self.others[_kind(reason)] += 1

    @property
    def series(self) -> int:
        """Series that are CT and could be read."""
        return self.counts["ct", "yes"] + self.counts["ct", "doubtful"]

    def values(self) -> dict[str, object]:
        """The counts as plain values."""
        names = ("ct", "agreement", "complete", "direction")
        return {
            **{
                name: {value: n for (of, value), n in sorted(self.counts.items()) if of == name}
                for name in names
            },
            "series": self.series,
            "studies": len(self.studies),
            "slices_missing": self.slices_missing,
            "copies": self.counts["copy_of", ""],
            "left_out": dict(self.reasons.most_common()),
            "other_files": dict(self.others.most_common()),
        }

    def text(self) -> str:
        """The summary as text."""
        return "\n".join(
            [*self._archive(), *self._parts(), *self._soundness(), *self._left(), *self._first()]
        )

    def _archive(self) -> list[str]:
        number = len(self.studies)
        studies = f" of {number:,} stud{'y' if number == 1 else 'ies'}" if number else ""
        doubtful, not_ct = self.counts["ct", "doubtful"], self.counts["ct", "no"]
        unread = self.counts["ct", "unknown"]
        return [
            f"{self.series:,} series of CT{studies}",
            *([f"  {doubtful:7,}  show no body that the weights recognise"] if doubtful else []),
            *([f"{not_ct:9,}  other series are not CT"] if not_ct else []),
            *([f"{unread:9,}  series could not be read"] if unread else []),
        ]

    def _parts(self) -> list[str]:
        lines = ["", "Parts that are seen (a series may show several)"]
        parts = [(part, n) for (of, part), n in self.counts.items() if of == "seen" and part]
        lines += [self._line(n, part) for part, n in sorted(parts, key=lambda one: -one[1])]
        lines += ["", "The body part in the header"]
        lines += self._lines("agreement", AGREEMENTS)
        organs = self.counts["stated_kind", "organ"]
        if organs:
            lines.append(self._line(organs, "of them name an organ or site, not a part"))
        if self.pairs:
            lines += ["", "Most frequent differences: stated, and seen"]
            lines += [
                f"  {n:7,}  {stated or 'none'}: {seen or 'none of the parts'}"
                for (stated, seen), n in self.pairs.most_common(SHOWN)
            ]
        return lines

    def _soundness(self) -> list[str]:
        lines = ["", "Slices between the first and the last"]
        lines += self._lines("complete", COMPLETE)
        if self.slices_missing:
            lines.append(f"  {self.slices_missing:7,}  slices are missing in total")
        said = {
            "reversed": (self.counts["direction", "reversed"], "lie upside-down"),
            "uneven": (self.counts["uneven", ""], "have uneven steps"),
            "tilt_deg": (self.counts["tilt_deg", ""], "have a tilted gantry"),
            "twice": (self.counts["twice", ""], "hold slices twice"),
            "copy_of": (self.counts["copy_of", ""], "are copies of another series"),
            "findings": (self.counts["findings", ""], "have a faulty curve"),
        }
        faults = [self._line(n, what) for n, what in said.values() if n]
        return [
            *lines,
            *(["", "Other faults (a series may have several)", *faults] if faults else []),
        ]

    def _left(self) -> list[str]:
        lines: list[str] = []
        for title, counts in (
            ("Why other series were not scored", self.reasons),
            ("Files that are not series", self.others),
        ):
            if counts:
                lines += ["", title]
                lines += [f"  {n:7,}  {why}" for why, n in counts.most_common(SHOWN)]
        return lines

    def _first(self) -> list[str]:
        said = [
            (self.counts["agreement", "no"], "agreement is no"),
            (self.counts["direction", "reversed"], "direction is reversed"),
            (self.counts["complete", "missing"], "complete is missing"),
            (self.counts["copy_of", ""], "copy_of names a series"),
        ]
        found = [f"{what} ({n:,})" for n, what in said if n]
        return ["", f"Look first at the rows where {'; '.join(found)}"] if found else []

    def _lines(self, name: str, words: dict[str, str]) -> list[str]:
        return [
            self._line(n, what) for value, what in words.items() if (n := self.counts[name, value])
        ]

    def _line(self, n: int, what: str) -> str:
        return f"  {n:7,}  {100 * n / max(self.series, 1):3.0f} %  {what}"


def _kind(reason: str) -> str:
    """A reason without what differs from series to series."""
    return reason.partition(" (and ")[0].partition(":")[0]
