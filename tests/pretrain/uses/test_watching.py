"""Against a real Orthanc: each complete series has one report, whatever happens meanwhile."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import JPEG2000Lossless, RLELossless

from benchmarks.common import orthanc as servers
from benchmarks.common.orthanc import PASSWORD, URL, USER, Orthanc, running
from ubr.pretrain.cli import main
from ubr.pretrain.data.dicomweb.server import AwayError, RefusedError, Server, ServerError
from ubr.pretrain.data.scans import read_scan
from ubr.pretrain.data.store.keys import hash_text
from ubr.pretrain.uses import watching
from ubr.pretrain.uses.watching import watch

from ...made.dicom import Made, encode, expected, write
from ...made.scores import regions, scored_by_darkness, weights

pytest.importorskip("highdicom", reason="reports need highdicom (the extra dicom)")
pytest.importorskip("dicomweb_client", reason="DICOMweb needs the extra dicomweb")

WEIGHTS = weights()
REGIONS = regions(WEIGHTS)


@pytest.fixture(autouse=True, scope="module")
def known_scores() -> Iterator[None]:
    with scored_by_darkness():
        yield


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if why := servers.lacking():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_USER", USER)
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", PASSWORD)


DAYS = count(date(2040, 1, 1).toordinal())


@pytest.fixture
def since() -> date:
    """The date of a test's studies, later than those of earlier tests."""
    return date.fromordinal(next(DAYS))


@pytest.fixture
def made(server: Orthanc, since: date) -> Made:
    """A series on the server."""
    made = Made()
    server.put(made.datasets(StudyDate=f"{since:%Y%m%d}"))
    return made


