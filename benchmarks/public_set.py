"""A training set of public CT: which series to fetch, under which licenses, and what it costs.

    python -m benchmarks.public_set --dry
    python -m benchmarks.public_set --out FOLDER [--per-patient 1] [--held-out FILE] [--seed 0]

It picks CT series of the Imaging Data Commons (IDC) from its index, which comes as a package of
79 MB (pip install "ubr-pretrain[idc]"). Nothing else is fetched, and no network is used. The
default is the size of the paper's set: 800 series, of one patient two trunks and two heads at most.
FOLDER gets

    manifest.csv    a row for each series: UID, collection, patient, license, DOI, slices, bytes
    manifest.s5cmd  what `idc download` reads
    citations.md    the data sets to cite, with their licenses
    held_out.txt    patients that fit the query and were held out; --held-out reads it
    summary.md      the query, the size, and what download, store and training are likely to cost

The same query and index give the same bytes. The last line printed is the command that fetches the
series, on any machine. Reformats and scouts are left out by words of their description; `ingest`
leaves out those that have none. The index knows no spacing, and its body parts are what scanners
wrote.

FILE of --held-out has one patient's id in a line. --held-out-share holds out a share of all
patients by a digest of their id.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.common import idc, rows
from benchmarks.common.commandline import new_parser
from benchmarks.common.idc import Found, Query, Series
from ubr.pretrain.recipes import recipe
from ubr.weights.common import disk
from ubr.weights.common.messages import with_flags

FILES = frozenset({"manifest.csv", "manifest.s5cmd", "citations.md", "held_out.txt", "summary.md"})
STORE_SHARE = (0.50, 0.58)
"""Bytes of a store over those of its pixels: 65 to 76 KB for 256 x 256 px of 16 bits (DECISIONS.md,
17). Two uncompressed DICOM series of 512 px had 0.42 and 0.52 of their files' bytes (LOG.md)."""
READ_PER_S = 156
"""Slices of real CT that two cores read and score in a second (docs/how-to/scale.md)."""
TRAININGS = {"default": "timm/resnet18", "large": "vgg16", "paper": "vgg16"}
"""Recipes whose cost is estimated, with the backbone that results/throughput.csv has for them."""


def main(argv: Sequence[str] | None = None) -> None:
    """Look the query up, pick, print the summary, and write the files."""
    parser = _parser()
    options = parser.parse_args(argv)
    names = {name: f"--{name.replace('_', '-')}" for name in vars(options)}
    try:
        if not (options.out or options.dry):
            raise ValueError("`out` is missing; give a folder, or `dry` to write nothing")
        if not 0 < options.mbit < math.inf:
            raise ValueError(f"`mbit` must be above 0, got {options.mbit:g}")
        if options.out and not options.dry:
            _check_place(options.out, options.overwrite)
        query = _query(options)
        listed = _listed(options.held_out)
        found = idc.search(options.index or idc.index_folder(), query)
        picked = idc.pick(found.series, query, listed)
        if not picked:
            raise ValueError(
                f"no series fits, of {len(found.series)} before patients were held out; widen "
                "`trunks`, `heads`, `slices` or `licenses`"
            )
        left_out = _left_out(found, query, listed)
        texts = _texts(found, query, picked, left_out, listed, options.mbit)
        print(texts["summary.md"])
        if not options.dry:
            _write(options.out, texts)
            manifest = shlex.quote(str(options.out / "manifest.s5cmd"))
            print(f"idc download {manifest} --download-dir DICOM  # pip install idc-index")
    except (OSError, ValueError) as error:
        parser.error(with_flags(str(error), names))


