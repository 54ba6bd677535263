"""Verbs that ask a DICOMweb server: fetch, watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ubr.weights.common.commandline import show

from .scores import REGIONS, WEIGHTS

if TYPE_CHECKING:
    from ubr.weights.common.options import Options

SERVER = ("url", "since", "ca")
LOGIN = "User and password are taken from UBR_DICOMWEB_USER and UBR_DICOMWEB_PASSWORD."


def _offer_server(options: Options) -> None:
    """Offer `SERVER`."""
    options.add_argument(
        "url",
        metavar="URL",
        help="root of the server's DICOMweb services, such as https://pacs.example.org/dicom-web",
    )
    options.add_argument(
        "--since", metavar="DATE", help="only studies from this date on, e.g. 2026-01-31"
    )
    options.add_argument(
        "--ca", metavar="FILE", help="certificates to trust instead of the usual ones"
    )


def fetch(options: Options, words: Sequence[str]) -> None:
    """Series of a server as files."""
    from ..data.dicomweb.fetching import fetch

    options.description = (
        "Fetch the CT series of a DICOMweb server into a folder that audit, score and ingest "
        f"read. {LOGIN} Repeat the command to resume it."
    )
    options.called = {"studies": "study"}
    _offer_server(options)
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a folder for the files, with a folder for each series; the files name their patients",
    )
    options.add_argument(
        "--study", nargs="+", default=[], metavar="UID", help="only the series of these studies"
    )
    options.offer(fetch, {*SERVER, "out", "studies"})
    given = options.read(words)
    given["studies"] = given.pop("study")
    show(fetch(**given).table())


def watch(options: Options, words: Sequence[str]) -> None:
    """Reports beside the series of a server."""
    import signal

    from ..uses.watching import watch

    options.description = (
        "Watch a DICOMweb server: once a CT series is complete, store a DICOM Structured Report "
        f"of its body parts and landmarks in its study. {LOGIN} Repeat the command to "
        "resume it."
    )
    _offer_server(options)
    options.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="a new folder for watched.json, with the outcome of each series, or one that an "
        "interrupted command began",
    )
    options.add_argument("--weights", default="released", metavar="FILE", help=WEIGHTS)
    options.add_argument("--regions", metavar="FILE", help=REGIONS)
    options.add_argument(
        "--once",
        action="store_true",
        help="end once every series has been reported on or left out",
    )
    options.offer(watch, {*SERVER, "out", "weights", "regions", "once", "tell"})
    given = options.read(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it removes the pixels
    watch(**given, tell=show)
