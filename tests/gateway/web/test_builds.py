"""The pages of builds and deployments over HTTP."""

import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.browsers import Browser
from tests.support.gateway import Gateway, ended_build

HOSTILE = "<script>alert(1)</script>"
CODE = """
import os

def answer(args):
    return os.environ.get("MODE", "") + os.environ.get("TOKEN", "")
"""


class Site(NamedTuple):
    """A model of a project of this test, and a session of its owner."""

    gateway: Gateway
    browser: Browser
    folder: Path
    model: str

    async def get(self, path: str) -> httpx.Response:
        return await self.browser.get(f"{self.model}/{path}")

    async def post(self, path: str, **form: str) -> httpx.Response:
        return await self.browser.post(f"{self.model}/{path}", **form)

    async def built(self, **more: object) -> str:
        """The id of a build that has ended, well or badly."""
        path = await self.gateway.build(self.model, "answer.py:answer", **more)
        await self.gateway.until(path, ended_build, pause=0.05)
        return path.rpartition("/")[2]

    async def deployed(self, build: str, **more: object) -> str:
        path = await self.gateway.deployed(f"{self.model}/builds/{build}", **more)
        return path.rpartition("/")[2]

    async def newest(self) -> dict[str, object]:
        """The newest deployment, once it serves or has failed."""
        found = await self.gateway.get(f"{self.model}/deployments", page_size=100)
        last = found["model_deployments"][-1]
        path = f"{self.model}/builds/{last['build_id']}/deployments/{last['id']}"
        return await self.gateway.until(path, lambda d: d["status"] in ("deployed", "failed"))


@pytest.fixture
async def site(shared: Gateway, administrator: Browser, tmp_path: Path) -> AsyncIterator[Site]:
    folder = tmp_path / f"site-{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "answer.py").write_text(CODE)
    project = await shared.project(folder)
    model = await shared.model(project, "answers")
    yield Site(shared, administrator, folder, model)
    await shared.delete(project)


async def test_build_pages_show_a_build(site: Site) -> None:
    """The list, the page of a build, its packages and its changes show what the API has."""
    first = await site.built(comment=HOSTILE)
    (site.folder / "more.py").write_text("")
    (site.folder / "answer.py").write_text(f"{CODE}\n")
    second = await site.built(comment="the second")
    path = f"{site.model}/builds/{second}"
    build = await site.gateway.until(path, lambda build: build["size_bytes"] is not None)
    assert build["size_bytes"] > 100_000  # an environment has more
    page = (await site.get("builds")).text
    assert re.search(r'data-label="Size"[^>]*>[0-9.]+ MiB<', page)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    for label in ("Build", "Status", "File", "Function", "Kernel", "Created By", "Created At"):
        assert f">{label}" in page
    assert page.index(second) < page.index(first)
    page = (await site.get(f"builds/{second}")).text
    assert "Build script" in page
    assert f'data-log="/api/v2{site.model}/builds/{second}/log"' in page
    page = (await site.get(f"builds/{second}/packages")).text
    assert "pylock.toml" in page
    page = (await site.get(f"builds/{second}/changes")).text
    assert "Changed since build 1" in page
    assert re.search(r'class="added"><a [^>]*><code>more.py', page)
    assert re.search(r'class="changed"><a [^>]*><code>answer.py', page)
    assert (await site.get(f"builds/{secrets.token_hex(8)}")).status_code == 404


async def test_failed_build_leads_with_its_failure(site: Site) -> None:
    """The page of a failed build begins with summary, problem and advice, and its changes name the
    file that broke it."""
    await site.built()
    (site.folder / "answer.py").write_text(f"import nothing_of_this_name\n{CODE}")
    failed = await site.built()
    page = (await site.get(f"builds/{failed}")).text
    assert "nothing_of_this_name" in page
    assert page.index('class="failure') < page.index('class="steps"')
    page = (await site.get(f"builds/{failed}/changes")).text
    assert "Changed since build 1" in page
    assert "has no lock" in page
    form = await site.get(f"builds/{failed}/deploy")
    assert "Build 2 cannot be deployed" in form.text
    assert "Deploy Model</button>" not in form.text


async def test_overview_says_why_the_first_build_failed(site: Site) -> None:
    """Who has just created a model is told on its page why it is not deployed."""
    (site.folder / "answer.py").write_text(f"import nothing_of_this_name\n{CODE}")
    failed = await site.built(auto_deploy_model=True)
    page = (await site.browser.get(site.model)).text
    assert "Probe ✕" in page
    assert "nothing_of_this_name" in page
    assert f"/builds/{failed}" in page


async def test_overview_names_the_deployment_that_serves(site: Site) -> None:
    """The CRN is that of the deployment that answers calls, not of a later one that failed."""
    serving = await site.deployed(await site.built())
    (site.folder / "answer.py").write_text(f"import nothing_of_this_name\n{CODE}")
    await site.built(auto_deploy_model=True)
    failed = await site.newest()
    page = (await site.browser.get(site.model)).text
    assert f"/{serving}</code>" in page
    assert f"/{failed['id']}</code>" not in page
    assert "Probe ✕" in page


