"""Samples make the call when they are pasted, for any example."""

import json
import shutil
import subprocess
import sys

import pytest

from gateway.client.snippets import samples
from tests.gateway.client.test_client import deployed
from tests.support.fake_admin_api import State

NASTY: list[object] = [
    {"petal_length": 5.4},
    'it\'s "quoted" \\ $HOME `id` \n\t {x} % é 😀',
    [None, True, False, -1.5e300, {"": []}],
    None,
]


@pytest.mark.parametrize("example", NASTY)
def test_curl_sample(state: State, example: object) -> None:
    """The curl line is one line for a POSIX shell."""
    if not shutil.which("curl"):
        pytest.skip("no curl")
    line = samples(f"{state.url}/model", deployed(state, "echo"), example).curl
    assert "\n" not in line
    done = subprocess.run(["sh", "-c", f"{line} -s"], capture_output=True, check=True)
    assert json.loads(done.stdout)["response"] == example


@pytest.mark.parametrize("example", NASTY)
def test_python_sample(state: State, example: object) -> None:
    """The Python sample needs nothing but Python."""
    text = samples(f"{state.url}/model", deployed(state, "echo"), example).python
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-I", "-c", text],
        capture_output=True,
        check=True,
        text=True,
        encoding="utf-8",
    )
    assert done.stdout == f"{example}\n"


@pytest.mark.parametrize("example", NASTY)
def test_r_sample(example: object) -> None:
    """The R sample posts exactly the request, in a string that R reads as it was meant."""
    text = samples("http://h/model", "mkey", example).r
    literal = text.partition("body <- ")[2].partition("\n")[0]
    assert set(literal) <= set(map(chr, range(32, 127)))
    # In ASCII text without control characters, JSON and R agree on the escapes.
    assert json.loads(json.loads(literal)) == {"accessKey": "mkey", "request": example}


@pytest.mark.parametrize("library", ["httr2", "httr"])
def test_r_sample_works_with_either_library(
    state: State, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The R sample runs where httr2 is installed, and where only httr is."""
    if not shutil.which("Rscript"):
        pytest.skip("R is not installed")
    text = samples(f"{state.url}/model", deployed(state, "echo"), NASTY[1], "id.secret").r
    if library == "httr":
        text = text.replace('requireNamespace("httr2"', 'requireNamespace("no.such.package"')
    command = ["Rscript", "--vanilla", "-"]
    shown = text.replace(
        "\nanswer$response", "\ncat(jsonlite::toJSON(answer$response, auto_unbox = TRUE))\n"
    )
    done = subprocess.run(command, input=shown.encode(), capture_output=True, check=False)
    if b"there is no package called" in done.stderr:
        pytest.skip(f"{library} of R is not installed")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == NASTY[1]


@pytest.mark.parametrize("example", NASTY)
def test_javascript_sample(state: State, example: object) -> None:
    """The JavaScript sample runs as a module."""
    if not (node := shutil.which("node")):
        pytest.skip("no node")
    text = samples(f"{state.url}/model", deployed(state, "echo"), example).javascript
    text = text.replace("console.log(", "console.log(JSON.stringify(")
    text = text.replace(".response);", ".response));")
    command = [node, "--input-type=module", "-e", text]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout) == example


def test_samples_send_the_key() -> None:
    """Each sample sends the key if the model requires one, and names none otherwise."""
    texts = samples("http://h/model", "mkey", 1, "id.secret")
    assert "-H 'Authorization: Bearer id.secret'" in texts.curl
    assert '"Authorization": "Bearer id.secret"' in texts.python
    assert '"Authorization": "Bearer id.secret"' in texts.javascript
    assert ', add_headers(Authorization = "Bearer id.secret")' in texts.r
    assert ', Authorization = "Bearer id.secret")' in texts.r
    assert not any("Authorization" in text for text in samples("http://h/model", "mkey", 1))
