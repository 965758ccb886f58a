"""The hot path: from the bytes of a request to the bytes of a reply, whoever carries them.

Both ways to a model, the front door's own connections and the route in Quart, decide here and
nowhere else, so their bodies are the same. Only the envelope is decoded; the payload stays raw JSON
that is checked and passed on. No SQL, no log line and no task on this path. Refusals and failures
of the model become the bodies that CDSW's clients parse (errors.py).
"""

from collections.abc import Callable
from urllib.parse import parse_qs

import msgspec

from gateway.errors import Refusal, model_body
from gateway.identity.key_index import FORBIDDEN, IndexedKey
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
# Copying less than this costs less than sending it apart.
_LARGE = 64 * 1024
_SUCCESS = b'{"success":true,"response":'
# What browsers are told, on every reply and before a request.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "retry-after, x-request-id",
}
PREFLIGHT = {
    # `*` is for what tools for tracing add in browsers (`traceparent`, `baggage`); it does not
    # stand for `authorization`.
    "Access-Control-Allow-Headers": "authorization, content-type, x-access-key, x-request-timeout,"
    " *",
    "Access-Control-Allow-Methods": "POST, OPTIONS",
    "Access-Control-Max-Age": "600",
    "Allow": "POST, OPTIONS",
}


class ModelCall(msgspec.Struct):
    """What the head of a request says of a call.

    `name` of a model or its id, where the path has one; `key`, an access key outside of the body;
    `token`, the caller's own key; `limit`, how many seconds the caller is willing to wait for a
    replica. `caller` is whose token it is, once somebody has looked.
    """

    name: str | None = None
    key: str = ""
    token: str = ""
    limit: float | None = None
    caller: IndexedKey | None = None


class CallResponse(msgspec.Struct, frozen=True):
    """What goes back: the same for every listener.

    A large answer of a model is not copied into its body: there is something `before` and `after`.
    """

    status: int
    body: bytes | bytearray
    headers: dict[str, str] = {}
    before: bytes = b""
    after: bytes = b""

    @property
    def size(self) -> int:
        """Of the whole body, in bytes."""
        return len(self.before) + len(self.body) + len(self.after)

    @property
    def whole(self) -> bytes:
        return b"".join((self.before, self.body, self.after))


def is_call(path: str) -> bool:
    """Whether who asks for this path is a caller of a model, even of one that is not there."""
    return path in CALL_PATHS or path.startswith(NAMED_PATH)


def parse_call(
    method: str, path: str, query: str, header: Callable[[str], str | None]
) -> ModelCall | CallResponse:
    """Reads the head of a request for a call path, all but its body, or answers it already.

    `path` is percent-decoded, `query` is not; `header` gives one by its name in small letters.
    Raises Refusal where the body need not even be read.
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
        raise Refusal("request.media", "the body is encoded; send it as it is")
    name = path.removeprefix(NAMED_PATH) if path.startswith(NAMED_PATH) else None
    key = header("x-access-key") or parse_qs(query).get("accessKey", [""])[-1]
    return ModelCall(
        name, key, token_in(header("authorization")), _read_limit(header("x-request-timeout"))
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
    """The envelope of a LARGE request, which the examiner has looked at.

    Raises NotAnEnvelope, or Refusal where it was not examined.
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


def resolve(
    routes: Endpoints, call: ModelCall, envelope: Envelope, flow: str
) -> tuple[Pool, bytes, str, str]:
    """Lets in a call: its pool, payload and flow, and the id of the model. The flow is the key's
    where one is needed, else `flow`. Raises Refusal."""
    key = envelope.accessKey or call.key
    target = routes.by_access_key(key) or _find(routes, key)
    if call.name is not None and call.name not in (target.name, target.model_id):
        # Says nothing about which names there are to whoever has no key of theirs.
        raise Refusal("model.accesskey", f"the access key is not that of a model {call.name!r}")
    if target.may_call is not None:
        # One that is refused stays remembered: answers under way look at it (`response_to`).
        caller = routes.callers.check(call.caller, call.token, target.name, target.may_call)
        call.caller = caller
        flow = caller.flow
    if target.pool is None:
        raise Refusal("model.notready", f"the model {target.name!r} is not deployed")
    return target.pool, bytes(envelope.request), flow, target.model_id


def _find(routes: Endpoints, key: str) -> Endpoint:
    """The model of a key that may have blanks around it."""
    key = key.strip()
    if not key:
        raise Refusal("model.accesskey", "the request has no access key")
    target = routes.by_access_key(key)
    if target is None:
        raise Refusal("model.accesskey", "no model has this access key")
    return target


def response_to(
    routes: Endpoints, model_id: str, outcome: Outcome, request_id: str, call: ModelCall, flow: str
) -> CallResponse:
    """The reply to the caller of a model, whose request was queued in `flow`."""
    caller = call.caller
    if caller is not None and flow == caller.flow:
        # The reply to the revocation said that the key gives no access any more.
        if not caller.live:
            refused = Refusal("model.unauthorized", "the key was revoked while the request waited")
            return refusal_response(refused, request_id)
        if not routes.may_still_call(model_id, caller.user_id):
            text = "the key's user may not call the model any more"
            refused = Refusal("model.forbidden", text, extra=FORBIDDEN)
            return refusal_response(refused, request_id)
    if isinstance(outcome, Answered):
        size = len(outcome.body)
        rest = f',"ReplicaID":"{outcome.replica}","Size":{size},"StatusCode":200}}'
        if size < _LARGE:
            return CallResponse(200, b"".join((_SUCCESS, outcome.body, rest.encode())))
        return CallResponse(200, outcome.body, before=_SUCCESS, after=rest.encode())
    return refusal_response(_refusal(outcome), request_id)


def refusal_response(refused: Refusal, request_id: str) -> CallResponse:
    return CallResponse(refused.kind.status, model_body(refused, request_id), refused.headers)


def _refusal(outcome: Outcome) -> Refusal:
    match outcome:
        case Raised(kind, message, replica):
            text = f"unexpected model shutdown: {kind}: {message}"
            return Refusal("model.error", text, extra={"ReplicaID": replica})
        case Died(reason, replica):
            text = f"unexpected model shutdown: {reason}"
            return Refusal("model.shutdown", text, extra={"ReplicaID": replica})
        case Refused(message, replica):
            return Refusal("request.invalid", message, extra={"ReplicaID": replica})
        case TimedOut(seconds, replica, because):
            late = f"the prediction did not end within {seconds:.3g} s"
            text = "; ".join(filter(None, (late, because)))
            return Refusal("model.timeout", text, extra={"ReplicaID": replica})
        case Busy(reason, retry_after):
            return Refusal("model.busy", reason, headers={"Retry-After": str(retry_after)})
        case NotReady(reason, retry_after):
            return Refusal("model.notready", reason, headers={"Retry-After": str(retry_after)})
        case _:
            raise AssertionError(f"nobody reads {outcome}")
