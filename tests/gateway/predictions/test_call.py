"""Calls: the envelope, the two bodies, and the responses to a failing model."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import refusal as refused
from gateway.predictions.envelope import InvalidEnvelope, read
from tests.faults.matrix import fault
from tests.gateway.conftest import Samples
from tests.support.gateway import Gateway, refusal


def reading(body: bytes) -> str:
    """Why an envelope is refused."""
    with pytest.raises(InvalidEnvelope) as wrong:
        read(body)
    assert refused(wrong.value).code == "request.invalid"
    return str(wrong.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"accessKey":"k","request":{"a":1}}',
        b'{"request":{"a":1},"accessKey":"k"}',
        b' {\n "accessKey" : "k" ,\t"request" : {"a":1} } ',
        b'{"accessKey":"k","other":[1,{"x":null}],"request":{"a":1}}',
        b'{"accessKey":"old","accessKey":"k","request":0,"request":{"a":1}}',
        b'{"\\u0061ccessKey":"k","request":{"a":1}}',
        b'\xef\xbb\xbf{"accessKey":"k","request":{"a":1}}',
    ],
    ids=["usual", "other order", "blanks", "more keys", "twice: the last", "escaped key", "mark"],
)
def test_envelope_in_any_form(body: bytes) -> None:
    """Order, blanks and further keys do not matter; of a repeated key the last counts."""
    envelope = read(body)
    assert (envelope.accessKey, bytes(envelope.request)) == ("k", b'{"a":1}')


@pytest.mark.parametrize("payload", ["[1,2]", "3.5", '"text"', "null", "true", "{}"])
def test_payload_is_forwarded_unchanged(payload: str) -> None:
    """The payload is any JSON value, and its bytes do not change."""
    body = f'{{"request": {payload} , "accessKey":null}}'.encode()
    assert bytes(read(body).request).strip() == payload.encode()


@fault(
    "odd envelopes",
    injection="what is JSON and no request",
    bound="400 with the reason",
)
@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is empty"),
        (b"a=1", "JSON"),
        (b'{"request":1', "it ends early"),
        (b'{"request":NaN}', "NaN at byte 11; send null"),
        (b'{"request":-Infinity}', "Infinity at byte 12; send null"),
        (b"{'request':1}", "' at byte 1; send text in double quotes"),
        (b'{"request":False}', "False at byte 11; send false"),
        (b'{"request":01}', "JSON"),
        (b'{"request":1} x', "JSON"),
        (b"[1]", "object"),
        (b'{"accessKey":"k"}', "request"),
        (b'{"accessKey":7,"request":1}', "accessKey"),
        (b'{"request":"\xff"}', "UTF-8"),
        (b'{"request":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"request":"half of a pair: \\ud800 ..."}', "half of a surrogate pair"),
        (b'{"request":"\\ud800"}', "half of a surrogate pair"),
        (b'{"request":"\\udc00"}', "half of a surrogate pair"),
        (b'{"request":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        ('{"request":1}'.encode("utf-16"), "the body is UTF-16"),
        ('{"request":1}'.encode("utf-16-le"), "the body is UTF-16"),
        ('{"request":"é"}'.encode("utf-16-be"), "the body is UTF-16"),
        (b"\xef\xbb\xbf" * 100_000 + b'{"request":1}', "JSON"),
    ],
    ids=lambda value: value[:20].decode("latin1") if isinstance(value, bytes) else value,
)
def test_invalid_envelope_is_refused_with_the_reason(body: bytes, why: str) -> None:
    """It is the caller's fault, and the message says what is wrong."""
    assert why in reading(body)


@pytest.mark.parametrize("first", ["/model", "/livez"], ids=["listener", "Quart"])
async def test_large_request_is_offloaded(shared: Gateway, samples: Samples, first: str) -> None:
    """It is answered or refused like any other, by both servers."""
    text = "\u00e9" * 500_000
    sent = json.dumps({"accessKey": samples.badly, "request": {"do": "echo", "text": text}})
    async with httpx.AsyncClient(base_url=shared.url, timeout=60) as client:
        await client.get(first)
        for body, status, said in (
            (sent.encode(), 200, text),
            (sent.replace("\\u00e9", "\u00e9").encode(), 200, text),
            (sent.encode()[:-1], 400, "JSON"),
            (sent.encode() + b"\xff", 400, "UTF-8"),
            (sent.replace(samples.badly, "m" * 32).encode(), 401, "access key"),
            (b'{"request":' + b"[" * 900_000, 400, "deep"),
        ):
            response = await client.post("/model", content=body)
            answer = response.json()
            assert response.status_code == status, answer["message"]
            assert said in (answer["response"]["text"] if status == 200 else answer["message"])


