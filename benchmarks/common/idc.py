"""Series of the Imaging Data Commons (IDC), read from its index and picked by a query.

The index comes as the package `idc-index-data`: one row a series, without pixels. It states no
spacing, so a series' length in mm is unknown until its files are there.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ubr.weights.common.checks import check_at_least, check_ranges
from ubr.weights.common.optional import optional

INDEX, COLLECTIONS = "idc_index.parquet", "collections_index.parquet"
_CT_IMAGES = "1.2.840.10008.5.1.4.1.1.2"
_COLUMNS = (
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "collection_id",
    "BodyPartExamined",
    "SeriesDescription",
    "license_short_name",
    "source_DOI",
    "instanceCount",
    "series_size_MB",
    "crdc_series_uuid",
    "series_aws_url",
)
_ROWS = (*_COLUMNS, "Modality", "SOPClassUID", "analysis_result_id", "series_revised_idc_version")


@dataclass(frozen=True)
class Query:
    """Which series of CT are wanted.

    Args:
        trunks: names of body parts, as the index spells them, that count as trunks.
        heads: those that count as heads; may be empty.
        slices: the fewest and most slices of a series.
        licenses: short names of licenses.
        without: words that no description of a series may hold; reformats and scouts have them.
        series: how many to pick, half of them heads. What one half lacks, the other gives.
        per_patient: the most heads, and the most trunks, of one patient.
        held_out_share: of all patients, by a digest of their id.
        seed: of the order in which patients and their series are drawn.

    Raises:
        ValueError: a value that is out of range, or a body part in both groups.
    """

    trunks: tuple[str, ...] = (
        "CHESTABDPELVIS",
        "CHESTABDOMEN",
        "ABDOMENPELVIS",
        "NECKCHESTABDPELV",
        "NECKCHESTABDOMEN",
        "WHOLEBODY",
    )
    heads: tuple[str, ...] = ("HEAD", "NECK")
    slices: tuple[int, int] = (30, 700)
    licenses: tuple[str, ...] = ("CC BY 3.0", "CC BY 4.0")
    without: tuple[str, ...] = (
        *("cor", "coronal", "sag", "sagittal", "oblique", "mip", "mips", "minip", "vrt"),
        *("scout", "topogram", "scano", "scanogram", "surview", "localizer"),
    )
    series: int = 800
    per_patient: int = 2
    held_out_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, series=self.series, per_patient=self.per_patient)
        check_ranges(self, {"held_out_share": (0, 1)})
        low, high = self.slices
        if not 1 <= low <= high:
            raise ValueError(
                f"slices must be the fewest and the most, at least 1, got {low} and {high}"
            )
        if both := sorted(set(self.trunks) & set(self.heads)):
            raise ValueError(f"{both[0]!r} is in `trunks` and in `heads`; give it in one of them")
        if not self.trunks + self.heads:
            raise ValueError("`trunks` and `heads` are both empty; give body parts")


@dataclass(frozen=True)
class Series:
    """One series of the index.

    Attributes:
        group: "head" or "trunk".
        doi: of the data set that it belongs to, "" where the index has none.
        uuid: the folder in IDC's bucket; a new version of the series has a new one.
        url: of that folder.
        size: in bytes.
    """

    group: str
    collection: str
    patient: str
    study: str
    uid: str
    body_part: str
    license: str
    doi: str
    slices: int
    size: int
    uuid: str
    url: str


@dataclass(frozen=True)
class Source:
    """A data set behind series: how it is cited, and where its license stands."""

    citation: str
    license_url: str


@dataclass(frozen=True)
class Found:
    """What of an index fits a query.

    Attributes:
        release: IDC's release, as 25.
        series: in the index's order.
        sources: by DOI in lower case.
    """

    release: int
    series: tuple[Series, ...]
    sources: Mapping[str, Source]


def index_folder() -> Path:
    """The folder of the installed index.

    Raises:
        ValueError: `idc-index-data` is not installed.
    """
    package = optional("idc_index_data", extra="idc", purpose="the public training set")
    return Path(package.IDC_INDEX_PARQUET_FILEPATH).parent


def search(folder: Path, query: Query) -> Found:
    """Look a query up in an index.

    Only original series of CT images are taken, and only of people: no phantoms, no animals.

    Args:
        folder: with idc_index.parquet and collections_index.parquet.

    Raises:
        ValueError: a file is missing or is no such index, or it knows no such body part or license.
    """
    table = _table(folder / INDEX, _ROWS, [("Modality", "=", "CT")])
    for option, column in (
        ("trunks", "BodyPartExamined"),
        ("heads", "BodyPartExamined"),
        ("licenses", "license_short_name"),
    ):
        given = set(getattr(query, option)) - set(getattr(Query, option))
        _check_known(option, sorted(given), pc.unique(table[column]).to_pylist())
    release = pc.max(table["series_revised_idc_version"]).as_py() or 0
    collections = _table(
        folder / COLLECTIONS, ("collection_id", "species", "tumor_locations", "sources"), None
    ).to_pylist()
    of_people = [
        row["collection_id"]
        for row in collections
        if row["species"] == "Human" and "phantom" not in (row["tumor_locations"] or "").lower()
    ]
    low, high = query.slices
    fits = (
        pc.field("SOPClassUID").isin([_CT_IMAGES])
        & pc.field("analysis_result_id").is_null()
        & pc.field("BodyPartExamined").isin([*query.trunks, *query.heads])
        & pc.field("license_short_name").isin(query.licenses)
        & pc.field("collection_id").isin(of_people)
        & (pc.field("instanceCount") >= low)
        & (pc.field("instanceCount") <= high)
    )
    rows = table.filter(fits).select(_COLUMNS).to_pylist()
    unwanted = {word.lower() for word in query.without}
    series = [_series(row, query) for row in rows if not unwanted & _words(row)]
    return Found(release, tuple(series), _sources(collections))


def is_held_out(patient: str, share: float) -> bool:
    """Whether a patient is in the held-out share.

    It depends on the id alone, so a patient stays on one side when the query or the index changes,
    and a larger share holds a smaller one.
    """
    return _digest("held out", patient) < share * 2.0**64


def pick(series: Iterable[Series], query: Query, held_out: Iterable[str] = ()) -> list[Series]:
    """Draw series by the query's cap, number and balance.

    Patients come in an order drawn by the seed; each gives one series before any gives a second.
    The second is of another study where there is one.

    Args:
        series: that fit the query.
        held_out: ids of patients to leave out, beside the query's share.

    Returns:
        Heads before trunks, each by collection, patient and UID. The order of `series` does not
        matter.
    """
    left_out = set(held_out)
    taken = [
        one
        for one in series
        if one.patient not in left_out and not is_held_out(one.patient, query.held_out_share)
    ]
    heads, trunks = (
        _drawn([one for one in taken if one.group == group], query) for group in ("head", "trunk")
    )
    n_heads = min(len(heads), max(query.series // 2, query.series - len(trunks)))
    picked = heads[:n_heads] + trunks[: query.series - n_heads]
    return sorted(picked, key=lambda one: (one.group, one.collection, one.patient, one.uid))


def _drawn(series: Sequence[Series], query: Query) -> list[Series]:
    """The series of one group, capped for each patient, in the order in which they are taken."""
    patients: dict[str, list[Series]] = defaultdict(list)
    for one in sorted(series, key=lambda one: _digest(query.seed, one.uid)):
        patients[one.patient].append(one)
    turns = []
    for patient, own in patients.items():
        studies: dict[str, int] = defaultdict(int)
        ranked = []
        for place, one in enumerate(own):
            ranked.append((studies[one.study], place, one))
            studies[one.study] += 1
        first = [one for *_, one in sorted(ranked, key=lambda row: row[:2])][: query.per_patient]
        turns += [(turn, _digest(query.seed, patient), one) for turn, one in enumerate(first)]
    return [one for *_, one in sorted(turns, key=lambda row: row[:2])]


def _digest(*parts: object) -> int:
    """64 bits of a digest."""
    return int(sha256(" ".join(map(str, parts)).encode()).hexdigest()[:16], 16)


def _table(path: Path, columns: Sequence[str], filters: object) -> pa.Table:
    try:
        missing = sorted(set(columns) - set(pq.read_schema(path).names))
        if missing:
            raise ValueError(
                f"{path.name} of the index has no column {missing[0]}; give a folder with the "
                "files of idc-index-data 25 or later"
            )
        return pq.read_table(path, columns=list(columns), filters=filters)
    except (OSError, pa.ArrowInvalid):
        raise ValueError(
            f"the index has no readable {path.name}; give the folder with the files of "
            "idc-index-data"
        ) from None


def _check_known(option: str, given: Iterable[str], known: Iterable[str | None]) -> None:
    names = sorted(name for name in known if name)
    for value in given:
        if value not in names:
            near = difflib.get_close_matches(value.upper(), names, n=3) or names[:5]
            raise ValueError(
                f"`{option}`: the index has no CT with {value!r}; nearest: {', '.join(near)}"
            )


def _words(row: Mapping[str, str | None]) -> set[str]:
    return set(re.split("[^a-z]+", (row["SeriesDescription"] or "").lower()))


def _series(row: Mapping[str, str], query: Query) -> Series:
    return Series(
        group="head" if row["BodyPartExamined"] in query.heads else "trunk",
        collection=row["collection_id"],
        patient=row["PatientID"],
        study=row["StudyInstanceUID"],
        uid=row["SeriesInstanceUID"],
        body_part=row["BodyPartExamined"],
        license=row["license_short_name"],
        doi=row["source_DOI"] or "",
        slices=int(row["instanceCount"]),
        size=round(float(row["series_size_MB"]) * 1e6),
        uuid=row["crdc_series_uuid"],
        url=row["series_aws_url"],
    )


def _sources(collections: Sequence[Mapping[str, object]]) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for row in collections:
        for source in row["sources"] or ():  # type: ignore[attr-defined]
            if source["source_doi"]:
                text = re.sub(r"</?i>", "", source["citation"] or "").replace("&amp;", "&")
                license = source["license"] or {}
                about = Source(" ".join(text.split()), license.get("license_url") or "")
                found.setdefault(source["source_doi"].lower(), about)
    return found
