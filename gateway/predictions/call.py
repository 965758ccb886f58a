"""The hot path: from the bytes of a call to a pool, and from an outcome to the bytes of a response.

Both servers use this file and nothing else, so their response bodies are the same. Only the
envelope is decoded; the payload stays raw JSON, which is checked and passed on. This path runs no
SQL, writes no log line and starts no task. Refusals and failures of the model become the bodies
that CDSW's clients parse (errors.py).
"""

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from gateway.errors import Refusal, model_body
from gateway.identity.key_index import CDSW_FORBIDDEN, IndexedKey
from gateway.identity.principal import token_in
from gateway.predictions.endpoints import Endpoint, Endpoints
from gateway.predictions.envelope import Envelope
from gateway.predictions.offload import envelope_in
from workers import (
    Answered,
    Busy,
    Died,
    NotReady,
    Outcome,
    Pool,
    Raised,
    Refused,
    TimedOut,
)

JSON = "application/json; charset=utf-8"
CALL_PATHS = ("/model", "/api/altus-ds-1/models/call-model")
NAMED_PATH = "/models/"
# Below this size, copying costs less than a second write.
_LARGE = 64 * 1024
_SUCCESS = b'{"success":true,"response":'
# For browsers: on every response, and on a preflight.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "retry-after, x-request-id",
}
PREFLIGHT = {
    # `*` covers the headers that tracing tools add in browsers (`traceparent`, `baggage`). It does
    # not cover `authorization`.
    "Access-Control-Allow-Headers": "authorization, content-type, x-access-key, x-request-timeout,"
    " *",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Max-Age": "600",
    "Allow": "POST, OPTIONS",
}


class ModelCall(msgspec.Struct):
    """What the head of a request says of a call.

    `name` is the model's name or id, where the path has one. `key` is an access key outside of the
    body, `token` the caller's Model API key. `limit` is how many seconds the caller waits for a
    replica. `caller` is the owner of the token once it has been looked up. `test` says that it is
    marked as a test (`X-Predictd-Test`).
    """

    name: str | None = None
    key: str = ""
    token: str = ""
    limit: float | None = None
    caller: IndexedKey | None = None
    test: bool = False


class CallResponse(msgspec.Struct, frozen=True):
    """A response to a call, the same from both servers.

    A large answer of a model is not copied: `before` and `after` stand around it.
    """

    status: int
    body: bytes | bytearray
    headers: dict[str, str] = {}
    before: bytes = b""
    after: bytes = b""

    @property
    def size(self) -> int:
        """The size of the whole body in bytes."""
        return len(self.before) + len(self.body) + len(self.after)

    @property
    def whole(self) -> bytes:
        return b"".join((self.before, self.body, self.after))


def is_call(method: str, path: str) -> bool:
    """Whether a request with this method and path is answered as callers of models are. The model
    need not exist. `GET /models/NAME` is a page."""
    if path in CALL_PATHS:
        return True
    return path.startswith(NAMED_PATH) and method not in ("GET", "HEAD")


def parse_call(
    method: str, path: str, query: str, header: Callable[[str], str | None]
) -> ModelCall | CallResponse:
    """Reads the head of a request for a call path, or responds where the head suffices.

    `path` is percent-decoded, `query` is not. `header` returns a header by its lower-case name.
    Raises Refusal where the body does not matter.
    """
    if method == "OPTIONS":
        return CallResponse(204, b"", PREFLIGHT)
    if method != "POST":
        allow = {"Allow": PREFLIGHT["Allow"]}
        raise Refusal("route.method", f"{path} does not take {method}", headers=allow)
    media = (header("content-type") or "").partition(";")[0].strip().lower()
    if media and "json" not in media:
        raise Refusal("request.media", f"{media} is not application/json")
    if (header("content-encoding") or "identity").strip().lower() != "identity":
        raise Refusal("request.media", "the body has a content-encoding; send it without one")
    name = path.removeprefix(NAMED_PATH) if path.startswith(NAMED_PATH) else None
    key = header("x-access-key") or parse_qs(query).get("accessKey", [""])[-1]
    return ModelCall(
        name,
        key,
        token_in(header("authorization")),
        _read_limit(header("x-request-timeout")),
        test=(header("x-predictd-test") or "0").strip() != "0",
    )


