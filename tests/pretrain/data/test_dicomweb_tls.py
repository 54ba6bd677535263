"""DICOMweb over TLS: what is trusted, and a real Orthanc behind a proxy that ends TLS."""

from __future__ import annotations

import re
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from benchmarks.common import orthanc as servers
from benchmarks.common.orthanc import PASSWORD, USER, Orthanc, running
from ubr.pretrain.cli import main
from ubr.pretrain.data.dicomweb.server import AwayError, Server
from ubr.pretrain.data.store.keys import hash_text
from ubr.pretrain.uses.watching import watch

from ...made import tls
from ...made.dicom import Made
from ...made.scores import regions, scored_by_darkness, weights
from ...made.tls import Authority, listening, tls_before

pytest.importorskip("highdicom", reason="reports need highdicom (the extra dicom)")
pytest.importorskip("dicomweb_client", reason="DICOMweb needs the extra dicomweb")

CLOSED = 9
"""A port behind a proxy at which nothing listens: no request gets that far."""


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_USER", USER)
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", PASSWORD)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if tls.PROGRAM is None:
        pytest.skip("openssl is not installed")
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def server(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if why := servers.lacking():
        pytest.skip(why)
    with running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def made(server: Orthanc) -> Made:
    """A series on the server."""
    made = Made()
    server.put(made.datasets())
    return made


@pytest.fixture
def url(server: Orthanc, authority: Authority) -> Iterator[str]:
    """The server's address with TLS."""
    with tls_before(8042, authority.certificate()) as port:
        yield f"https://localhost:{port}/dicom-web"


def refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command ends that writes nothing."""
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert said.out == "" and PASSWORD not in line and not (tmp_path / "out").exists()
    return line


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_fetch__trusts_the_authority_given(
    host: str, url: str, made: Made, authority: Authority, tmp_path: Path
) -> None:
    words = ["fetch", url.replace("localhost", host), "--ca", str(authority.file)]
    assert main([*words, "--study", made.study, "--out", str(tmp_path / "out")]) == 0
    got = [pydicom.dcmread(x) for x in (tmp_path / "out" / hash_text(made.series)).iterdir()]
    assert sorted(ds.InstanceNumber for ds in got) == list(range(1, len(made.corners) + 1))


def test_watch__reports_over_tls_without_identity_or_password(
    url: str,
    made: Made,
    server: Orthanc,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []
    of = weights()
    caplog.set_level(0)
    caplog.clear()
    with scored_by_darkness():
        watch(
            url,
            tmp_path / "out",
            weights=of,
            regions=regions(of),
            stable=0.0,
            every=0.1,
            once=True,
            ca=str(authority.file),
            tell=said.append,
        )
    logged = caplog.text
    assert f"{hash_text(made.series)}: reported: parts abdomen, landmarks dome, crest" in said
    assert [one.StudyInstanceUID for one in server.reports()].count(made.study) == 1
    told = (tmp_path / "out" / "watched.json").read_text() + "".join(said) + logged
    assert not re.search(rf"ecret|SECRET|{made.series}|{made.study}|{PASSWORD}", told)


@pytest.mark.parametrize("verb", ["fetch", "watch"])
def test_login__a_wrong_one_is_refused_over_tls_in_one_line(
    verb: str,
    url: str,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", "mistyped")
    line = refused([verb, url, "--ca", str(authority.file)], tmp_path, capsys)
    assert "refuses the search for series (401); set UBR_DICOMWEB_USER and" in line
    assert "mistyped" not in line


@pytest.mark.parametrize(
    ("names", "since", "until", "says"),
    [
        ("DNS:pacs.example.org", 2000, 2049, "is for another host; use a host name"),
        ("DNS:localhost", 2000, 2001, "or that of its authority has expired; it must be renewed"),
        ("DNS:localhost", 2048, 2049, "is not valid yet; see whether this machine's clock is"),
    ],
)
@pytest.mark.parametrize("verb", ["fetch", "watch"])
def test_certificate__what_is_wrong_with_it_is_said(
    verb: str,
    names: str,
    since: int,
    until: int,
    says: str,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate = authority.certificate(names, since=since, until=until)
    with tls_before(CLOSED, certificate) as port:
        words = [verb, f"https://localhost:{port}/dicom-web", "--ca", str(authority.file)]
        line = refused(words, tmp_path, capsys)
    assert f"https://localhost:{port}/dicom-web: its certificate {says}" in line


def test_certificate__for_a_name_is_not_for_a_number(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tls_before(CLOSED, authority.certificate("DNS:localhost")) as port:
        words = ["fetch", f"https://127.0.0.1:{port}", "--ca", str(authority.file)]
        assert "its certificate is for another host" in refused(words, tmp_path, capsys)


@pytest.mark.parametrize("given", ["none", "another", "only the environment's"])
@pytest.mark.parametrize("verb", ["fetch", "watch"])
def test_certificate__of_an_authority_that_was_not_given_is_not_trusted(
    verb: str,
    given: str,
    authority: Authority,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tls_before(CLOSED, authority.certificate()) as port:
        words = [verb, f"https://localhost:{port}"]
        if given == "another":
            words += ["--ca", str(Authority(tmp_path / "another").file)]
        elif given != "none":
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        line = refused(words, tmp_path, capsys)
    assert re.search(r"is not trusted \([ \w]+\); give its CA certificate as --ca$", line)


@pytest.mark.parametrize("ca", ["", "a key", "a folder"])
def test_authority__must_be_a_file_of_certificates(
    ca: str, authority: Authority, tmp_path: Path
) -> None:
    files = {"a key": str(authority.file.with_suffix(".key")), "a folder": str(tmp_path)}
    with pytest.raises(ValueError, match="ca must be a file of certificates in PEM, got"):
        Server("https://localhost", files.get(ca, ca))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_server__that_breaks_tls_off_is_away_and_not_untrusted(answer: bytes) -> None:
    """So that a watch outlives the restart of a proxy."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(answer)

    with (
        listening(Handler) as port,
        pytest.raises(AwayError, match=r"does not answer as https \([A-Z_]+\)$"),
    ):
        Server(f"https://127.0.0.1:{port}").series()