def images_of(report: Any) -> set[str]:
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    return {
        str(image.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }


def reports_on(server: Orthanc, made: Made) -> list[Any]:
    return [one for one in server.reports() if one.StudyInstanceUID == made.study]


class Meanwhile(list[Callable[[], object]]):
    """What happens instead of waiting between two searches."""

    def __call__(self, _: float) -> None:
        if self:
            self.pop(0)()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    acts = Meanwhile()
    monkeypatch.setattr(watching, "sleep", acts)
    return acts


def watched(tmp_path: Path, since: date, **options: Any) -> list[str]:
    """What a watch says; it ends when nothing waits."""
    said: list[str] = []
    given = {"weights": WEIGHTS, "regions": REGIONS, "stable": 0.0, "once": True}
    given |= {"since": str(since), "tell": said.append}
    watch(URL, tmp_path / "out", **{**given, **options})
    return said


def test_watch__stores_a_report_beside_each_series_once_and_reads_no_reports(
    server: Orthanc,
    since: date,
    made: Made,
    meanwhile: Meanwhile,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = server.count()
    caplog.set_level(0)
    caplog.clear()
    said = watched(tmp_path, since)
    logged = caplog.text
    assert f"{hash_text(made.series)}: reported: parts abdomen, landmarks dome, crest" in said
    (report,) = reports_on(server, made)
    assert report.Modality == "SR" and len(images_of(report)) == len(made.corners)
    assert said[0] == "1 CT series on the server, 0 already done"
    assert watched(tmp_path, since) == ["1 CT series on the server, 1 already done"]
    assert server.count() == before + 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["watched.json"]
    told = (tmp_path / "out" / "watched.json").read_text() + "".join(said) + logged
    assert not re.search(rf"ecret|SECRET|{made.series}|{made.study}|{since:%Y%m%d}", told)


@pytest.mark.parametrize("at", ["before it is stored", "before it is noted"])
def test_watch__killed_at_a_report_stores_it_once(
    at: str,
    server: Orthanc,
    since: date,
    made: Made,
    meanwhile: Meanwhile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*((Server, "store") if "stored" in at else (watching._Notes, "add")), killed)
        for _ in range(2):
            with pytest.raises(Killed):
                watched(tmp_path, since)
    watched(tmp_path, since)
    assert len(reports_on(server, made)) == 1


def test_watch__a_series_that_ends_the_process_does_not_keep_others_from_their_turn(
    server: Orthanc,
    since: date,
    meanwhile: Meanwhile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Crashed(BaseException):
        pass

    both = sorted([Made(), Made()], key=lambda made: hash_text(made.series))
    for made in both:
        server.put(made.datasets(StudyDate=f"{since:%Y%m%d}")[:5])
    fetch = Server.fetch

    def crashes(self: Server, one: Any, folder: Path) -> None:
        if one.uid == both[0].series:
            raise Crashed
        fetch(self, one, folder)

    monkeypatch.setattr(Server, "fetch", crashes)
    notes = tmp_path / "out" / "watched.json"
    for _ in range(30):
        with pytest.raises(Crashed):
            watched(tmp_path, since)
        if notes.exists():
            break
    assert hash_text(both[1].series) in notes.read_text()


def test_watch__a_series_that_grows_before_its_report_has_one_and_after_it_another(
    server: Orthanc, since: date, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    made = Made()
    images = made.datasets(StudyDate=f"{since:%Y%m%d}")
    server.put(images[:-2])
    meanwhile.append(lambda: server.put(images[-2:-1]))
    watched(tmp_path, since)
    assert [len(images_of(one)) for one in reports_on(server, made)] == [len(images) - 1]
    server.put(images[-1:])
    watched(tmp_path, since)
    assert sorted(len(images_of(one)) for one in reports_on(server, made)) == [
        len(images) - 1,
        len(images),
    ]


def test_watch__waits_for_the_minutes_asked_for(
    server: Orthanc, since: date, made: Made, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    def none_yet() -> None:
        assert reports_on(server, made) == []

    def enough() -> None:
        raise KeyboardInterrupt

    meanwhile += [none_yet, none_yet, enough]
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, since, stable=1.0)
    assert reports_on(server, made) == []


def test_watch__goes_on_after_the_server_was_away(
    server: Orthanc, since: date, made: Made, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    said: list[str] = []

    def enough() -> None:
        raise KeyboardInterrupt

    meanwhile += [server.stop, server.start, enough]
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, since, once=False, every=0.5, tell=said.append)
    assert f"{URL} does not answer (ConnectionError); retrying in 0.5 s" in said
    assert len(reports_on(server, made)) == 1


def test_watch__what_cannot_be_reported_on_is_said_once_without_identity(
    server: Orthanc, since: date, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    made = Made()
    server.put(made.datasets(StudyDate=f"{since:%Y%m%d}", PixelSpacing=None))
    short = Made()
    server.put(short.datasets(StudyDate=f"{since:%Y%m%d}")[:2])
    said = watched(tmp_path, since)
    assert f"{hash_text(made.series)}: left out: " in "\n".join(said)
    (line,) = [line for line in said if hash_text(short.series) in line]
    assert re.search("left out: .* has 2 slices; finding a level needs at least three", line)
    assert len(watched(tmp_path, since)) == 1


def test_watch__other_weights_need_another_folder(
    server: Orthanc, since: date, made: Made, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    watched(tmp_path, since)
    other = weights(seed=1)
    with pytest.raises(ValueError, match="was begun with other weights; give a new `out`"):
        watched(tmp_path, since, weights=other, regions=regions(other))


def test_watch__a_damaged_note_can_be_deleted(
    server: Orthanc, since: date, made: Made, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    watched(tmp_path, since)
    notes = tmp_path / "out" / "watched.json"
    notes.write_text(json.dumps({**json.loads(notes.read_text()), "series": 3}))
    with pytest.raises(ValueError, match="delete it: a report that is on the server is not"):
        watched(tmp_path, since)
    notes.unlink()
    assert f"{hash_text(made.series)}: already reported" in "\n".join(watched(tmp_path, since))
    assert len(reports_on(server, made)) == 1


@pytest.mark.parametrize(("error", "says"), [(ServerError, "3 times, giving up"), (AwayError, "")])
def test_watch__a_series_that_the_server_does_not_give(
    error: type[ServerError],
    says: str,
    server: Orthanc,
    since: date,
    made: Made,
    meanwhile: Meanwhile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def fails(*_: Any) -> None:
        raise error("it fails")

    monkeypatch.setattr(Server, "fetch", fails)
    with pytest.raises(error, match="could not be reported on" if says else "it fails"):
        watched(tmp_path, since, tell=said.append)
    assert says in "\n".join(said) and reports_on(server, made) == []


def test_watch__a_failure_of_this_machine_is_no_fact_of_the_series(
    server: Orthanc,
    since: date,
    made: Made,
    meanwhile: Meanwhile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Made()
    server.put(other.datasets(StudyDate=f"{since:%Y%m%d}"))
    failures = (
        torch.OutOfMemoryError("CUDA out of memory on secret"),
        MemoryError("secret"),
        OSError(errno.ENOSPC, "No space left on device", "secret"),
    )
    key, real, errors = hash_text(made.series), watching.reported, iter(failures)
    said: list[str] = []

    def fails(unread: Any, *rest: Any) -> Any:
        if unread.key == key:
            raise next(errors)
        return real(unread, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(watching, "reported", fails)
        with pytest.raises(ServerError, match="1 series could not be reported on; repeat"):
            watched(tmp_path, since, tell=said.append)
    lines = [line for line in said if key in line]
    assert all(line.startswith(f"{key}: this machine could not do it (") for line in lines)
    assert [line.partition("(")[2] for line in lines] == [
        "OutOfMemoryError); will be retried",
        "MemoryError); will be retried",
        "No space left on device); failed 3 times, giving up",
    ]
    assert key not in (tmp_path / "out" / "watched.json").read_text()
    assert len(reports_on(server, other)) == 1 and reports_on(server, made) == []
    watched(tmp_path, since)
    assert len(reports_on(server, made)) == 1


def test_watch__a_series_that_failed_is_tried_again_after_a_pause(
    server: Orthanc,
    since: date,
    made: Made,
    meanwhile: Meanwhile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "PAUSE_S", 0.6)
    real, failures, said = watching.reported, iter(range(4)), []

    def fails(*given: Any) -> Any:
        if next(failures, None) is not None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given)

    def tell(line: str) -> None:
        said.append(line)
        if ": reported: " in line:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "reported", fails)
    with pytest.raises(KeyboardInterrupt):
        watched(tmp_path, since, once=False, every=0.05, tell=tell)
    tries = [line.partition("); ")[2] for line in said if "this machine" in line]
    assert tries == [
        *["will be retried"] * 2,
        *(f"failed {n} times, next try in 0.01 min" for n in (3, 4)),
    ]
    assert len(reports_on(server, made)) == 1


def test_fetch__takes_files_as_they_are_and_resumes(
    server: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Made()
    images = made.datasets()
    for image in images:
        image.compress(RLELossless, generate_instance_uid=False)
    server.put(images[:-1])
    words = ["fetch", URL, "--study", made.study, "--out", str(tmp_path / "got")]
    assert main(words) == 0 and "1 series fetched, 0 already there" in capsys.readouterr().out
    assert main(words) == 0 and "0 series fetched, 1 already there" in capsys.readouterr().out
    server.put(images[-1:])
    assert main(words) == 0 and "1 series fetched, 0 already there" in capsys.readouterr().out
    folder = tmp_path / "got" / hash_text(made.series)
    got = {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, folder.iterdir())}
    assert got.keys() == {str(image.SOPInstanceUID) for image in images}
    assert {ds.file_meta.TransferSyntaxUID for ds in got.values()} == {RLELossless}
    assert all(got[str(image.SOPInstanceUID)].PixelData == image.PixelData for image in images)
    assert read_scan(folder).volume.hu.shape[0] == len(images)


def test_jpeg2000__is_fetched_as_it_is_read_to_the_same_pixels_and_reported_on(
    server: Orthanc, since: date, meanwhile: Meanwhile, tmp_path: Path
) -> None:
    made = Made()
    files = write(tmp_path / "made", made.datasets(StudyDate=f"{since:%Y%m%d}"))
    for file in files:
        encode(file, gdcm.TransferSyntax.JPEG2000Lossless)
    images = [pydicom.dcmread(file) for file in files]
    server.put(images)
    assert main(["fetch", URL, "--study", made.study, "--out", str(tmp_path / "got")]) == 0
    folder = tmp_path / "got" / hash_text(made.series)
    got = {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, folder.iterdir())}
    assert {ds.file_meta.TransferSyntaxUID for ds in got.values()} == {JPEG2000Lossless}
    assert all(got[str(image.SOPInstanceUID)].PixelData == image.PixelData for image in images)
    np.testing.assert_array_equal(read_scan(folder).volume.hu, expected())
    said = watched(tmp_path, since)
    assert f"{hash_text(made.series)}: reported: parts abdomen, landmarks dome, crest" in said
    (report,) = reports_on(server, made)
    assert images_of(report) == got.keys()


def test_search__takes_the_studies_and_dates_asked_for(
    server: Orthanc, since: date, made: Made
) -> None:
    one = Server(URL)
    assert [listed.uid for listed in one.series(studies=[made.study])] == [made.series]
    assert [listed.images for listed in one.series(studies=[made.study])] == [len(made.corners)]
    assert made.series in {listed.uid for listed in one.series(since=str(since))}
    assert one.series(since=str(since + timedelta(1))) == []


def test_login__a_wrong_one_is_refused_in_one_line(
    server: Orthanc,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", "wrong")
    with pytest.raises(RefusedError):
        Server(URL).series()
    assert main(["fetch", URL, "--out", str(tmp_path / "got")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "refuses the search for series (401); set UBR_DICOMWEB_USER and" in line
    assert not (tmp_path / "got").exists()