async def test_lines_of_a_file_that_changed(site: Site) -> None:
    """A file of the list of changes leads to its lines, which stay text; other files have none."""
    first = await site.built()
    (site.folder / "answer.py").write_text(f"{CODE}# {HOSTILE}\n")
    (site.folder / "data.bin").write_bytes(b"\0")
    second = await site.built()
    changes = f"builds/{second}/changes?since={first}"
    page = (await site.get(f"{changes}&file=answer.py")).text
    assert HOSTILE not in page
    assert re.search(r'<tr class="added"><td class="number"></td><td [^>]*>\d+</td><td>', page)
    assert "+ # &lt;script&gt;" in page
    assert "It is not text" in (await site.get(f"{changes}&file=data.bin")).text
    assert (await site.get(f"{changes}&file=nothing.py")).status_code == 404
    path = f"{site.model}/builds/{first}/diff/{second}/text/answer.py"
    (line,) = [each for each in (await site.gateway.get(path))["lines"] if each["kind"] == "added"]
    assert (line["text"], line["before"]) == (f"# {HOSTILE}", None)


async def test_build_is_deleted_by_a_form(site: Site) -> None:
    """A form deletes a build; one that serves is refused on the same page."""
    first, second = await site.built(), await site.built()
    await site.deployed(first)
    answer = await site.post(f"builds/{first}/delete")
    assert answer.status_code == 409
    assert 'role="alert"' in answer.text
    answer = await site.post(f"builds/{second}/delete")
    assert answer.headers["location"] == f"{site.model}/builds?done=deleted"
    assert (await site.get(f"builds/{second}")).status_code == 404


async def test_build_is_cancelled_by_a_form(site: Site) -> None:
    """A form cancels a build that is being made; its page says by whom."""
    (site.folder / "cdsw-build.sh").write_text("sleep 60\n")
    path = await site.gateway.build(site.model, "answer.py:answer")
    build = path.rpartition("/")[2]
    answer = await site.post(f"builds/{build}/cancel")
    assert answer.headers["location"].endswith(f"{build}?done=cancelled")
    assert "Cancelled" in (await site.get(f"builds/{build}")).text


async def test_build_is_deployed_again_with_changes(site: Site) -> None:
    """The form has what a deployment was created with; what is changed in it is changed, and a
    secret that it does not name stays."""
    build = await site.built()
    first = await site.deployed(
        build, cpu=0.5, environment={"MODE": "fast"}, secrets={"TOKEN": "t0ken"}
    )
    path = f"builds/{build}/deploy"
    page = (await site.get(f"{path}?based_on={first}")).text
    assert "MODE=fast" in page
    assert "t0ken" not in page
    form = {"based_on": first, "replicas": "2", "cpu": "0.25", "memory": "0.5"}
    answer = await site.post(path, **form, environment="MODE=slow\n", network="none", secrets="")
    assert answer.headers["location"] == f"{site.model}/deployments?done=deploy"
    newest = await site.newest()
    assert (newest["status"], newest["replicas"], newest["cpu"]) == ("deployed", 2, 0.25)
    answer = await site.gateway.call(await site.gateway.key(site.model), {})
    assert answer.json()["response"] == "slowt0ken"
    page = (await site.get(f"deployments/{newest['id']}")).text
    for text in ("What differs", "CPU (cores)", "slow", "Network"):
        assert text in page


async def test_form_of_a_deployment_keeps_what_was_typed(site: Site) -> None:
    """A refused form has the error beside its field, and all that was typed."""
    build = await site.built()
    form = {"replicas": "many", "cpu": "1", "memory": "1", "environment": "A=1"}
    answer = await site.post(f"builds/{build}/deploy", **form)
    assert answer.status_code == 400
    assert 'id="replicas-error"' in answer.text
    assert "A=1" in answer.text
    answer = await site.post(f"builds/{build}/deploy", **form | {"replicas": "1", "secrets": "x"})
    assert 'id="secrets-error"' in answer.text


async def test_roll_back_restores_build_size_and_variables(site: Site) -> None:
    """One form deploys the build that served before, as it was deployed."""
    first, second = await site.built(), await site.built()
    assert "Roll back" not in (await site.get("deployments")).text
    before = await site.deployed(
        first, cpu=0.5, environment={"MODE": "old"}, secrets={"TOKEN": "!"}
    )
    await site.deployed(second, cpu=1)
    page = (await site.get("deployments")).text
    assert "Roll back to build 1" in page
    assert f'name="deployment" value="{before}"' in page
    await site.post("deployments/roll-back", deployment=before)
    newest = await site.newest()
    assert (newest["build_number"], newest["cpu"]) == (1, 0.5)
    answer = await site.gateway.call(await site.gateway.key(site.model), {})
    assert answer.json()["response"] == "old!"
    assert (await site.post("deployments/roll-back", deployment="no")).status_code == 404


async def test_based_on_takes_deployments_of_the_model_only(site: Site) -> None:
    """A deployment cannot be based on one of another model, whose secrets it would get."""
    build = await site.built()
    await site.deployed(build, secrets={"TOKEN": "!"})
    theirs = (await site.newest())["id"]
    other = await site.gateway.model(site.model.partition("/models")[0], "other")
    path = f"{other}/builds"
    asked = {"file_path": "answer.py", "function_name": "answer", "auto_deploy_model": True}
    asked["auto_deployment_config"] = {"based_on": theirs}
    answer = await site.gateway.admin.post(path, json=asked)
    assert answer.status_code == 404