async def test_success_byte_by_byte(shared: Gateway, samples: Samples) -> None:
    """A success is exactly the body that clients know, with the replica and its size."""
    response = await shared.call(samples.add, {"a": 3, "b": 5})
    replica = response.json()["ReplicaID"]
    expected = f'{{"success":true,"response":8,"ReplicaID":"{replica}","Size":1,"StatusCode":200}}'
    assert response.content == expected.encode()
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert replica.startswith("add-1-1-")


async def test_all_ways_to_name_a_model(shared: Gateway, samples: Samples) -> None:
    """The key may be in the body or the query, with blanks around it; the old path answers too."""
    asked = {"request": {"a": 3, "b": 5}}
    header = {"X-Access-Key": samples.add}
    for path, body, headers in (
        ("/model", {"accessKey": f" {samples.add}\n", **asked}, {}),
        (f"/model?accessKey={samples.add}", asked, {}),
        (f"/model?accessKey=%20{samples.add}%20", asked, {}),
        (f"/model?accessKey={'m' * 32}", {"accessKey": samples.add, **asked}, {}),
        ("/api/altus-ds-1/models/call-model", {"accessKey": samples.add, **asked}, {}),
        ("/models/add", asked, header),
    ):
        response = await shared.models.post(path, json=body, headers=headers)
        assert response.json().get("response") == 8, (path, response.text)


@pytest.mark.parametrize("key", ["", "  ", "m" * 32, "é", "\x00"])
async def test_unknown_key_is_401(shared: Gateway, key: str) -> None:
    """A key of no model is 401."""
    assert refusal(await shared.call(key, 1)) == (401, "model.accesskey")


async def test_name_without_its_key_is_401(shared: Gateway, samples: Samples) -> None:
    """Only the model's own key opens its name, and an unknown name looks the same."""
    for name, key in (("add", samples.badly), ("add", ""), ("unknown", samples.add)):
        response = await shared.models.post(
            f"/models/{name}", json={"request": 1}, headers={"X-Access-Key": key}
        )
        assert refusal(response) == (401, "model.accesskey")


async def test_undeployed_model_is_503(shared: Gateway, samples: Samples) -> None:
    """At once."""
    response = await shared.call(samples.idle, 1)
    assert refusal(response) == (503, "model.notready")
    assert "success" not in response.json()


@pytest.mark.parametrize(
    ("request_", "status", "code", "said"),
    [
        ({"do": "raise", "text": "no luck"}, 500, "model.error", "ValueError: no luck"),
        ({"do": "unencodable"}, 500, "model.error", "$.not[0]"),
        ({"do": "exit", "status": 3}, 502, "model.shutdown", "3"),
        ({"do": "os_exit"}, 502, "model.shutdown", "4"),
        ({"do": "segfault"}, 502, "model.shutdown", "SIGSEGV"),
    ],
    ids=lambda value: value.get("do") if isinstance(value, dict) else "",
)
async def test_failing_model_gets_its_documented_response(
    shared: Gateway, samples: Samples, request_: Any, status: int, code: str, said: str
) -> None:
    """With the replica; the next call is served."""
    response = await shared.call(samples.badly, request_)
    body = response.json()
    assert refusal(response) == (status, code)
    assert body["success"] is False
    assert body["message"].startswith("unexpected model shutdown")
    assert said in body["message"]
    assert body["ReplicaID"].startswith("badly-")
    assert body["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    after = await shared.call(samples.badly, {"do": "echo"})
    assert after.json()["response"] == {"do": "echo"}


async def test_a_request_that_the_function_refuses_is_400(
    shared: Gateway, samples: Samples
) -> None:
    """`cdsw.InvalidRequest` reaches the caller as its own fault, and the same replica continues."""
    response = await shared.call(samples.badly, {"do": "invalid", "text": "no petal_length"})
    assert refusal(response) == (400, "request.invalid")
    assert response.json()["message"] == "no petal_length"
    after = await shared.call(samples.badly, {"do": "echo"})
    assert after.json()["ReplicaID"] == response.json()["ReplicaID"]


async def test_nan_in_a_response_is_null(shared: Gateway, samples: Samples) -> None:
    """Numbers that JSON does not have are null in an answer."""
    response = await shared.call(samples.badly, {"do": "nan"})
    assert response.json()["response"] == [None, None, 1.5]


texts = st.text(max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_json_comes_back_unchanged(samples: Samples, url: str, value: Any) -> None:
    """Any JSON value reaches the function as `json.loads` reads it, and comes back the same."""
    sent = json.dumps({"do": "echo", "value": value})
    body = f'{{"accessKey":"{samples.badly}","request":{sent}}}'
    response = httpx.post(f"{url}/model", content=body)
    assert response.status_code == 200, response.text
    back = json.loads(response.content)["response"]["value"]
    assert same(back, json.loads(sent)["value"])


def same(one: Any, other: Any) -> bool:
    """Equal, with -0.0 and True distinct from 0.0 and 1."""
    if isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in other)
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.fixture(scope="session")
def url(samples: Samples) -> str:
    return str(json.loads((samples.data / "gateway.json").read_text())["url"])
