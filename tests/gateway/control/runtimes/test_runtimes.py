"""Runtimes: made by administrators, chosen by name, copied into the environments of builds."""

import shutil
from pathlib import Path

import httpx

from tests.support.gateway import Gateway, Json, refusal, running, settings_for
from tests.support.package_index import PackageIndex, serving

MODEL = "import greeting\n\n\ndef version(_):\n    return greeting.VERSION\n"


def requirements(index: PackageIndex, *lines: str) -> str:
    return "\n".join([f"--index-url {index.url}", *lines, ""])


async def created(gateway: Gateway, name: str, **asked: object) -> Json:
    """A runtime that nothing makes any more."""
    made = await gateway.post("/runtimes", {"name": name, **asked})
    path = f"/runtimes/{made['id']}"
    return await gateway.until(path, lambda now: now["status"] != "building", pause=0.1)


async def a_project(gateway: Gateway, folder: Path) -> str:
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    return await gateway.project(folder)


async def version_served(gateway: Gateway, model: str, build: str) -> object:
    await gateway.deployed(build, replicas=1)
    answer = await gateway.call(await gateway.key(model), {})
    return answer.json()["response"]


def index_with(*versions: str) -> PackageIndex:
    index = PackageIndex()
    for version in versions:
        index.add("greeting", version)
    return index


