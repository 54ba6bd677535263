"""A DICOMweb server: which CT series it holds, their files, and the reports that it takes.

User and password come from the environment, for an option would show in the list of processes.
Neither UIDs nor answers of the server are in any message: both identify.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ....weights.common.notes import note
from ....weights.common.optional import optional
from ..find import silence
from ..store.keys import hash_text

USER, PASSWORD = "UBR_DICOMWEB_USER", "UBR_DICOMWEB_PASSWORD"
LOGIN = f"set {USER} and {PASSWORD} to a user with access"
ANSWERS_S = (10.0, 120.0)
"""How long a server may take to accept a connection, and to send the next bytes."""
AT_ONCE = 1000
"""Series asked for in one search."""
AS_STORED = (("application/dicom", "*"),)
"""Files in whatever transfer syntax the server has them."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OTHER_NAME = "is for another host; use a host name that it lists"
CERTIFICATES = {
    9: "is not valid yet; see whether this machine's clock is right",
    10: "or that of its authority has expired; it must be renewed there",
    62: _OTHER_NAME,
    64: _OTHER_NAME,
}
"""What is wrong with a certificate, by OpenSSL's number, where its authority may be known."""


class ServerError(ValueError):
    """A request that the server did not fulfil. Others may succeed."""


class AwayError(ServerError):
    """The server does not answer, or says that it cannot at the moment."""


class RefusedError(ServerError):
    """The server refuses the login, or its certificate is not trusted."""


@dataclass(frozen=True)
class Listed:
    """A CT series on a server.

    study, uid: what the server calls it. images: how many the server says that it holds. key: hash
    that names it here, as in scores and stores.
    """

    study: str = field(repr=False)
    uid: str = field(repr=False)
    images: int

    @property
    def key(self) -> str:
        """See above."""
        return hash_text(self.uid)


class Server:
    """A DICOMweb server.

    Args:
        url: the root of its services, as https://pacs.example.org/dicom-web.
        ca: a file of certificates that are trusted in place of the usual ones.

    Raises:
        ValueError: dicomweb-client is not installed, the address is not a URL, or the environment
            holds a user without a password.
    """

    def __init__(self, url: str, ca: str | None = None) -> None:
        web = optional("dicomweb_client.web", extra="dicomweb", purpose="DICOMweb")
        import requests

        self.url = _checked(url)
        session = requests.Session()
        session.trust_env = False  # else .netrc and other variables have a say in login and trust
        session.auth = _login(self.url)
        if ca is not None:
            session.verify = _certificates(ca)
        self._client = web.DICOMwebClient(self.url, session, timeout=ANSWERS_S, permissive_uid=True)
        self._client.set_http_retry_params(retry=False)

    def series(self, *, studies: Sequence[str] = (), since: str | None = None) -> list[Listed]:
        """The CT series that the server holds, in an order that does not depend on it.

        Args:
            studies: UIDs of studies; none for all.
            since: date, e.g. 2026-01-31, of the oldest study.

        Raises:
            ValueError: `since` is no date.
            ServerError: the server cannot be searched.
        """
        filters = {"Modality": "CT"}
        if since is not None:
            filters["StudyDate"] = f"{_dicom_date(since)}-"
        found: dict[str, Listed] = {}
        for study in studies or (None,):
            found |= self._found(study, filters)
        counted = (one if one.images else self._counted(one) for one in found.values())
        return sorted(counted, key=lambda one: one.key)

    def _found(self, study: str | None, filters: Mapping[str, str]) -> dict[str, Listed]:
        """What a search finds, by its UID. A server may answer with a part of it, and one that
        knows no offset with the same part again.
        """
        found: dict[str, Listed | None] = {}
        while True:
            with self._asking("the search for series", search=True):
                rows = self._client.search_for_series(
                    study,
                    limit=AT_ONCE,
                    offset=len(found),
                    fields=["NumberOfSeriesRelatedInstances"],
                    search_filters=filters,
                )
                new = {str(_value(row, "SeriesInstanceUID")): _listed(row, study) for row in rows}
            if new.keys() <= found.keys():
                return {uid: one for uid, one in found.items() if one is not None}
            found |= new

    def _counted(self, one: Listed) -> Listed:
        """A series with the number of its images, where the search for series does not tell it."""
        with self._asking("the search for images"):
            rows = self._client.search_for_instances(one.study, one.uid)
        return Listed(one.study, one.uid, len(rows))

    def fetch(self, one: Listed, folder: Path) -> None:
        """Write the files of a series into an empty folder, numbered.

        Raises:
            ServerError: the server sends other than the images that it listed.
            OSError: the disk is full.
        """
        count = 0
        with self._asking("the request for a series", refusals=(401,)):
            for image in self._client.iter_series(one.study, one.uid, media_types=AS_STORED):
                count += 1
                image.save_as(folder / f"{count:06}.dcm")
        if count != one.images:
            raise ServerError(f"{self.url} lists {one.images} images and sends {count}")

    def store(self, report: Any) -> None:
        """Store a report in its study, and see that it is there.

        Raises:
            ServerError: the server does not take it, or does not show it.
        """
        with self._asking("the storage of a report"):
            answer = self._client.store_instances([report])
            failed = bool(answer.get("FailedSOPSequence"))  # success may come with an empty one
        if failed or not self.holds(report):
            raise ServerError(f"{self.url} did not store a report")

    def holds(self, report: Any) -> bool:
        """Whether a report is there."""
        uid = str(report.SOPInstanceUID)
        with self._asking("the search for a report"):
            rows = self._client.search_for_instances(
                str(report.StudyInstanceUID), search_filters={"SOPInstanceUID": uid}
            )
            return any(_value(row, "SOPInstanceUID") == uid for row in rows)

    @contextmanager
    def _asking(
        self, what: str, *, search: bool = False, refusals: Sequence[int] = (401, 403)
    ) -> Iterator[None]:
        """Turn what goes wrong with a request into a line without identity.

        what: it is. search: it is the first, which shows whether DICOMweb is there. refusals:
        statuses after which no other request can succeed.
        """
        import requests

        try:
            with silence():
                yield
        except requests.HTTPError as error:
            assert error.response is not None
            status = error.response.status_code
            if status in refusals:
                raise RefusedError(f"{self.url} refuses {what} ({status}); {LOGIN}") from error
            if status in (502, 503, 504):
                raise AwayError(f"{self.url} is temporarily unavailable ({status})") from error
            hint = "; give the root of DICOMweb" if search else ""
            raise ServerError(f"{self.url} answers {what} with {status}{hint}") from error
        except requests.exceptions.SSLError as error:
            raise _without_tls(self.url, error) from error
        except requests.exceptions.InvalidJSONError as error:
            raise ServerError(
                f"{self.url} does not answer with DICOM JSON; give the root of DICOMweb"
            ) from error
        except requests.RequestException as error:
            raise AwayError(f"{self.url} does not answer ({type(error).__name__})") from error
        except (OSError, MemoryError):
            raise
        except Exception as error:  # whatever an answer that is no DICOM leads to
            raise ServerError(
                f"{self.url} does not answer {what} with DICOM ({type(error).__name__})"
            ) from error


