"""`/openapi.json`: what it says of the admin API is what the admin API does.

schemathesis makes requests from the description, fitting and unfitting ones, the same each time,
and compares the answers with what the description says of them.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from gateway.admin.route_table import ROUTES
from gateway.admin.routing.openapi import openapi
from gateway.errors import CATALOGUE
from tests.faults.matrix import fault
from tests.support.folders import NewFolder
from tests.support.gateway import Json, copy_of, in_a_process, speaking_to, url_in

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
)
CONFIG = """\
color = false

[auth.openapi.bearer]
bearer = "{key}"

[phases.coverage]
# Not TRACE and CONNECT: no server of HTTP/1.1 has to know these, and the gate says 501.
unexpected-methods = ["GET", "PUT", "POST", "DELETE", "PATCH"]

[parameters]
"path.project_id" = "{project}"
"path.model_id" = "{model}"
"path.build_id" = "{build}"
"path.username" = "bob"
"path.collaborator" = "bob"
"""

# Settings that a request could change so that the next ones get no answer.
FIXED = """\
max_connections = 10000
max_connections_per_address = 5000
"""


class Stage(NamedTuple):
    """A gateway with one of each noun, and a file that names them to schemathesis."""

    url: str
    config: Path


@pytest.fixture(scope="module")
def stage(new_folder: NewFolder) -> Iterator[Stage]:
    folder = new_folder("openapi")
    data = folder / "data"
    (folder / "fixed.toml").write_text(FIXED)
    with in_a_process(data, "--config", str(folder / "fixed.toml")):
        project, model, build = trio.run(_fill, folder, data)
        key = (data / "admin.key").read_text().strip()
        config = folder / "schemathesis.toml"
        config.write_text(CONFIG.format(key=key, project=project, model=model, build=build))
        yield Stage(url_in(data), config)


async def _fill(folder: Path, data: Path) -> list[str]:
    """The ids of a project, a model and a build that failed."""
    async with speaking_to(url_in(data), data) as gateway:
        project = await gateway.project(copy_of("add", folder))
        model = await gateway.model(project, "add")
        build = await gateway.build(model, "none.py:none")
        await gateway.post("/users", {"username": "bob"})
        return [path.rpartition("/")[2] for path in (project, model, build)]


@fault(
    "requests that fit the description, and do not",
    injection="schemathesis",
    bound="no 500, nothing undescribed",
)
@pytest.mark.parametrize(
    "methods", [("--exclude-method", "DELETE"), ("--include-method", "DELETE")]
)
def test_answers_match_the_description(stage: Stage, methods: tuple[str, str]) -> None:
    """No request that the description leads to fails in us, or is answered as it does not say."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(stage.config)]
    command += ["run", f"{stage.url}/openapi.json", "--checks", ",".join(CHECKS), *methods]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "10", "--seed", "1"]
    # It leaves a folder of what it has found where it runs.
    ran = subprocess.run(
        command, cwd=stage.config.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]


def test_routes_describe_every_answer() -> None:
    """Each route names its permission and its answers; refusals have one shape and known codes."""
    described = openapi(ROUTES)
    operations: list[Json] = [
        operation for path in described["paths"].values() for operation in path.values()
    ]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    statuses = {str(entry.status) for entry in CATALOGUE.values()}
    for operation in operations:
        assert operation["x-permission"]
        assert {"200", "400", "401", "403", "404", "421", "503"} <= set(operation["responses"])
        assert set(operation["responses"]) <= statuses | {"200"}
    refused = described["components"]["schemas"]["Refused"]
    codes = refused["properties"]["details"]["items"]["properties"]["code"]["enum"]
    assert codes == list(CATALOGUE)
