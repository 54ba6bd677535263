"""Slices a second of `score` and `ingest` from DICOM, against decoding alone and the network alone.

    python -m benchmarks.from_dicom --weights FILE --work /scratch/dicom [--syntax jpeg-ls]

Decoding alone is pydicom's pixel array of every file, in as many processes. The network alone is
its forward pass on a batch in memory, on all cores. All are measured in turn, and each ratio is
taken within its round: `score` over the slower of the two, `ingest` in one process over decoding in
one, and `ingest` in two processes over one. Each command runs in an interpreter of its own; its
start counts, its imports do not. Rows go to results/from_dicom.csv.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
import torch
from pydicom.uid import JPEGLSLossless

from benchmarks.common.commandline import new_parser
from benchmarks.common.machine import provenance
from benchmarks.common.peers.scans import scans
from benchmarks.common.rows import append
from benchmarks.common.speed import speed_columns
from benchmarks.common.timed import timed
from ubr.weights import Regressor, load
from ubr.weights.common.pool import ProcessPool, cores
from ubr.weights.network import BATCH

SYNTAXES = ("uncompressed", "jpeg-ls")
FORWARDS = 30
"""Batches in a measurement of the network."""

INGEST = (
    "from ubr.pretrain.data.ingestion import ingest",
    "ingest([sys.argv[1]], sys.argv[2], workers=int(sys.argv[3]))",
)
SCORE = (
    "import torch\nfrom ubr.pretrain.scores.scoring import score",
    "score(sys.argv[1], [sys.argv[2]], sys.argv[3], progress=False)",
)
"""What is imported, and what is measured."""

Pair = tuple[float, float]
"""Slices a second: of the yardstick, and of what is measured."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, append rows."""
    options = parse(argv)
    folder = scans(options.work, options.slices, "dicom", options.series)
    if options.syntax == "jpeg-ls":
        compress(folder)
    pairs: dict[str, list[Pair]] = {}
    for _ in range(options.rounds):
        for name, pair in one_round(folder, options.work, options.weights).items():
            pairs.setdefault(name, []).append(pair)
            print(f"{name}: {pair[1]:.0f} of {pair[0]:.0f} slices/s", flush=True)
    weights = load(options.weights)
    about = {
        **provenance(weights.sha256(), 0),
        "backbone": weights.backbone,
        "syntax": options.syntax,
        "series": options.series,
        "slices": options.slices,
        "rounds": options.rounds,
    }
    rows = []
    for what, found in pairs.items():
        yardstick, whole = zip(*found, strict=True)
        rows.append({**about, "what": what, **speed_columns(yardstick, whole, 1)})
    print(f"rows in {append('from_dicom', rows)}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for scans and scores")
    parser.add_argument("--syntax", choices=SYNTAXES, default="uncompressed")
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=300, help="of a series")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args(argv)


def compress(folder: Path) -> None:
    """Write each file of a folder anew in JPEG-LS, without loss; those that are so stay."""
    for path in sorted(folder.rglob("*.dcm")):
        image = pydicom.dcmread(path)
        if not image.file_meta.TransferSyntaxUID.is_compressed:
            image.compress(JPEGLSLossless, generate_instance_uid=False)
            image.save_as(path)


def one_round(folder: Path, work: Path, weights: Path) -> dict[str, Pair]:
    """Each comparison once."""
    files = sorted(folder.rglob("*.dcm"))

    def ingested(workers: int) -> float:
        store = fresh(work / "store")
        return len(files) / timed(*INGEST, folder, store, workers).wall_s

    one, two = ingested(1), ingested(2)
    scored = len(files) / timed(*SCORE, weights, folder, fresh(work / "scores")).wall_s
    decoded = {count: decoding(files, count) for count in {1, cores()}}
    return {
        "score, over the slower of decoding and network": (
            min(decoded[cores()], network(weights)),
            scored,
        ),
        "ingest in one process, over decoding in one": (decoded[1], one),
        "ingest in two processes, over one": (one, two),
    }


def rate(slices: int, once: Callable[[], object]) -> float:
    """Slices a second."""
    began = time.perf_counter()
    once()
    return slices / (time.perf_counter() - began)


def fresh(folder: Path) -> Path:
    """The folder's name, with nothing there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def decoding(files: Sequence[Path], count: int) -> float:
    """Slices a second of decoding alone, in processes that have been started."""
    pool = ProcessPool(count)
    shares = [files[number::count] for number in range(count)]
    try:
        for _ in [pool.submit(decode, share[:1]) for share in shares]:
            _.result()
        return rate(
            len(files), lambda: [one.result() for one in [pool.submit(decode, s) for s in shares]]
        )
    finally:
        pool.shutdown()


def decode(files: Sequence[Path]) -> int:
    """Pixels of every file; how many there are of all."""
    return sum(pydicom.dcmread(file).pixel_array.size for file in files)


@torch.inference_mode()
def network(weights: Path) -> float:
    """Slices a second of the network alone."""
    net = Regressor.from_weights(load(weights)).eval().to(memory_format=torch.channels_last)
    side = net.inputs.size_px
    ready = torch.zeros(BATCH, 3, side, side).contiguous(memory_format=torch.channels_last)
    net(ready)
    return rate(FORWARDS * BATCH, lambda: [net(ready) for _ in range(FORWARDS)])


if __name__ == "__main__":
    main()
