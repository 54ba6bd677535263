"""What servers answer that are no Orthanc: odd searches, errors, and pages that are no DICOM."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ubr.pretrain.cli import main
from ubr.pretrain.data.dicomweb.fetching import fetch
from ubr.pretrain.data.dicomweb.server import AwayError, RefusedError, Server, ServerError
from ubr.weights.common import notes

pytest.importorskip("dicomweb_client", reason="DICOMweb needs the extra dicomweb")

Answer = tuple[int, Any]
SECRET = "1.2.752.24.7"


class Fake:
    """A server that answers a path and the values of its query as `answer` says."""

    def __init__(self) -> None:
        self.answer: Callable[[str, dict[str, str]], Answer] = lambda path, query: (200, [])
        self.logins: list[str | None] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.logins.append(self.headers.get("Authorization"))
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, body = fake.answer(parts.path, query)
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/dicom-web"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    for name in ("UBR_DICOMWEB_USER", "UBR_DICOMWEB_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    fake = Fake()
    thread = threading.Thread(target=fake.http.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.http.shutdown()
    thread.join()
    fake.http.server_close()


def row(number: int, modality: str = "CT", images: int | None = 5) -> dict[str, Any]:
    found: dict[str, Any] = {
        "00080060": {"vr": "CS", "Value": [modality]},
        "0020000D": {"vr": "UI", "Value": [f"{SECRET}.1"]},
        "0020000E": {"vr": "UI", "Value": [f"{SECRET}.2.{number}"]},
    }
    if images is not None:
        found["00201209"] = {"vr": "IS", "Value": [images]}
    return found


def numbers(server: Server) -> list[int]:
    return sorted(int(one.uid.rpartition(".")[2]) for one in server.series())


def test_search__goes_on_where_a_server_answers_with_a_part(fake: Fake) -> None:
    rows = [row(number) for number in range(7)]
    fake.answer = lambda path, query: (200, rows[int(query["offset"]) :][:3])
    assert numbers(Server(fake.url)) == list(range(7))


def test_search__ends_where_a_server_knows_no_offset_and_no_filter(fake: Fake) -> None:
    fake.answer = lambda path, query: (200, [row(1), row(2, "SR"), row(3), row(4, "MR")])
    assert numbers(Server(fake.url)) == [1, 3]


def test_search__counts_images_where_the_search_for_series_does_not(fake: Fake) -> None:
    def answer(path: str, query: dict[str, str]) -> Answer:
        return 200, [{}, {}, {}] if path.endswith("/instances") else [row(1, images=None)]

    fake.answer = answer
    assert [one.images for one in Server(fake.url).series()] == [3]


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (401, [], RefusedError, r"refuses the search for series \(401\); set UBR_DICOMWEB_USER"),
        (403, [], RefusedError, r"refuses the search for series \(403\)"),
        (404, [], ServerError, r"answers the search for series with 404; give the root"),
        (500, [], ServerError, r"answers the search for series with 500"),
        (503, [], AwayError, r"is temporarily unavailable \(503\)"),
        (200, b"<html>1.2.752.24.7", ServerError, "does not answer with DICOM JSON; give the root"),
        (200, ["1.2.752.24.7"], ServerError, r"does not answer .* with DICOM \(AttributeError\)"),
    ],
)
def test_search__what_goes_wrong_is_one_line_without_identity(
    status: int, body: Any, error: type[ServerError], says: str, fake: Fake
) -> None:
    fake.answer = lambda path, query: (status, body)
    with pytest.raises(error, match=says) as refused:
        Server(fake.url).series(studies=[SECRET])
    assert type(refused.value) is error and SECRET not in str(refused.value)


def test_fetch__leaves_out_what_the_server_does_not_give(fake: Fake, tmp_path: Path) -> None:
    def answer(path: str, query: dict[str, str]) -> Answer:
        return (200, [row(1), row(2)]) if path.endswith("/series") else (403, [])

    fake.answer = answer
    fetched = fetch(fake.url, tmp_path / "out", progress=False)
    assert fetched.new == fetched.before == 0 and len(fetched.left_out) == 2
    assert "2  left out: " in fetched.table() and "(403)" not in fetched.table()
    assert "answers the request for a series with 403" in fetched.table()
    assert not (tmp_path / "out").exists() and SECRET not in fetched.table()


def test_fetch__ends_where_the_server_is_gone(fake: Fake, tmp_path: Path) -> None:
    def answer(path: str, query: dict[str, str]) -> Answer:
        return (200, [row(1), row(2)]) if path.endswith("/series") else (503, [])

    fake.answer = answer
    with pytest.raises(AwayError, match="repeat the command to resume it"):
        fetch(fake.url, tmp_path / "out", progress=False)


def test_login__is_sent_from_the_environment_and_from_nowhere_else(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    Server(fake.url).series()
    assert fake.logins == [None]
    monkeypatch.setenv("UBR_DICOMWEB_USER", "Aladdin")
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", "open sesame")
    Server(fake.url).series()
    assert fake.logins[1:] == ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]  # the example of RFC 7617


def test_login__over_http_is_noted_but_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_USER", "a")
    monkeypatch.setenv("UBR_DICOMWEB_PASSWORD", "b")
    with pytest.warns(notes.Note, match="is not https"):
        Server("http://pacs.example.org/dicom-web")
    Server("http://127.0.0.1:8042/dicom-web")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pacs.example.org"], "url must be like https://pacs.example.org/dicom-web"),
        (["https://pacs:port/"], "url must be like https://pacs.example.org/dicom-web"),
        (["https://u:p@pacs.example.org"], "url must not hold a user or password; set UBR_"),
        (["http://127.0.0.1:9", "--since", "today"], "--since must be a date like 2026-01-31"),
        (["http://127.0.0.1:9", "--ca", "absent"], "--ca must be a file of certificates"),
        (["http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer (ConnectionError)"),
    ],
)
@pytest.mark.parametrize("verb", ["fetch", "watch"])
def test_mistakes__are_one_line_and_write_nothing(
    verb: str, words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *words, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.match(f"ubr-pretrain {verb}: ", line) and says in line and "u:p" not in line
    assert not (tmp_path / "out").exists()


def test_login__half_of_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UBR_DICOMWEB_USER", "a")
    monkeypatch.delenv("UBR_DICOMWEB_PASSWORD", raising=False)
    with pytest.raises(ValueError, match="set both UBR_DICOMWEB_USER and UBR_DICOMWEB_PASSWORD"):
        Server("https://pacs.example.org")
