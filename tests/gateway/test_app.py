"""The application as a whole: which requests need a key, and what every answer has."""

import re
import uuid
from collections.abc import AsyncIterator

import pytest

from gateway.admin.route_table import ROUTES
from tests.faults.matrix import fault
from tests.gateway.conftest import Samples
from tests.support.gateway import Gateway, refusal

ADDRESSES = [(route.method, route.openapi_path) for route in ROUTES]


@fault(
    "the admin API without a key",
    injection="every route",
    bound="401, but for what is marked public",
)
@pytest.mark.parametrize(("method", "path"), ADDRESSES)
async def test_every_admin_route_wants_the_key(shared: Gateway, method: str, path: str) -> None:
    """Without the key every route of the admin API answers 401, and looks at nothing else."""
    path = re.sub("{.*?}", "x", path)
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        response = await shared.models.request(method, path, content=b"{", headers=header)
        assert refusal(response) == (401, "auth.required")


async def test_nothing_below_the_prefix_is_told_without_the_key(shared: Gateway) -> None:
    """Without the key there is no telling which paths exist."""
    for path in ("/api/v2", "/api/v2/", "/api/v2/nothing", "/api/v2/projects/"):
        assert refusal(await shared.models.get(path)) == (401, "auth.required")


async def test_the_scheme_may_be_written_in_any_case(shared: Gateway) -> None:
    """`bearer` is the same as `Bearer`."""
    key = (shared.data / "admin.key").read_text().strip()
    response = await shared.models.get(
        "/api/v2/projects", headers={"authorization": f"bearer {key}"}
    )
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/openapi.json"])
async def test_what_is_public(shared: Gateway, path: str) -> None:
    """Health and description are for everybody."""
    response = await shared.models.get(path)
    assert response.status_code == 200
    assert response.json()


async def test_isolation_is_told(shared: Gateway) -> None:
    """Health names the level of isolation that is in force."""
    health = (await shared.models.get("/healthz")).json()
    assert health["status"] == "ok"
    assert health["isolation"] in ("users", "userns", "landlock", "none")


async def test_the_description_is_whole(shared: Gateway) -> None:
    """The OpenAPI document has each route, unique operations, and every schema it refers to."""
    described = (await shared.models.get("/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    assert sorted((method, path) for method, path, _ in operations) == sorted(ADDRESSES)
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for _, path, operation in operations:
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
    schemas = set(described["components"]["schemas"])
    assert set(re.findall(r'#/components/schemas/(\w+)"', str(described).replace("'", '"'))) <= (
        schemas
    )


async def test_every_answer_has_an_id(shared: Gateway, samples: Samples) -> None:
    """Each answer, good or bad, has an X-Request-Id of its own."""
    answers = [
        await shared.models.get("/livez"),
        await shared.models.get("/nothing"),
        await shared.models.get("/api/v2/projects"),
        await shared.admin.get("/projects"),
        await shared.call(samples.add, {"a": 1, "b": 1}),
        await shared.call("", 1),
    ]
    assert len({uuid.UUID(answer.headers["x-request-id"]) for answer in answers}) == len(answers)


@pytest.mark.parametrize(
    ("method", "path", "refused"),
    [
        ("GET", "/nothing", (404, "route.notfound")),
        ("POST", "/livez", (405, "route.method")),
        ("GET", "/model", (405, "route.method")),
        ("GET", "/model/x/y", (404, "route.notfound")),
    ],
)
async def test_what_is_not_there(
    shared: Gateway, method: str, path: str, refused: tuple[int, str]
) -> None:
    """An unknown path is 404 and a wrong method 405, in JSON."""
    assert refusal(await shared.models.request(method, path)) == refused


@pytest.mark.parametrize(
    ("method", "path", "refused"),
    [
        ("GET", "/nothing", (404, "route.notfound")),
        ("DELETE", "/projects", (405, "route.method")),
        ("GET", "/projects/x", (404, "project.notfound")),
        ("GET", "/projects/x/models/y", (404, "model.notfound")),
        ("GET", "/projects/x/models/y/builds/z", (404, "model.notfound")),
    ],
)
async def test_what_the_admin_api_does_not_have(
    shared: Gateway, method: str, path: str, refused: tuple[int, str]
) -> None:
    """The admin API names the noun that is not there."""
    assert refusal(await shared.admin.request(method, path)) == refused


async def test_other_bodies_than_json(shared: Gateway, samples: Samples) -> None:
    """A body that says it is something else, or is encoded, is 415; one without a type is read."""
    body = b'{"accessKey":"%s","request":{"a":3,"b":5}}' % samples.add.encode()
    for headers in (
        {"Content-Type": "text/html"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ):
        response = await shared.models.post("/model", content=body, headers=headers)
        assert refusal(response) == (415, "request.media")
    for headers in ({}, {"Content-Type": "application/json; charset=utf-8"}):
        response = await shared.models.post("/model", content=body, headers=headers)
        assert response.json()["response"] == 8
    response = await shared.admin.post(
        "/projects", content=b"{}", headers={"Content-Type": "text/html"}
    )
    assert refusal(response) == (415, "request.media")


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_a_request(shared: Gateway, samples: Samples, chunked: bool) -> None:
    """More than 5 MB is 413, announced or not, and the next request is served."""
    body = b'{"accessKey":"%s","request":"%s"}' % (samples.badly.encode(), b"x" * 6_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    response = await shared.models.post("/model", content=pieces() if chunked else body)
    assert refusal(response) == (413, "request.toolarge")
    assert "success" not in response.json()
    assert (await shared.call(samples.add, {"a": 3, "b": 5})).json()["response"] == 8


async def test_as_large_as_it_may_be(shared: Gateway, samples: Samples) -> None:
    """A request of nearly 5 MB goes through to the model and back."""
    text = "x" * (5 * 1024 * 1024 - 200)
    response = await shared.call(samples.badly, {"do": "echo", "text": text})
    assert response.json()["response"]["text"] == text


async def test_an_admin_body_has_a_smaller_limit(shared: Gateway) -> None:
    """Descriptions over 128 KiB are refused."""
    response = await shared.admin.post("/projects", json={"name": "x" * 150_000})
    assert refusal(response) == (413, "request.toolarge")


async def test_browsers_may_call_models_from_anywhere(shared: Gateway, samples: Samples) -> None:
    """A preflight for a model is answered for any origin, and so is the call; not the admin API."""
    asked = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST"}
    for path in ("/model", "/models/add", "/api/altus-ds-1/models/call-model"):
        response = await shared.models.options(path, headers=asked)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert "content-type" in response.headers["access-control-allow-headers"]
        assert "authorization" in response.headers["access-control-allow-headers"]
        # Scripts that trace requests add headers of their own.
        assert response.headers["access-control-allow-headers"].endswith(", *")
    for key in (samples.add, "wrong"):
        called = await shared.call(key, {"a": 1, "b": 1})
        assert called.headers["access-control-allow-origin"] == "*"
    admin = await shared.models.options("/api/v2/projects", headers=asked)
    assert "access-control-allow-origin" not in admin.headers


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"name":5}', b"\xff", b"[" * 100_000, b'{"description":"x"}']
)
async def test_a_body_that_does_not_fit(shared: Gateway, body: bytes) -> None:
    """An admin body that is not what the route takes is 400 and says so."""
    response = await shared.admin.post(
        "/projects", content=body, headers={"Content-Type": "application/json"}
    )
    assert refusal(response) == (400, "argument.invalid")
