"""The hot path: from the bytes of a request to the bytes of a reply, whoever carries them.

Only the envelope is decoded; the payload stays raw JSON that is checked and passed on. No SQL, no
log line and no task of its own on this path. Refusals and failures of the model become the bodies
that CDSW's clients parse (errors.py).
"""

import msgspec

from gateway.errors import Refusal, model_body
from gateway.routes import Ambiguous, Routes, Target
from workers import (
    Answered,
    Busy,
    Died,
    NotReady,
    Outcome,
    Raised,
    Refused,
    TimedOut,
)

JSON = "application/json; charset=utf-8"


class Envelope(msgspec.Struct, frozen=True):
    """What a client sends. Keys that are not named here are nobody's business."""

    request: msgspec.Raw
    accessKey: str | None = None  # noqa: N815 - spelled so by clients


class Reply(msgspec.Struct, frozen=True):
    """What goes back: the same for every listener."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


_decoder = msgspec.json.Decoder(Envelope)


def read_envelope(body: bytes) -> Envelope:
    """The envelope of a request. Raises Refusal("request.invalid") saying what is wrong with it."""
    try:
        # msgspec passes raw parts on without looking at their encoding.
        str(body, "utf-8")
        return _decoder.decode(body)
    except UnicodeDecodeError as error:
        raise Refusal("request.invalid", f"the body is not UTF-8 (byte {error.start})") from error
    except msgspec.ValidationError as error:
        raise Refusal("request.invalid", f"the body is not a request: {error}") from error
    except msgspec.DecodeError as error:
        raise Refusal("request.invalid", f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise Refusal("request.invalid", "the body is nested too deeply") from error


def find_by_key(routes: Routes, key: str | None) -> Target:
    """The model that an access key names. Raises Refusal("model.accesskey")."""
    key = (key or "").strip()
    if not key:
        raise Refusal("model.accesskey", "the request has no access key")
    target = routes.by_access_key(key)
    if target is None:
        raise Refusal("model.accesskey", "no model has this access key")
    return target


def find_by_name(routes: Routes, name: str, key: str | None) -> Target:
    """The model of that name or id, if the access key is its own."""
    target = routes.by_name_or_id(name)
    if isinstance(target, Ambiguous):
        ids = ", ".join(target.model_ids)
        raise Refusal("model.notfound", f"several models are called {name!r}: use an id of {ids}")
    # An unknown name and a wrong key look the same to whoever has no key.
    if target is None or find_by_key(routes, key).model_id != target.model_id:
        raise Refusal("model.accesskey", f"the access key is not that of a model {name!r}")
    return target


async def predict(target: Target, request: bytes, flow: str) -> Outcome:
    """The outcome of one prediction. Raises Refusal("model.notready") where nothing is deployed."""
    if target.pool is None:
        raise Refusal("model.notready", f"the model {target.name!r} is not deployed")
    return await target.pool.predict(request, flow)


def reply_to(outcome: Outcome, request_id: str) -> Reply:
    """What the caller is told."""
    if isinstance(outcome, Answered):
        parts = (
            b'{"success":true,"response":',
            outcome.body,
            b',"ReplicaID":"',
            outcome.replica.encode(),
            b'","Size":%d,"StatusCode":200}' % len(outcome.body),
        )
        return Reply(200, b"".join(parts))
    return refuse(_refusal(outcome), request_id)


def refuse(refused: Refusal, request_id: str) -> Reply:
    return Reply(refused.entry.status, model_body(refused, request_id), refused.headers)


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
        case TimedOut(seconds, replica):
            text = f"the prediction did not end within {seconds:.3g} s"
            return Refusal("model.timeout", text, extra={"ReplicaID": replica})
        case Busy(reason, retry_after):
            return Refusal("model.busy", reason, headers={"Retry-After": str(retry_after)})
        case NotReady(reason):
            return Refusal("model.notready", reason, headers={"Retry-After": "1"})
        case _:
            raise AssertionError(f"nobody reads {outcome}")
