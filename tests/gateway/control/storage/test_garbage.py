"""Garbage is removed; what is in use stays, also if it comes into use at the same time."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import trio

from gateway.control.storage.garbage import MIN_AGE
from gateway.control.storage.package_caches import CacheLimits, unneeded_caches
from gateway.control.storage.retention import Retention, removable_builds
from store import Build, Deployment
from tests.support.gateway import Gateway, copy_of, refusal, running, settings_for, status_is

A_BUILD = Build(model_id="m", file="f", function="f", creator="c", status="built")
A_DEPLOYMENT = Deployment(
    model_id="m",
    project_id="p",
    build_id="1",
    build_number=1,
    cpu_millicores=1,
    memory_mb=1,
    replicas=1,
    deployer="d",
    wanted="stop",
    status="stopped",
    deployed_at="then",
)


def build(number: int, status: str = "built") -> Build:
    return msgspec.structs.replace(A_BUILD, id=str(number), number=number, status=status)


def deployment(number: int, build: int, **more: object) -> Deployment:
    changes = {"number": number, "build_id": str(build), **more}
    return msgspec.structs.replace(A_DEPLOYMENT, **changes)


def gone(builds: list[Build], deployments: list[Deployment], keep: int = 1) -> list[int]:
    return [each.number for each in removable_builds(builds, deployments, Retention(keep))]


def test_which_builds_are_not_needed() -> None:
    """Kept are the latest, the latest that were built, what is deployed or about to be, what is
    being made, and what a rollback takes."""
    many = [build(n) for n in range(1, 8)]
    assert gone(many, []) == [1, 2, 3, 4, 5, 6]
    assert gone(many, [], keep=3) == [1, 2, 3, 4]
    assert gone([*many, build(8, "build failed")], []) == [1, 2, 3, 4, 5, 6]
    assert gone([build(1, "building"), build(2, "queued"), build(3, "pending"), build(4)], []) == []
    serving = deployment(3, 2, wanted="serve", status="deployed")
    assert gone(many, [serving]) == [1, 3, 4, 5, 6]
    assert gone(many, [deployment(1, 4), deployment(2, 4), serving]) == [1, 3, 5, 6]
    waiting = deployment(4, 1, wanted="serve", status="pending", deployed_at=None)
    assert gone(many, [deployment(2, 4), serving, waiting]) == [3, 5, 6]
    stopping = deployment(4, 5, status="stopping", deployed_at=None)
    assert gone(many, [stopping]) == [1, 2, 3, 4, 6]
    assert gone(many, [deployment(4, 5, status="failed", deployed_at=None)]) == [1, 2, 3, 4, 5, 6]


def test_builds_that_are_too_old_are_not_needed() -> None:
    """But for the latest that succeeded, and what is referenced; without a limit age counts not."""
    now = 1_800_000_000_000
    aged = [
        msgspec.structs.replace(build(n), created_at=Retention(1, days).oldest(now))
        for n, days in ((1, 90), (2, 60), (3, 40), (4, 29), (5, 10))
    ]

    def left(days: int, builds: list[Build], *deployments: Deployment) -> list[int]:
        gone = removable_builds(builds, list(deployments), Retention(4, days), now)
        return [each.number for each in builds if each not in gone]

    assert left(0, aged) == [2, 3, 4, 5]
    assert left(30, aged) == [4, 5]
    assert left(5, aged) == [5]
    assert left(5, aged, deployment(1, 1, wanted="serve", status="deployed")) == [1, 5]
    assert left(5, [*aged, build(6, "building")]) == [5, 6]
    assert Retention(4, 30).reason(aged[0], now) == "older than 30 days"
    assert Retention(4).reason(aged[0], now) == "beyond the latest 4"


def test_which_caches_are_not_needed(tmp_path: Path) -> None:
    """Those that no build has used for long or that are too large; all while the disk is low."""
    caches = [tmp_path / name for name in ("used", "old", "large", "none")]
    for cache in caches[:3]:
        cache.mkdir()
        (cache / "wheel").write_bytes(b"x" * (10**6 if cache.name == "large" else 10))
    limits = CacheLimits(size=10**5, age=100.0)
    os.utime(caches[1], (time.time() - 101,) * 2)

    def unneeded(*, low: bool) -> list[str]:
        found = unneeded_caches(caches, disk_is_low=low, limits=limits)
        return [each.name for each in found]

    assert unneeded(low=False) == ["old", "large"]
    assert unneeded(low=True) == ["used", "old", "large"]


async def test_cache_that_a_build_uses_is_kept(tmp_path: Path) -> None:
    """A collection after a build leaves the cache of its project, however old it was before."""
    settings = settings_for(tmp_path / "data", warn_free_disk=0, min_free_disk=0)
    async with running(settings) as gateway:
        project = await gateway.project(copy_of("add", tmp_path))
        model = await gateway.model(project)
        cache = gateway.data / "cache" / "pip" / project.rpartition("/")[2]
        cache.mkdir(parents=True)
        (cache / "wheel").write_text("packages")
        os.utime(cache, (0, 0))
        assert [each["kind"] for each in (await gateway.get("/garbage"))["garbage"]] == ["cache"]
        await gateway.built(model, "add.py:add")
        assert (await gateway.delete("/garbage"))["garbage"] == []
        assert (cache / "wheel").read_text() == "packages"


async def test_what_is_shown_is_what_goes(gateway: Gateway, tmp_path: Path) -> None:
    """A look changes nothing; a collection removes just what the look showed, with its files."""
    source = copy_of("add", tmp_path)
    project = await gateway.project(source)
    model = await gateway.model(project)
    builds = [await gateway.built(model, "add.py:add")]
    (source / "cdsw-build.sh").write_text("true")  # the others have another environment
    builds += [await gateway.built(model, "add.py:add") for _ in range(2)]
    await gateway.deployed(builds[1])
    ids = [path.rpartition("/")[2] for path in builds]
    stranger = gateway.data / "logs" / "builds" / "unknown.log"
    young = gateway.data / "logs" / "builds" / "young.log"
    for path in (stranger, young):
        path.write_text("lines")
    old = os.stat(stranger).st_mtime - MIN_AGE - 1
    folder = gateway.data / "builds" / "unknown"
    folder.mkdir()
    # The files of a project are never garbage while the database has not deleted them.
    sources = gateway.data / "projects" / "unknown"
    sources.mkdir(parents=True)
    (gateway.data / "trash" / "20260101T000000Z").mkdir(parents=True)
    for path in (stranger, folder, sources):
        os.utime(path, (old, old))
    cache = f"cache/pip/{project.rpartition('/')[2]}"
    os.utime(gateway.data / cache, (old - CacheLimits().age,) * 2)
    shown = await gateway.get("/garbage", keep=1)
    assert (gateway.data / "builds" / ids[0]).is_dir()
    found = {(each["kind"], each["name"]) for each in shown["garbage"]}
    leftovers = {("leftover", "logs/builds/unknown.log"), ("leftover", "builds/unknown")}
    leftovers |= {("trash", "trash/20260101T000000Z")}
    assert found == {("build", ids[0]), ("cache", cache)} | leftovers
    assert shown["bytes"] == sum(each["bytes"] for each in shown["garbage"]) > 100_000
    went = await gateway.delete("/garbage?keep=1")
    assert {(each["kind"], each["name"]) for each in went["garbage"]} == found
    assert sorted(os.listdir(gateway.data / "builds")) == sorted(ids[1:])
    assert len(os.listdir(gateway.data / "environments")) == 1
    assert sorted(os.listdir(gateway.data / "logs" / "builds")) == sorted(
        [f"{ids[1]}.log", f"{ids[2]}.log", "young.log"]
    )
    assert not (gateway.data / cache).exists()
    assert os.listdir(gateway.data / "trash") == []
    assert sources.exists()
    assert (await gateway.get("/garbage", keep=1))["garbage"] == []
    numbers = [b["build_number"] for b in (await gateway.get(f"{model}/builds"))["model_builds"]]
    assert numbers == [2, 3]
    assert (await gateway.call(await gateway.key(model), {"a": 1, "b": 2})).status_code == 200


async def test_a_deployment_at_the_same_time(gateway: Gateway, tmp_path: Path) -> None:
    """Of a build that is asked for and collected at once, either the deployment serves or it was
    refused: never does one serve from a build that is gone."""
    model = await gateway.model(await gateway.project(copy_of("add", tmp_path)))
    key = await gateway.key(model)
    latest = await gateway.built(model, "add.py:add")
    for _ in range(4):
        older, latest = latest, await gateway.built(model, "add.py:add")
        answers: list[Any] = []

        async def deploy(build: str = older, answers: list[Any] = answers) -> None:
            answers.append(await gateway.admin.post(f"{build}/deployments", json={}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deploy)
            nursery.start_soon(gateway.delete, "/garbage?keep=1")
        (answer,) = answers
        if answer.status_code == 200:
            deployment = f"{older}/deployments/{answer.json()['id']}"
            await gateway.until(deployment, status_is("deployed"))
            assert (await gateway.call(key, {"a": 1, "b": 2})).status_code == 200
        else:
            assert refusal(answer) in ((404, "build.notfound"), (409, "state.conflict"))


async def test_how_many_to_keep(gateway: Gateway) -> None:
    """At least the latest build of each model stays."""
    for keep in ("0", "-1", "x", "²"):
        answer = await gateway.admin.delete(f"/garbage?keep={keep}")
        assert refusal(answer) == (400, "argument.invalid")


async def test_files_that_nothing_shares_go(gateway: Gateway) -> None:
    """A shared file whose last environment is gone is garbage; one that is in use stays."""
    files = gateway.data / "files/shared/ab"
    files.mkdir(parents=True)
    (files / "used").write_bytes(b"x" * 9000)
    os.link(files / "used", gateway.data / "used")
    (files / "unused").write_bytes(b"x" * 9000)
    found = await gateway.get("/garbage")
    assert [(g["kind"], g["name"]) for g in found["garbage"]] == [("cache", "files")]
    assert 9000 <= found["garbage"][0]["bytes"] < 18000
    await gateway.delete("/garbage")
    assert [path.name for path in files.iterdir()] == ["used"]