def _read_limit(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise Refusal("request.invalid", f"X-Request-Timeout is {text!r}, not a number of seconds")
    return seconds


def offloaded_envelope(outcome: Outcome, body: bytes | bytearray) -> Envelope:
    """The envelope of a large body that the offload pool has read.

    Raises InvalidEnvelope, or Refusal where the pool did not read it.
    """
    envelope = envelope_in(outcome, body)
    if isinstance(envelope, Envelope):
        return envelope
    if isinstance(envelope, Busy):
        text = "too many large requests are being read"
        after = {"Retry-After": str(envelope.retry_after)}
        raise Refusal("gateway.overloaded", text, headers=after)
    if isinstance(envelope, NotReady):  # as when the gateway stops
        text = "large requests cannot be read now"
        raise Refusal("model.notready", text, headers={"Retry-After": "1"})
    raise Refusal("internal", "a large request could not be read")


def find_endpoint(endpoints: Endpoints, call: ModelCall, envelope: Envelope) -> Endpoint:
    """The model that a call is for. Raises Refusal."""
    key = envelope.accessKey or call.key
    endpoint = endpoints.by_access_key(key) or _find(endpoints, key)
    if call.name is not None and call.name not in (endpoint.name, endpoint.model_id):
        # Does not disclose which names exist to a client without their keys.
        raise Refusal("model.accesskey", f"the access key is not that of a model {call.name!r}")
    return endpoint


def admit(endpoints: Endpoints, endpoint: Endpoint, call: ModelCall, flow: str) -> tuple[Pool, str]:
    """The pool for a call of this model, and the flow: that of the caller's key where the model
    requires one, else `flow`. Raises Refusal."""
    if endpoint.may_call is not None:
        # A refused caller stays remembered: `response_to` looks at it for running requests.
        caller = endpoints.callers.check(call.caller, call.token, endpoint.name, endpoint.may_call)
        call.caller = caller
        flow = caller.flow
    if endpoint.pool is None:
        raise _absent(endpoint)
    return endpoint.pool, flow


def _absent(endpoint: Endpoint) -> Refusal:
    if not endpoint.absence:
        return Refusal("model.notready", f"the model {endpoint.name!r} is not deployed")
    text = f"the model {endpoint.name!r} is not ready: {endpoint.absence}"
    return Refusal("model.notready", text, advice="wait: it serves by itself as soon as it can")


def _find(endpoints: Endpoints, key: str) -> Endpoint:
    """The model of a key that may have blanks around it."""
    key = key.strip()
    if not key:
        raise Refusal("model.accesskey", "the request has no access key")
    endpoint = endpoints.by_access_key(key)
    if endpoint is None:
        raise Refusal("model.accesskey", "no model has this access key")
    return endpoint


def response_to(
    endpoints: Endpoints, model_id: str, outcome: Outcome, call: ModelCall, flow: str
) -> CallResponse:
    """The response to a call whose ticket was queued in `flow`. Raises Refusal for a failure."""
    caller = call.caller
    if caller is not None and flow == caller.flow:
        # The response to the revocation said that the key gives no access any more.
        if caller.revoked:
            raise Refusal("model.unauthorized", "the key was revoked while the request waited")
        if not endpoints.may_still_call(model_id, caller.user_id):
            text = "the key's user may not call the model any more"
            raise Refusal("model.forbidden", text, extra=CDSW_FORBIDDEN)
    if isinstance(outcome, Answered):
        size = len(outcome.body)
        rest = f',"ReplicaID":"{outcome.replica}","Size":{size},"StatusCode":200}}'
        if size < _LARGE:
            return CallResponse(200, b"".join((_SUCCESS, outcome.body, rest.encode())))
        return CallResponse(200, outcome.body, before=_SUCCESS, after=rest.encode())
    raise _refusal(outcome)


def refusal_response(refused: Refusal, request_id: str) -> CallResponse:
    return CallResponse(refused.kind.status, model_body(refused, request_id), refused.headers)


def _refusal(outcome: Outcome) -> Refusal:
    match outcome:
        case Raised(kind, message, replica, number):
            text = f"unexpected model shutdown: {kind}: {message}"
            return Refusal("model.error", text, extra={"ReplicaID": replica}, request_id=number)
        case Died(reason, replica, number):
            text = f"unexpected model shutdown: {reason}"
            return Refusal("model.shutdown", text, extra={"ReplicaID": replica}, request_id=number)
        case Refused(message, replica):
            advice = "correct the request: the model does not take it"
            extra = {"ReplicaID": replica}
            return Refusal("request.invalid", message, advice=advice, extra=extra)
        case TimedOut(seconds, replica, because, number):
            late = f"the prediction did not end within {seconds:.3g} s"
            text = "; ".join(filter(None, (late, because)))
            return Refusal("model.timeout", text, extra={"ReplicaID": replica}, request_id=number)
        case Busy(reason, retry_after):
            return Refusal("model.busy", reason, headers={"Retry-After": str(retry_after)})
        case NotReady(reason, retry_after):
            return Refusal("model.notready", reason, headers={"Retry-After": str(retry_after)})
        case _:
            raise AssertionError(f"{outcome} has no response")
