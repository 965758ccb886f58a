"""Test Model: calls a model as its callers do, and shows the answer with the lines that it printed.

The request is typed as JSON, or in a form of fields where the example is a flat object.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import trio

from gateway.control.records import NotFound
from gateway.errors import Refusal
from gateway.web.api import ModelAnswer, url
from gateway.web.model_form import not_json
from gateway.web.routing import PageRequest

MOST_FIELDS = 20
PREFIX = "field."
_LOG_LINES = 200
_LOG_DELAY = 0.2  # seconds; a replica's last lines come after its answer
_TEST_KEY = "made by Test Model"
# One is made for each page on which none is typed, so they must not pile up.
_TEST_KEY_LASTS = timedelta(days=1)


class InputField(NamedTuple):
    """A field of a form that is made from an example."""

    name: str
    kind: str  # "number", "checkbox" or "text"
    text: str


class PrintedLine(NamedTuple):
    stream: str
    text: str


class TestResult(NamedTuple):
    """What a test has shown. `key` is the key that was made for it, or ""."""

    answer: ModelAnswer
    success: bool
    response: str
    replica: str
    lines: list[PrintedLine]
    key: str = ""

    @property
    def shown(self) -> str:
        """The body as callers get it, in lines."""
        return pretty(self.answer.body)


def pretty(text: str) -> str:
    """JSON text in lines; any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def fields_of(example: Any) -> list[InputField]:
    """The fields of a flat example; none for any other."""
    if not isinstance(example, dict) or not 0 < len(example) <= MOST_FIELDS:
        return []
    return (
        []
        if any(isinstance(v, dict | list) for v in example.values())
        else [_field(name, value) for name, value in example.items()]
    )


def _field(name: str, value: Any) -> InputField:
    if isinstance(value, bool):
        return InputField(name, "checkbox", "on" if value else "")
    if isinstance(value, int | float):
        return InputField(name, "number", json.dumps(value))
    return InputField(name, "text", value or "")


def typed_fields(fields: list[InputField], form: Mapping[str, str]) -> list[InputField]:
    """The fields with what was typed into a form."""
    return [field._replace(text=form.get(PREFIX + field.name, "")) for field in fields]


def request_of(fields: list[InputField], example: Mapping[str, Any]) -> str:
    """The request as JSON text. What is no number is sent as the text that it is."""
    return json.dumps({field.name: _value(field, example[field.name]) for field in fields})


def _value(field: InputField, before: Any) -> Any:
    if field.kind == "checkbox":
        return bool(field.text)
    if field.kind == "text":
        return None if before is None and not field.text else field.text
    try:
        number = json.loads(field.text)
    except ValueError:
        return field.text
    return number if isinstance(number, int | float) else field.text


def check_request(text: str) -> bytes:
    """The request as JSON. Raises Refusal for other text."""
    try:
        return bytes(msgspec.json.decode(text.encode(), type=msgspec.Raw))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Refusal("argument.invalid", f"request: {not_json(error)}") from error


async def test_model(page: PageRequest, model: dict[str, Any], text: str) -> TestResult:
    """Calls the model once. Raises Refusal for a request that is no JSON."""
    payload = check_request(text)
    key, made = page.form.get("key", "").strip(), ""
    if not key and page.form.get("make_key"):
        path = url("users", page.user.name, "model_keys")
        ends = (datetime.now(UTC) + _TEST_KEY_LASTS).isoformat()
        asked = {"comment": _TEST_KEY, "expiry_date": ends}
        key = made = (await page.api.post(path, asked))["api_key"]
    body = b'{"accessKey":%b,"request":%b}' % (msgspec.json.encode(model["access_key"]), payload)
    answer = await page.api.call_model(body, key)
    reply = _object(answer.body)
    success = answer.status == 200 and reply.get("success") is True
    response = pretty(json.dumps(reply.get("response"), ensure_ascii=False)) if success else ""
    lines = await _lines(page, model, answer.request_id)
    return TestResult(answer, success, response, str(reply.get("ReplicaID", "")), lines, made)


async def _lines(page: PageRequest, model: dict[str, Any], request_id: str) -> list[PrintedLine]:
    """What the replica printed for the request."""
    path = url("projects", model["project"]["id"], "models", model["id"], "logs")
    await trio.sleep(_LOG_DELAY)
    try:
        lines = await page.api.lines(path, request=request_id, tail=_LOG_LINES)
        return [PrintedLine(each["stream"], each["text"]) for each in lines]
    except (Refusal, NotFound):
        return []


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
