"""What the check before training reports: faults, notes and counts, as text and as plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["fault", "note"]
OFFICIAL = {"train": (22496, 22919), "val": (4793, 4889), "test": (4831, 4927)}
"""Images and boxes of the whole data set, noisy ones included."""
EXAMPLES = 3


@dataclass(frozen=True)
class Diagnostic:
    """A fault or a note: what was found, how often, the first few examples, and what to do."""

    what: str
    count: int
    examples: tuple[str, ...] = ()
    advice: str = ""

    def line(self) -> str:
        """The diagnostic as one line of text."""
        text = f"{self.what} ({self.count})"
        if self.examples:
            more = " ..." if self.count > len(self.examples) else ""
            text += f": {'; '.join(self.examples)}{more}"
        return f"{text} -> {self.advice}" if self.advice else text


@dataclass(frozen=True)
class Report:
    """What a folder holds.

    counts: split -> images, boxes, and the same without noisy boxes. faults: what stops a training
    or makes its result wrong. notes: what else to know. digest: of the table's bytes and of the
    pixels of all key slices that were read, so that two copies can be compared.
    """

    counts: dict[str, dict[str, int]]
    faults: tuple[Diagnostic, ...]
    notes: tuple[Diagnostic, ...]
    digest: str

    @property
    def ok(self) -> bool:
        """Whether training may start."""
        return not self.faults

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        lists = {
            kind: [
                {"what": f.what, "count": f.count, "examples": list(f.examples), "advice": f.advice}
                for f in found
            ]
            for kind, found in (("faults", self.faults), ("notes", self.notes))
        }
        official = {s: {"images": OFFICIAL[s][0], "boxes": OFFICIAL[s][1]} for s in self.counts}
        return {
            "ok": self.ok,
            "counts": self.counts,
            "official": official,
            **lists,
            "digest": self.digest,
        }

    def table(self) -> str:
        """The report as text: counts per split beside the official ones, faults, notes."""
        heads = ("split", "images", "boxes", "clean images", "clean boxes", "official")
        rows: list[tuple[str, ...]] = [heads]
        for split, n in self.counts.items():
            values = (str(n[k]) for k in ("images", "boxes", "images_clean", "boxes_clean"))
            rows.append((split, *values, f"{OFFICIAL[split][0]} / {OFFICIAL[split][1]}"))
        widths = [max(len(r[i]) for r in rows) for i in range(len(heads))]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows
        ]
        lines += [f"FAULT  {f.line()}" for f in self.faults] + [
            f"note   {f.line()}" for f in self.notes
        ]
        return "\n".join([*lines, "ready to train" if self.ok else "not ready to train"])


class Diagnostics:
    """Collects faults and notes: (kind, what, advice) -> examples."""

    def __init__(self) -> None:
        self._found: dict[tuple[Kind, str, str], list[str]] = defaultdict(list)

    def add(self, kind: Kind, what: str, examples: Iterable[str], advice: str = "") -> None:
        """Count each example; without examples nothing is added."""
        self._found[kind, what, advice].extend(examples)

    def of(self, kind: Kind) -> tuple[Diagnostic, ...]:
        """All of one kind, in the order in which they were first found."""
        return tuple(
            Diagnostic(what, len(examples), tuple(examples[:EXAMPLES]), advice)
            for (k, what, advice), examples in self._found.items()
            if k == kind and examples
        )