def _parser() -> argparse.ArgumentParser:
    parser, most = new_parser(__doc__), Query()
    add = parser.add_argument
    add("--out", type=Path, metavar="FOLDER", help="to write to; new or empty")
    add("--overwrite", action="store_true", help="replace what an earlier call wrote there")
    add("--dry", action="store_true", help="print the summary and write nothing")
    add(
        "--series", type=int, default=most.series, help="how many, half of them heads (%(default)s)"
    )
    add("--per-patient", type=int, default=most.per_patient, help="trunks, and heads, at most")
    parts = "body parts as the index spells them; none: give no name"
    add("--trunks", nargs="*", default=most.trunks, metavar="PART", help=parts)
    add("--heads", nargs="*", default=most.heads, metavar="PART", help=parts)
    add("--slices", nargs=2, type=int, default=most.slices, metavar=("LEAST", "MOST"))
    add("--licenses", nargs="+", default=most.licenses, metavar="NAME", help='as "CC BY 4.0"')
    add("--without", nargs="*", default=most.without, metavar="WORD", help="in a description")
    add("--held-out", type=Path, metavar="FILE", help="patients to leave out, one a line")
    add("--held-out-share", type=float, default=most.held_out_share, help="of all patients, 0 to 1")
    add("--seed", type=int, default=most.seed, help="of the draw")
    add("--mbit", type=float, default=100.0, help="megabits a second of the download (100)")
    add("--index", type=Path, metavar="FOLDER", help="another copy of the index's parquet files")
    return parser


def _query(options: argparse.Namespace) -> Query:
    return Query(
        trunks=tuple(options.trunks),
        heads=tuple(options.heads),
        slices=tuple(options.slices),
        licenses=tuple(options.licenses),
        without=tuple(options.without),
        series=options.series,
        per_patient=options.per_patient,
        held_out_share=options.held_out_share,
        seed=options.seed,
    )


def _listed(path: Path | None) -> set[str]:
    """The patients of a held-out list; lines that begin with # are remarks."""
    if path is None:
        return set()
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"`held_out` {str(path)!r} is not a readable text file; give one with a patient's id "
            "in a line"
        ) from None
    return {line for line in lines if line and not line.startswith("#")}


def _left_out(found: Found, query: Query, listed: set[str]) -> list[str]:
    """Patients that fit the query and are held out."""
    return sorted(
        {
            one.patient
            for one in found.series
            if one.patient in listed or idc.is_held_out(one.patient, query.held_out_share)
        }
    )


