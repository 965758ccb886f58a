"""Numbers and dates at the edges of what their types hold, in every body and query: none is a 500.

The fields are found in the declarations of the routes, so a new one is tried without being added
here. Bodies are otherwise as they should be, for what would be refused for another reason tries
nothing.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.admin.route_table import ROUTES
from gateway.admin.routing.json_body import _alternatives
from gateway.admin.routing.route import AdminRoute
from tests.support.gateway import Gateway, copy_of

# As JSON: what Python's encoder would not write is among them.
EDGES = [
    "0",
    "-1",
    "-0.0",
    "0.5",
    "1e-320",
    "1e308",
    "-1e308",
    "1e400",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1" + "0" * 400,
    '"1e308"',
    '"1e400"',
    '"NaN"',
    '"-Infinity"',
    "NaN",
    "true",
    '"\\uff11"',
    '"9999-12-31T23:59:59-23:59"',
    '"0001-01-01T00:00:00+23:59"',
]
# What a body needs beside the field that is tried. No build has such a file: so none is made.
NEEDED: dict[str, dict[str, Any]] = {
    "CreateProject": {"name": "x", "template": "none"},
    "CreateModel": {
        "name": "x",
        "auto_build_model": True,
        "auto_build_config": {"file_path": "none.py", "function_name": "f"},
    },
    "CreateBuild": {"file_path": "none.py", "function_name": "f", "auto_deploy_model": True},
    "CreateExperiment": {"script": "none.py"},
    "DelayedMetrics": {"prediction_uuid": "none", "metrics": {}},
    "CreateUser": {"username": "x y"},
}


def _fields(kind: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of the fields of a Struct that are numbers or dates, or free."""
    described = msgspec.inspect.type_info(kind)
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        here = (*path, field.encode_name)
        for each in _alternatives(field.type):
            if isinstance(each, msgspec.inspect.StructType):
                yield from _fields(each.cls, here)
            elif isinstance(each, msgspec.inspect.IntType | msgspec.inspect.FloatType) or (
                field.encode_name.endswith("date")
            ):
                yield here


def _takes(route: AdminRoute) -> type[msgspec.Struct] | None:
    takes = route.body
    return takes if takes is not None and issubclass(takes, msgspec.Struct) else None


TRIED = [
    (route, kind.__name__, field)
    for route in ROUTES
    if (kind := _takes(route)) is not None
    for field in _fields(kind)
]
WITH_QUERIES = [r for r in ROUTES if r.query]


class Stage:
    """A gateway with a model that has a build, and the ids of its records."""

    def __init__(self, gateway: Gateway, there: dict[str, str]) -> None:
        self.gateway = gateway
        self.there = there

    def path(self, route: AdminRoute) -> str:
        return re.sub(r"<(?:path:)?(\w+)>", lambda m: self.there.get(m[1], "none"), route.path)

    async def alive(self) -> None:
        assert (await self.gateway.get("/site"))["version"]


@pytest.fixture
async def stage(gateway: Gateway, tmp_path: Path) -> Stage:
    project = await gateway.project(copy_of("add", tmp_path))
    model = await gateway.model(project)
    build = await gateway.built(model, "add.py:add")
    ids = [path.rpartition("/")[2] for path in (project, model, build)]
    names = ("project_id", "model_id", "build_id")
    return Stage(gateway, dict(zip(names, ids, strict=True)) | {"username": "admin"})


def test_known_fields_are_found() -> None:
    """The fields that this is about are among those that are found."""
    found = {(route.path.rpartition("/")[2], field[-1]) for route, _, field in TRIED}
    assert {("v2_keys", "expiry_date"), ("deployments", "cpu"), ("builds", "memory")} <= found
    assert {("settings", "max_connections"), ("aggregate", "start_timestamp_ms")} <= found
    assert {"tail", "before", "keep", "page_size"} <= {q for r in WITH_QUERIES for q in r.query}


async def test_number_in_a_body_is_no_500(stage: Stage) -> None:
    """It is accepted, or refused as the caller's mistake."""
    wrong = []
    for route, kind, field in TRIED:
        for edge in EDGES:
            body = _body(NEEDED.get(kind, {}), field, edge)
            headers = {"Content-Type": "application/json"}
            answer = await stage.gateway.admin.request(
                route.method, stage.path(route), content=body, headers=headers
            )
            if answer.status_code == 500:
                wrong.append((route.path, field, edge))
            elif answer.status_code == 200 and route.path == "/site/settings":
                await stage.gateway.delete(f"/site/settings/{field[0]}")
    assert wrong == []
    await stage.alive()


async def test_number_in_a_query_is_no_500(stage: Stage) -> None:
    """All are tried with every parameter, numeric or not."""
    wrong = []
    for route in WITH_QUERIES:
        needed = {"model_crn": await _crn(stage)} if route.path.startswith("/metrics") else {}
        for name in route.query:
            for edge in EDGES:
                query = needed | {name: edge.strip('"')}
                answer = await stage.gateway.admin.request(
                    route.method, stage.path(route), params=query
                )
                if answer.status_code == 500:
                    wrong.append((route.path, name, edge))
    assert wrong == []
    await stage.alive()


async def _crn(stage: Stage) -> str:
    model = f"/projects/{stage.there['project_id']}/models/{stage.there['model_id']}"
    return str((await stage.gateway.get(model))["crn"])


def _body(needed: dict[str, Any], path: tuple[str, ...], edge: str) -> bytes:
    """What is needed, and at the path what JSON calls this."""
    body: Any = msgspec.json.decode(msgspec.json.encode(needed))
    here = body
    for name in path[:-1]:
        here = here.setdefault(name, {})
    here[path[-1]] = "EDGE"
    return msgspec.json.encode(body).replace(b'"EDGE"', edge.encode())
