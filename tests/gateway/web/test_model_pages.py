"""Create a Model, Test Model and the settings of a model, over HTTP as without scripts."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trio

from tests.support.browsers import OURS, Browser
from tests.support.gateway import Gateway, copy_of

ADD = {"name": "add", "file_path": "add.py", "function_name": "add", "auth_enabled": "on"}


class Visitor(NamedTuple):
    """A browser in which a contributor of one project is signed in."""

    browser: Browser
    project: str

    async def get(self, path: str) -> str:
        answer = await self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, path: str, **form: str) -> httpx.Response:
        return await self.browser.post(path, **form)


@pytest.fixture
async def visitor(shared: Gateway, browser: Browser, tmp_path: Path) -> AsyncIterator[Visitor]:
    project = await shared.project(copy_of("add", tmp_path), browser.name)
    role = {"permission": "contributor"}
    path = f"{shared.url}/api/v2{project}/collaborators/{browser.name}"
    assert (await shared.admin.put(path, json=role)).status_code == 200
    yield Visitor(browser, project)
    await shared.delete(project)


async def test_form_offers_files_and_functions(visitor: Visitor) -> None:
    """The form has the seeds' labels, and the functions of the project with their signatures."""
    page = await visitor.get(f"{visitor.project}/models/new")
    for label in ("Name", "Description", "File", "Function", "Example Input", "Example Output"):
        assert re.search(rf"<label[^>]*>{label}", page), label
    for label in ("Comment", "CPU", "Memory", "Replicas", "Environment Variables"):
        assert re.search(rf"<label[^>]*>{label}", page), label
    assert "Deploy Model</button>" in page
    assert 'data-signature="add(args)"' in page


async def test_errors_are_beside_their_fields(visitor: Visitor) -> None:
    """A wrong function or number is told at its field; what was typed stays; nothing is made."""
    new = f"{visitor.project}/models/new"
    for field, text, said in (
        ("function_name", "ad", "Did you mean"),
        ("memory", "lots", "is not a number"),
        ("example", "{", "is not JSON"),
    ):
        answer = await visitor.post(new, **{**ADD, "description": "kept <b>", field: text})
        assert answer.status_code == 400
        assert re.search(rf'id="{field}-error">[^<]*{said}', answer.text), answer.text
        assert "kept &lt;b&gt;" in answer.text
    assert "No models yet" in await visitor.get(visitor.project)


async def test_check_and_try_make_nothing(visitor: Visitor) -> None:
    """Check says what a build takes; Try runs the function on the example and compares."""
    new = f"{visitor.project}/models/new"
    assert "Nothing is certain to fail" in (await visitor.post(new, act="check", **ADD)).text
    example = {"example": '{"a": 3, "b": 5}', "example_output": "8"}
    tried = (await visitor.post(new, act="try", **ADD, **example)).text
    assert "equal to the Example Output" in tried
    example["example"] = '{"a": 3}'
    assert "KeyError" in (await visitor.post(new, act="try", **ADD, **example)).text
    example["example"] = '{"a": }'
    # The script shows this part of the page only.
    part = (await visitor.post(new, act="try", **ADD, **example)).text.partition('id="check"')[2]
    assert "Example Input: it is not JSON" in part
    assert "Nothing is certain to fail" not in part
    assert "No models yet" in await visitor.get(visitor.project)


async def test_lines_of_a_try_come_while_it_runs(visitor: Visitor, browser: Browser) -> None:
    """The lines that are followed by the name of a try are those in the reply, in their order."""
    name, lines = "ab" * 16, list[str]()

    async def follow() -> None:
        async with browser.client.stream("GET", f"/events?try={name}", headers=OURS) as answer:
            events = [each async for each in answer.aiter_lines() if each]
        assert events[-2] == "event: end"
        lines.extend(json.loads(e[6:]) for e in events[:-2] if e.startswith("data: "))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        form = {"act": "try", "try": name, "example": '{"a": 3, "b": 5}'}
        tried = await visitor.post(f"{visitor.project}/models/new", **ADD, **form)
    assert (lines[0][:7], lines[-1]) == ("2 files", "Model ready")
    assert "success" in tried.text


async def test_model_from_form_to_answer(shared: Gateway, visitor: Visitor) -> None:
    """A model that a form deploys answers Test Model with a key that is made for it; an error is
    shown as callers see it with its lines; it is stopped, changed and deleted by forms."""
    new = f"{visitor.project}/models/new"
    examples = {"example": '{"a": 3, "b": 5}', "example_output": "8"}
    answer = await visitor.post(new, **ADD, **examples, memory="0.5")
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    await shared.until(path, lambda model: model["replicas_ready"] == 1)
    page = await visitor.get(path)
    assert all(f">{each}</label>" in page for each in ("Shell", "Python", "R", "JavaScript"))
    fields = {"field.a": "4", "field.b": "5"}
    refused = (await visitor.post(f"{path}/test", **fields)).text
    assert "model.unauthorized" in refused
    tested = (await visitor.post(f"{path}/test", **fields, make_key="on")).text
    assert "200 success" in tested
    assert re.search(r'aria-label="Response">9<', tested)
    assert ("Monitoring</a></dd>" in tested, "Example Output</h2>" in tested) == (True, True)
    assert "equal to the Example Output" not in tested
    example = {"field.a": "3", "field.b": "5", "make_key": "on"}
    assert "equal to the Example Output" in (await visitor.post(f"{path}/test", **example)).text
    key = re.search(r'name="key"[^>]*value="([^"]+)"', tested)
    assert key
    keys = (await shared.get(f"/users/{visitor.browser.name}/model_keys"))["model_keys"]
    ends = datetime.fromisoformat(keys[0]["expiry_date"])
    assert ends - datetime.now(UTC) < timedelta(days=1)
    failed = (await visitor.post(f"{path}/test", request='{"a": 1}', key=key[1])).text
    assert "500 failure" in failed
    assert "KeyError" in failed.partition("Log of this request")[2]
    build = await visitor.get(f"{path}/builds/new")
    assert '<option selected value="add.py">' in build
    assert re.search(r'name="example_output"[^>]*>\s*8<', build)
    assert "No replica of the model is ready" not in page
    stopped = await visitor.post(f"{path}/stop")
    await shared.until(path, lambda model: model["status"] == "stopped")
    page = await visitor.get(stopped.headers["location"])
    assert (
        "No replica of the model is ready" in page,
        f'{path}/deployments">Re-deploy</a>' in page,
    ) == (1, 1)
    saved = {"name": "sum", "description": "Adds.", "visibility": "private", "keep_builds": "3"}
    assert (await visitor.post(f"{path}/settings", **saved)).status_code == 303
    model = await shared.get(path)
    assert (model["name"], model["keep_builds"], model["auth_enabled"]) == ("sum", 3, False)
    listed = await visitor.get(f"{path}/monitoring/requests")
    assert ("are not listed" in listed, model["request_log"]) == (True, False)
    await visitor.post(f"{path}/regenerate-key")
    assert (await shared.get(path))["access_key"] != model["access_key"]
    assert "is not deleted" in (await visitor.post(f"{path}/delete", confirmed="add")).text
    assert (await visitor.post(f"{path}/delete", confirmed="sum")).status_code == 303
    assert "No models yet" in await visitor.get(visitor.project)