def _checked(url: str) -> str:
    """The address without a slash at its end. Raises `ValueError` if it is not a URL."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        sound = False
    if not sound:
        raise ValueError(f"url must be like https://pacs.example.org/dicom-web, got {url!r}")
    if parts.username is not None:
        raise ValueError(f"url must not hold a user or password; set {USER} and {PASSWORD}")
    return url.rstrip("/")


def _certificates(ca: str) -> str:
    """The file, once it was seen to hold certificates: requests says of another that the server's
    is not trusted, and trusts everybody if it is "".
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except OSError as error:
        raise ValueError(f"ca must be a file of certificates in PEM, got {ca!r}") from error
    return ca


def _without_tls(url: str, error: BaseException | None) -> ServerError:
    """Why there is no TLS with a server. Only its certificate is a reason not to ask again."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__context__  # requests and urllib3 wrap what the system says
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = f"is not trusted ({error.verify_message}); give its CA certificate as `ca`"
        return RefusedError(
            f"{url}: its certificate {CERTIFICATES.get(error.verify_code, unknown)}"
        )
    reason = error.reason if isinstance(error, ssl.SSLError) else "SSLError"
    return AwayError(f"{url} does not answer as https ({reason})")


def _login(url: str) -> tuple[str, str] | None:
    """User and password from the environment, None where there are none."""
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if user is None and password is None:
        return None
    if not user or password is None:
        raise ValueError(f"set both {USER} and {PASSWORD}, or neither")
    if url.startswith("http:") and urlsplit(url).hostname not in LOOPBACK:
        note(f"{url} is not https: the password and the images travel unencrypted")
    return user, password


def _dicom_date(text: str) -> str:
    try:
        return date.fromisoformat(text).strftime("%Y%m%d")
    except ValueError:
        raise ValueError(f"since must be a date like 2026-01-31, got {text!r}") from None


def _listed(row: Mapping[str, Any], study: str | None) -> Listed | None:
    """A row of a search, None for what is no CT: a server may not know that filter."""
    of, uid = _value(row, "StudyInstanceUID") or study, _value(row, "SeriesInstanceUID")
    if not of or not uid or _value(row, "Modality") != "CT":
        return None
    return Listed(str(of), str(uid), int(_value(row, "NumberOfSeriesRelatedInstances") or 0))


def _value(row: Mapping[str, Any], keyword: str) -> Any:
    """The first value of an element in DICOM JSON, None where there is none."""
    from pydicom.datadict import tag_for_keyword

    values = row.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value")
    return values[0] if values else None
