"""The verb `open`: what it gives a browser, and what it does without one."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.client import ApiError, Client, Json
from tests.gateway.cli.conftest import Predictd
from tests.support.fake_admin_api import State

LINK = "/open#a-token_of-once"


def opened(data: Path, browser: str) -> subprocess.CompletedProcess[str]:
    """`predictd open` where `browser` is the user's choice (as BROWSER has it)."""
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "open", "--data", str(data)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), "BROWSER": browser},
        capture_output=True,
        text=True,
    )


def test_the_browser_gets_a_file_that_only_its_owner_reads(state: State, data: Path) -> None:
    """The link is in a private file, and not among the arguments of the browser."""
    received = data / "arguments"
    browser = f"{shlex.quote(sys.executable)} {shlex.quote(str(_browser(data)))} {received} %s"
    done = opened(data, browser)
    assert done.returncode == 0, done.stderr
    assert "a-token" not in done.stdout + done.stderr
    page = data / "open.html"
    assert received.read_text() == page.as_uri()
    assert page.stat().st_mode & 0o777 == 0o600
    assert f'content="0; url={state.url}{LINK}"' in page.read_text()


def test_a_later_file_takes_the_place_of_an_earlier_one(state: State, data: Path) -> None:
    """The file replaces what lies at its path, and is private from its creation."""
    data.joinpath("open.html").write_text("old")
    data.joinpath("open.html").chmod(0o644)
    data.joinpath("open.new").write_text("half")
    assert opened(data, "true %s").returncode == 0
    assert (data / "open.html").stat().st_mode & 0o777 == 0o600
    assert not (data / "open.new").exists()


def test_without_a_browser_the_link_is_printed(state: State, data: Path) -> None:
    """Without a browser the link is printed."""
    assert opened(data, "false %s").stdout == f"{state.url}{LINK}\n"


def test_print(state: State, data: Path, predictd: Predictd) -> None:
    """`--print` opens nothing and leaves no file."""
    assert predictd("open", "--print").out == f"{state.url}{LINK}\n"
    document = predictd("open", "--print", "--json").json
    assert document == {"opened": False, "url": f"{state.url}{LINK}", "seconds": 60}
    assert not (data / "open.html").exists()


def test_a_gateway_that_was_named_needs_no_file(
    state: State, data: Path, predictd: Predictd
) -> None:
    """Of a gateway elsewhere the link is printed, with the address by which it was named."""
    url = state.url.replace("127.0.0.1", "localhost")
    assert predictd("open", "--url", url).out == f"{url}{LINK}\n"
    assert not (data / "open.html").exists()


def _browser(data: Path) -> Path:
    """A browser that tells what it was started with."""
    script = data / "browser.py"
    script.write_text("import sys\nopen(sys.argv[1], 'w').write(' '.join(sys.argv[2:]))\n")
    return script


def test_user_without_the_right_signs_in_by_password(
    state: State, predictd: Predictd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only administrators get a link; others are told where to sign in."""

    def refused(self: Client, path: str, body: object = None) -> Json:
        raise ApiError(403, "auth.forbidden", "ada may not do that", "ask", "request-1")

    monkeypatch.setattr(Client, "post", refused)
    outcome = predictd("open")
    assert outcome.code == 4
    assert f"hint: sign in at {state.url} with your password" in outcome.err