async def test_build_starts_with_the_packages_of_its_runtime(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A build without a script has what its runtime has; a new version is for new builds only."""
    with serving(index_with("1.0", "2.0")) as index:
        first = await created(gateway, "hello", requirements=requirements(index, "greeting==1.0"))
        assert (first["status"], first["runtime_identifier"]) == ("ready", "hello@1"), first
        project = await a_project(gateway, tmp_path / "p")
        model = await gateway.model(project)
        old = await gateway.built(model, "model.py:version", kernel="hello")
        assert (await gateway.get(old))["runtime_identifier"] == "hello@1"
        await created(gateway, "hello", requirements=requirements(index, "greeting==2.0"))
        new = await gateway.built(model, "model.py:version", runtime_identifier="hello")
        assert (await gateway.get(new))["runtime_identifier"] == "hello@2"
        as_json = {"Accept": "application/json"}
        answer = await gateway.admin.get(f"{new}/lock", headers=as_json)
        lock = answer.json()["packages"]
        assert [(each["name"], each["version"]) for each in lock] == [("greeting", "2.0")]
        exact = await gateway.built(model, "model.py:version", kernel="hello@1")
    assert await version_served(gateway, model, old) == "1.0"
    assert await version_served(gateway, model, new) == "2.0"
    assert await version_served(gateway, model, exact) == "1.0"


async def test_default_is_the_projects_then_the_sites(gateway: Gateway, tmp_path: Path) -> None:
    """A build that names no runtime has its project's, else the site's, else the bare default."""
    with serving(index_with("1.0")) as index:
        for name in ("one", "two"):
            await created(gateway, name, requirements=requirements(index, "greeting"))
    bare = next(each for each in (await gateway.get("/runtimes"))["runtimes"] if each["default"])
    project = await a_project(gateway, tmp_path / "p")
    model = await gateway.model(project)

    async def chosen() -> str:
        build = await gateway.build(model, "model.py:version")
        return str((await gateway.get(build))["runtime_identifier"])

    assert await chosen() == bare["runtime_identifier"]
    settings = {"default_runtime": "one"}
    assert (await gateway.admin.patch("/site/settings", json=settings)).status_code == 200
    assert await chosen() == "one@1"
    listed = (await gateway.get("/runtimes"))["runtimes"]
    assert [each["runtime_identifier"] for each in listed if each["default"]] == ["one@1"]
    change = await gateway.admin.patch(project, json={"runtime_identifier": "two"})
    assert change.json()["runtime_identifier"] == "two"
    assert await chosen() == "two@1"
    unknown = await gateway.admin.patch(project, json={"runtime_identifier": "three"})
    assert refusal(unknown) == (400, "kernel.unknown")
    assert "two" in unknown.text


async def test_failed_runtime_says_why_and_is_not_chosen(gateway: Gateway, tmp_path: Path) -> None:
    """A runtime whose packages cannot be installed fails with the reason, and builds refuse it."""
    with serving(index_with("1.0")) as index:
        failed = await created(gateway, "hello", requirements=requirements(index, "greeting==9"))
    assert failed["status"] == "failed"
    assert "greeting" in failed["failure"]["problem"], failed
    log = await gateway.admin.get(f"/runtimes/{failed['id']}/log")
    assert "greeting==9" in log.text
    model = await gateway.model(await a_project(gateway, tmp_path / "p"))
    asked = {"file_path": "model.py", "function_name": "version", "kernel": "hello"}
    refused = await gateway.admin.post(f"{model}/builds", json=asked)
    assert refusal(refused) == (400, "kernel.unknown")


async def test_disabled_runtime_serves_and_takes_no_new_builds(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A disabled runtime is not chosen for new builds; it cannot be deleted while one uses it."""
    with serving(index_with("1.0")) as index:
        made = await created(gateway, "hello", requirements=requirements(index, "greeting"))
        model = await gateway.model(await a_project(gateway, tmp_path / "p"))
        build = await gateway.built(model, "model.py:version", kernel="hello")
    path = f"/runtimes/{made['id']}"
    assert refusal(await gateway.admin.delete(path)) == (409, "state.conflict")
    disabled = await gateway.admin.patch(path, json={"disabled": True})
    assert disabled.json()["status"] == "disabled"
    asked = {"file_path": "model.py", "function_name": "version", "kernel": "hello"}
    refused = await gateway.admin.post(f"{model}/builds", json=asked)
    assert refusal(refused) == (400, "kernel.unknown")
    assert await version_served(gateway, model, build) == "1.0"
    await gateway.delete(model)
    await gateway.delete(path)
    assert (await gateway.admin.get(path)).status_code == 404
    assert not (gateway.data / "runtimes" / made["id"]).exists()


async def test_lost_runtime_is_made_again(tmp_path: Path) -> None:
    """A runtime whose folder is gone, as after a restore, is made again when a build needs it, and
    one that was being made when the gateway ended is made by the next one."""
    data = tmp_path / "data"
    with serving(index_with("1.0")) as index:
        async with running(settings_for(data)) as gateway:
            made = await created(gateway, "hello", requirements=requirements(index, "greeting"))
            project = await a_project(gateway, tmp_path / "p")
            begun = await gateway.post(
                "/runtimes", {"name": "hello", "requirements": requirements(index, "greeting")}
            )
        shutil.rmtree(data / "runtimes" / made["id"])
        async with running(settings_for(data)) as gateway:
            path = f"/runtimes/{begun['id']}"
            await gateway.until(path, lambda now: now["status"] == "ready", pause=0.1)
            model = await gateway.model(project)
            build = await gateway.built(model, "model.py:version", kernel="hello@1")
            assert await version_served(gateway, model, build) == "1.0"


async def test_interpreter_that_cannot_be_downloaded_says_what_to_do(gateway: Gateway) -> None:
    """A Python that the machine does not have is downloaded from the mirror of the site; if that
    fails, the runtime says which Python to install."""
    mirror = {"environment": {"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9/none"}}
    assert (await gateway.admin.patch("/site/settings", json=mirror)).status_code == 200
    failed = await created(gateway, "newer", python="3.99")
    assert failed["status"] == "failed"
    assert failed["failure"]["summary"].startswith("Python 3.99"), failed
    assert "UV_PYTHON_INSTALL_MIRROR" in failed["failure"]["advice"]
    assert list((gateway.data / "interpreters").glob("*/bin")) == []


async def test_invalid_runtimes_are_refused(gateway: Gateway) -> None:
    """A name that an interpreter has, a file that a runtime does not have and an unknown Python are
    refused, and nothing is made."""

    async def ask(**asked: object) -> httpx.Response:
        return await gateway.admin.post("/runtimes", json=asked)

    invalid = (400, "argument.invalid")
    for name in ("python3.11", "3", "r", "A", "a b", "a" * 64, "science@1", ""):
        assert refusal(await ask(name=name)) == invalid, name
    for line in ("-r other.txt", "-e .", "--constraint=c.txt", "./wheel.whl"):
        assert refusal(await ask(name="x", requirements=line)) == invalid, line
    assert refusal(await ask(name="x", description="a\nb")) == invalid
    assert refusal(await ask(name="x", python="lua5")) == (400, "kernel.unknown")
    assert all(each["id"] == "" for each in (await gateway.get("/runtimes"))["runtimes"])
