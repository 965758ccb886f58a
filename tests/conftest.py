"""For all tests: where CI provides every tool, a test that would skip fails instead."""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """PREDICTD_TESTS_SKIP_NOTHING is set by `.ci/run`."""
    report = yield
    if report.skipped and os.environ.get("PREDICTD_TESTS_SKIP_NOTHING"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
