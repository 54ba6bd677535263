"""An Orthanc of this machine (Debian: orthanc, orthanc-dicomweb), reached by DICOMweb alone.

Orthanc 1.10 listens on all interfaces, whatever its settings say. So it runs in a network of its
own, which has a loopback interface and nothing else.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "ubr", "not a secret"
URL = "http://127.0.0.1:8042/dicom-web"
_NEW_NETWORK, _SET_FLAGS, _UP = 0x40000000, 0x8914, 0x41
"""CLONE_NEWNET, SIOCSIFFLAGS, and IFF_UP with IFF_RUNNING."""


def lacking() -> str:
    """Why none can be started here, "" if one can."""
    if PROGRAM is None:
        return "orthanc is not installed"
    if not PLUGIN.exists():
        return "orthanc-dicomweb is not installed"
    try:
        with own_network():
            return ""
    except OSError:
        return "no right to make a network of its own, in which Orthanc would run"


@contextmanager
def own_network() -> Iterator[None]:
    """A network with loopback alone, for this thread and the processes that it starts.

    Raises `OSError` where that is not permitted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(_NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP))
            yield
        finally:
            libc.setns(before.fileno(), _NEW_NETWORK)


class Orthanc:
    """An Orthanc that keeps what it holds in a folder. It is started and stopped by the caller, in
    a network of its own.
    """

    def __init__(self, folder: Path) -> None:
        from dicomweb_client.web import DICOMwebClient
        from requests import Session

        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        session = Session()
        session.trust_env, session.auth = False, (USER, PASSWORD)
        self.client = DICOMwebClient(URL, session)
        self.client.set_http_retry_params(retry=False)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "StorageDirectory": str(self._folder),
            "IndexDirectory": str(self._folder),
            "Plugins": [str(PLUGIN)],
            "HttpPort": 8042,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (self._folder / "settings.json").write_text(json.dumps(settings))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, str(self._folder / "settings.json")], stdout=log, stderr=log
            )
        end = time.monotonic() + 120
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.client.search_for_series(limit=1)
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"Orthanc did not start: {(self._folder / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()  # it keeps what it has taken
            self._process.wait()
            self._process = None

    def put(self, images: Sequence[Any]) -> None:
        """Store images. Raises `RuntimeError` where it holds fewer than that afterwards."""
        before = self.count()
        for image in images:  # without it Orthanc keeps, and gives, what is no DICOM file
            image.preamble = bytes(128)
        self.client.store_instances(images)
        if (taken := self.count() - before) != len(images):
            raise RuntimeError(f"Orthanc took {taken} of {len(images)} images")

    def count(self) -> int:
        """How many images and reports it holds."""
        rows = self.client.search_for_series()
        return sum(row["00201209"]["Value"][0] for row in rows)

    def reports(self) -> list[Any]:
        """The reports that it holds."""
        return [
            report
            for row in self.client.search_for_series(search_filters={"Modality": "SR"})
            for report in self.client.retrieve_series(
                row["0020000D"]["Value"][0], row["0020000E"]["Value"][0]
            )
        ]


@contextmanager
def running(folder: Path) -> Iterator[Orthanc]:
    """An Orthanc in a network of its own, which is this thread's too until the end."""
    with own_network():
        server = Orthanc(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
