"""Pages of experiments over HTTP: run, watch, outputs, comparison; who is offered what."""

import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.browsers import Browser
from tests.support.gateway import Gateway

HOSTILE = "<script>alert(1)</script>"
FIT = f"""\
import sys, cdsw
cdsw.track_metric("r2", float(sys.argv[1]))
cdsw.track_metric("loss", 1 - float(sys.argv[1]))
for step in range(3):
    cdsw.track_metric("step", step)
cdsw.track_metric("{HOSTILE}", "{HOSTILE}")
print("fitted")
open("scores.csv", "w").write("name,score\\n{HOSTILE},1\\n")
open("notes.txt", "w").write("{HOSTILE}")
open("model.pkl", "wb").write(b"\\0\\1")
open("plot.png", "wb").write(b"\\x89PNG")
"""


@pytest.fixture
async def project(shared: Gateway, browser: Browser, tmp_path: Path) -> AsyncIterator[str]:
    """A project with a script, which the user of the browser may change."""
    folder = tmp_path / f"project-{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "fit.py").write_text(FIT)
    path = await shared.project(folder)
    await shared.admin.put(
        f"{path}/collaborators/{browser.name}", json={"permission": "contributor"}
    )
    yield path
    await shared.delete(path)


async def ended(shared: Gateway, browser: Browser, project: str, *, arguments: str = "0.9") -> str:
    """The path of an experiment that was run by the form and has ended."""
    answer = await browser.post(
        f"{project}/experiments/new", script="fit.py", arguments=arguments, profile="1/2"
    )
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    found = await shared.until(path, lambda run: run["ended_at"] is not None)
    assert found["status"] == "succeeded", found
    return str(path)


async def test_run_is_shown_with_its_metrics_and_output(
    shared: Gateway, browser: Browser, project: str
) -> None:
    """What was run by the form is in the table, with its metrics; its page has the output."""
    assert "No experiments yet" in (await browser.get(f"{project}/experiments")).text
    path = await ended(shared, browser, project)
    number = (await shared.get(path))["experiment_number"]
    table = (await browser.get(f"{project}/experiments")).text
    for text in (
        f"Run-{number}",
        "fit.py",
        browser.name,
        "Succeeded",
        '<td data-label="r2" class="number">0.9',
    ):
        assert text in table
    overview = (await browser.get(path)).text
    for text in ("Configuration", "Build Snapshot", "Submitter", "model.pkl", "Add to Project"):
        assert text in overview
    for page in (table, overview):
        assert HOSTILE not in page
    for part, kind in (("session", "line"), ("build", "preparing")):
        page = (await browser.get(f"{path}/{part}")).text
        assert f'data-log="/api/v2{path}/log" data-log-event="{kind}"' in page


async def test_files_are_previewed_as_text(shared: Gateway, browser: Browser, project: str) -> None:
    """Text, CSV and images are shown; nothing in a file is markup; other files are not shown."""
    path = await ended(shared, browser, project)
    escaped = "&lt;script&gt;"
    table = (await browser.get(f"{path}/file?path=scores.csv")).text
    assert f"<td>{escaped}" in table
    text = (await browser.get(f"{path}/file?path=notes.txt")).text
    assert re.search(f"<pre[^>]*>{escaped}", text)
    image = (await browser.get(f"{path}/file?path=plot.png")).text
    assert f'<img src="/api/v2{path}/files/plot.png" alt="plot.png">' in image
    assert "The file is not text" in (await browser.get(f"{path}/file?path=model.pkl")).text
    assert (await browser.get(f"{path}/file?path=none.txt")).status_code == 404
    assert (await browser.get(f"{path}/file?path=../fit.py")).status_code in (400, 403, 404)


async def test_output_is_added_to_the_project(
    shared: Gateway, browser: Browser, project: str
) -> None:
    path = await ended(shared, browser, project)
    answer = await browser.post(f"{path}/add-to-project", path="model.pkl")
    assert answer.headers["location"] == f"{path}?done=added"
    files = (await shared.get(f"{project}/files", page_size="100"))["files"]
    assert "model.pkl" in [each["path"] for each in files]


async def test_experiments_are_compared(shared: Gateway, browser: Browser, project: str) -> None:
    """The chosen runs are beside each other, as a table and as a chart."""
    paths = [
        await ended(shared, browser, project, arguments=each) for each in ("0.5", "0.7", "0.9")
    ]
    first, _, last = [(await shared.get(path))["experiment_number"] for path in paths]
    page = (await browser.get(f"{project}/experiments/compare?ids={last}&ids={first}")).text
    assert re.findall(r">(Run-\d+)</a>", page) == [f"Run-{last}", f"Run-{first}"]
    assert "<td>0.9</td><td>0.5</td>" in page
    assert "Metrics of each run" in page
    assert page.count('<path class="line s1"') >= 2
    assert HOSTILE not in page


async def test_refused_run_keeps_what_was_typed(browser: Browser, project: str) -> None:
    """The error is beside its field, and the fields have what was typed."""
    answer = await browser.post(
        f"{project}/experiments/new", script="none.py", arguments="'open", comment="kept <b>"
    )
    assert answer.status_code == 400
    assert re.search(r'id="arguments-error">No closing quotation', answer.text)
    assert 'value="kept &lt;b&gt;"' in answer.text
    answer = await browser.post(f"{project}/experiments/new", script="none.py")
    assert answer.status_code in (400, 404, 422)
    assert 'value="none.py"' in answer.text


async def test_deletion_asks_for_the_name(shared: Gateway, browser: Browser, project: str) -> None:
    path = await ended(shared, browser, project)
    name = f"Run-{(await shared.get(path))['experiment_number']}"
    assert (await browser.post(f"{path}/delete", confirmed="Run-0")).status_code == 400
    answer = await browser.post(f"{path}/delete", confirmed=name)
    assert answer.headers["location"] == f"{project}/experiments?done=deleted"
    assert (await browser.get(path)).status_code == 404


async def test_viewer_is_offered_no_change(shared: Gateway, browser: Browser, project: str) -> None:
    """A user who may only view has no form, and is refused if they send one."""
    path = await ended(shared, browser, project)
    await shared.admin.put(f"{project}/collaborators/{browser.name}", json={"permission": "viewer"})
    for page in (f"{project}/experiments", path):
        html = (await browser.get(page)).text
        for text in ("Run Experiment", "Add to Project", "Delete Experiment", "Run Again"):
            assert text not in html
    name = f"Run-{(await shared.get(path))['experiment_number']}"
    for form in ("stop", "delete", "add-to-project"):
        answer = await browser.post(f"{path}/{form}", confirmed=name, path="model.pkl")
        assert answer.status_code == 403
