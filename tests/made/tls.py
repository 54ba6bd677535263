"""Certificates of an authority of the tests' own, and a proxy that ends TLS before a server."""

from __future__ import annotations

import select
import shutil
import socket
import socketserver
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

PROGRAM = shutil.which("openssl")
SETTINGS = """
[ca]
default_ca = authority
[authority]
database = issued
new_certs_dir = .
default_md = sha256
rand_serial = yes
unique_subject = no
policy = names
[names]
commonName = supplied
[req]
distinguished_name = asked
[asked]
[anchor]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
"""For `openssl ca`, the only one of its commands that chooses both dates in every version."""


class Authority:
    """An authority. Its files lie in a folder, which is made.

    file: its certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.file = folder, folder / "authority.pem"
        folder.mkdir()
        (folder / "issued").touch()
        self._openssl("req -x509 -days 2 -extensions anchor -out authority.pem", "authority")

    def certificate(
        self, names: str = "DNS:localhost,IP:127.0.0.1", *, since: int = 2000, until: int = 2049
    ) -> Path:
        """A file of a certificate and its key, valid from one New Year to another."""
        self._openssl("req -out request", "server", names)
        dates = f"-startdate {since}0101000000Z -enddate {until}0101000000Z"
        signer = "-cert authority.pem -keyfile authority.key -extensions server"
        self._openssl(
            f"ca -batch -notext -in request -out server.pem {signer} {dates}", names=names
        )
        both = self._folder / f"{since}-{until}-{names.replace(':', '-')}.pem"
        parts = [self._folder / "server.pem", self._folder / "server.key"]
        both.write_text("".join(part.read_text() for part in parts))
        return both

    def _openssl(self, words: str, new: str = "", names: str = "DNS:none") -> None:
        (self._folder / "settings").write_text(SETTINGS.format(names=names))
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        key = f"{key} -keyout {new}.key -subj /CN={new}" if new else ""
        command = f"{PROGRAM} {words} -config settings {key}".split()
        done = subprocess.run(command, cwd=self._folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """The port of this machine on which a handler is called for each connection."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def tls_before(port: int, certificate: Path) -> Iterator[int]:
    """The port of a proxy that ends TLS and hands on to another port, as those before a PACS do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the client does not trust it, or a side has gone
                near = context.wrap_socket(self.request, server_side=True)
                with near, socket.create_connection(("127.0.0.1", port)) as far:
                    _hand_on(near, far)

    with listening(Handler) as own:
        yield own


def _hand_on(near: ssl.SSLSocket, far: socket.socket) -> None:
    """Hand on in both directions until one side ends."""
    while True:
        for source in [near] if near.pending() else select.select([near, far], [], [])[0]:
            if not (data := source.recv(1 << 16)):
                return
            (far if source is near else near).sendall(data)
