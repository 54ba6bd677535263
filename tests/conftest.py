"""Shared fixtures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """A run may demand that no test is skipped, but for reasons that are known."""
    about = "fail if a test is skipped for a reason that no line of this file is a part of"
    parser.addoption("--skips", type=Path, metavar="FILE", help=about)


def pytest_configure(config: pytest.Config) -> None:
    """Register what judges the skips, if it is asked for."""
    if file := config.getoption("--skips"):
        lines = [line.strip() for line in file.read_text().splitlines()]
        config.pluginmanager.register(Skips([x for x in lines if x and not x.startswith("#")]))


class Skips:
    """Says at the end which tests were skipped and why, and fails the run for unknown reasons.

    Args:
        accepted: parts of reasons.
    """

    def __init__(self, accepted: Sequence[str]) -> None:
        self.accepted = accepted
        self.found: list[tuple[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test, or a fixture of it."""
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A whole file."""
        self.note(report)

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Keep the reason of a skip."""
        if report.skipped and not hasattr(report, "wasxfail"):
            assert isinstance(report.longrepr, tuple)
            self.found.append((report.nodeid, report.longrepr[2].removeprefix("Skipped: ")))

    def unknown(self) -> list[tuple[str, str]]:
        """Tests that were skipped for a reason that is not accepted."""
        return [one for one in self.found if not any(part in one[1] for part in self.accepted)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that passed otherwise."""
        if self.unknown() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The list."""
        terminalreporter.section("skipped tests")
        unknown = self.unknown()
        for one in self.found:
            said = "NOT ACCEPTED" if one in unknown else "accepted"
            terminalreporter.write_line(f"{said}  {one[0]}: {one[1]}")
        terminalreporter.write_line(f"{len(self.found)} skipped, {len(unknown)} not accepted")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real CT beside the checkout; tests that need it are skipped, with this reason,
    where it is absent.
    """
    if not (SHARED / "ct" / "catalog.csv").is_file():
        pytest.skip(f"no real CT beside the checkout (looked for {SHARED.name}/ct/catalog.csv)")
    return SHARED


@pytest.fixture(scope="session")
def lesions(shared: Path) -> Path:
    """The piece of the real DeepLesion beside the checkout."""
    if not (shared / "deeplesion" / "DL_info.csv").is_file():
        pytest.skip(
            "no real DeepLesion beside the checkout (looked for shared/deeplesion/DL_info.csv)"
        )
    return shared / "deeplesion"