def _check_place(out: Path, overwrite: bool) -> None:
    """Raise `ValueError` if nothing may be written to `out`."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{str(out)!r} is a file; give another `out`")
    there = {path.name for path in out.iterdir()}
    if there - FILES:
        raise ValueError(
            f"{str(out)!r} holds other files and will not be replaced; give another `out`"
        )
    if there and not overwrite:
        raise ValueError(f"{str(out)!r} is not empty; give another `out`, or set `overwrite`")


def _write(out: Path, texts: dict[str, str]) -> None:
    """Write all files, or none."""
    with disk.whole(out) as part:
        part.mkdir()
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8", newline="\n")
        if out.is_dir():
            shutil.rmtree(out)


def _texts(
    found: Found,
    query: Query,
    picked: Sequence[Series],
    left_out: Sequence[str],
    listed: set[str],
    mbit: float,
) -> dict[str, str]:
    """The files by name."""
    held_out = "".join(f"{patient}\n" for patient in left_out)
    return {
        "manifest.csv": _manifest(picked),
        "manifest.s5cmd": "".join(f"cp {one.url} .\n" for one in picked),
        "citations.md": _citations(found, picked),
        "held_out.txt": f"# patients that fit the query and are held out\n{held_out}",
        "summary.md": "\n".join(
            [
                "# A training set of public CT\n",
                *_about(found, query, picked, left_out, listed),
                *_costs(picked, mbit),
            ]
        ),
    }


def _manifest(picked: Sequence[Series]) -> str:
    text = io.StringIO(newline="")
    columns = (
        *("series_uid", "collection", "patient", "group", "body_part", "license", "doi"),
        *("slices", "bytes", "crdc_series_uuid", "url"),
    )
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for one in picked:
        about = (one.uid, one.collection, one.patient, one.group, one.body_part, one.license)
        writer.writerow([*about, one.doi, one.slices, one.size, one.uuid, one.url])
    return text.getvalue()


def _citations(found: Found, picked: Sequence[Series]) -> str:
    """The data sets behind series, with their licenses; what has no citation is named by its DOI"""
    lines = [
        "# Data sets to cite\n",
        f"Series of the Imaging Data Commons, release {found.release}. Each license asks that its "
        "authors are named.\n",
    ]
    for collection, doi, license in sorted({(s.collection, s.doi, s.license) for s in picked}):
        own = [s for s in picked if (s.collection, s.doi, s.license) == (collection, doi, license)]
        source = found.sources.get(doi.lower())
        cited = source.citation if source else ""
        cited = cited or (f"https://doi.org/{doi}" if doi else "The index names no source.")
        where = f" ({source.license_url})" if source and source.license_url else ""
        patients = len({one.patient for one in own})
        lines.append(
            f"* **{collection}**, {license}{where}; {len(own)} series of {patients} patients. "
            f"{cited}"
        )
    return "\n".join(lines) + "\n"


def _about(
    found: Found,
    query: Query,
    picked: Sequence[Series],
    left_out: Sequence[str],
    listed: set[str],
) -> list[str]:
    """The query and what it found, as lines of Markdown."""
    low, high = query.slices
    known = len(listed & set(left_out))
    lines = [
        f"Imaging Data Commons, release {found.release}. CT images of people, "
        f"{low} to {high} slices, licenses {', '.join(query.licenses)}.",
        f"* trunks: {', '.join(query.trunks) or 'none'}",
        f"* heads: {', '.join(query.heads) or 'none'}",
        f"* no word of the description is one of: {', '.join(query.without) or 'none'}",
        f"* at most {query.series} series, {query.per_patient} of one patient in each group, "
        f"seed {query.seed}",
        f"* held out: {len(left_out)} patients that fit, {known} of the {len(listed)} on the list "
        f"and all of a share of {query.held_out_share:g}\n",
        "| | series | patients | slices | GB |",
        "|---|---|---|---|---|",
    ]
    for name, own in (
        ("fit the query", found.series),
        ("heads picked", [one for one in picked if one.group == "head"]),
        ("trunks picked", [one for one in picked if one.group == "trunk"]),
        ("picked", picked),
    ):
        patients, slices = len({one.patient for one in own}), sum(one.slices for one in own)
        size = sum(one.size for one in own) / 1e9
        lines.append(f"| {name} | {len(own)} | {patients} | {slices} | {size:.1f} |")
    heads = sum(one.group == "head" for one in picked)
    if 2 * heads != len(picked) and query.heads and query.trunks:
        lines.append(
            f"\nHeads and trunks are not balanced: the index has too few of one. --series "
            f"{2 * min(heads, len(picked) - heads)} balances them."
        )
    return lines


def _costs(picked: Sequence[Series], mbit: float) -> list[str]:
    """What the set is likely to cost, as lines of Markdown."""
    size, slices = sum(one.size for one in picked), sum(one.slices for one in picked)
    low, high = (size * share / 1e9 for share in STORE_SHARE)
    lines = [
        "\nEstimates, from this repository's measurements. No training on this set was run there.",
        f"* download: {size * 8 / mbit / 3.6e9:.1f} hours at {mbit:g} Mbit/s (assumed)",
        f"* store: {low:.0f} to {high:.0f} GB (DECISIONS.md, 17), for uncompressed DICOM",
        f"* reading once: {_hours(slices / READ_PER_S)} on two cores, at {READ_PER_S} slices a "
        "second (docs/how-to/scale.md)",
    ]
    for name, backbone in TRAININGS.items():
        made = recipe(name)
        seen = made.steps * made.g * made.m
        rate = median(
            float(row["images_per_s"])
            for row in rows.read("throughput")
            if (row["what"], row["backbone"], row["precision"]) == ("fit", backbone, "32-true")
            and int(row["size_px"]) == made.inputs.size_px
        )
        lines.append(
            f"* `fit --recipe {name}`: {_hours(seen / rate)} on two cores, at {rate:.3g} images a "
            f"second (throughput.csv); it sees a slice {seen / slices:.1f} times"
        )
    lines.append(
        "* on a GPU: `large` took 8 minutes for 109 series on one H200 (docs/how-to/train.md), and "
        "its steps do not grow with the set\n"
    )
    return lines


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"


if __name__ == "__main__":
    main()
