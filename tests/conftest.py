"""For all tests: where CI provides every tool, a test that would skip for one fails instead; Ctrl-C
is heard."""

import os
import signal
from collections.abc import Generator

import pytest

from tests.support.skipping import NOT_HERE

# What is started in the background of a shell ignores Ctrl-C, and all that it starts does; some
# tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """PREDICTD_TESTS_SKIP_NOTHING is set by `.ci/run`."""
    report = yield
    nothing = os.environ.get("PREDICTD_TESTS_SKIP_NOTHING")
    if nothing and report.skipped and NOT_HERE not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
