"""For all tests: where CI provides every tool, a test that would skip for one fails instead; a test
that hangs is ended; Ctrl-C is handled; a folder lives as long as the tests that use it."""

import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.folders import NewFolder
from tests.support.skipping import NOT_HERE

# A process that a shell starts in the background ignores Ctrl-C, and so do its children; some tests
# press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Seconds between the stacks that pytest prints and the end of the test, and between two attempts to
# end it.
_AFTER_STACKS, _AGAIN = 0.5, 30.0
_ENDED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Ends a test that has run for `faulthandler_timeout` seconds, but not a soak test.

    By the signal of Ctrl-C, which Trio turns into an orderly end of all tasks and which interrupts
    system calls. `faulthandler_exit_on_timeout` would end the whole worker, and pytest-xdist then
    runs the same test again in the next worker.
    """
    seconds = _bound(item)
    if not seconds or item.get_closest_marker("soak"):
        return (yield)

    def end(*_: object) -> None:
        item.stash[_ENDED] = True
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds + _AFTER_STACKS, _AGAIN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _bound(item: pytest.Item) -> float:
    return float(item.config.getini("faulthandler_timeout"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _ended_is_failed(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _ended_is_failed(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _ended_is_failed(item))


def _ended_is_failed(item: pytest.Item) -> Generator[None, object, object]:
    """Without this the Ctrl-C would end the whole run."""
    try:
        return (yield)
    except BaseException as error:
        if item.stash.get(_ENDED, False):
            text = f"the test had not ended after {_bound(item):g} s; its stacks are on stderr"
            raise pytest.fail.Exception(text) from error
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """TESTS_SKIP_NOTHING is set by `.ci/run`."""
    report = yield
    nothing = os.environ.get("TESTS_SKIP_NOTHING")
    if nothing and report.skipped and NOT_HERE not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="module")
def new_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NewFolder]:
    """The folders are removed after the file's tests, unless one of them failed."""
    made: list[Path] = []
    failed = request.session.testsfailed

    def new(name: str) -> Path:
        made.append(tmp_path_factory.mktemp(name))
        return made[-1]

    yield new
    if request.session.testsfailed == failed:
        for folder in made:
            shutil.rmtree(folder)
