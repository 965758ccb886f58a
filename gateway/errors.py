"""The error catalogue: every code that a client can see, its HTTP status, who must act, and how.

Whatever goes wrong becomes a Refusal on its way out. Two bodies exist: the one that CDSW's model
clients parse, and the one of the admin API (`/api/v2`, in the manner of gRPC's gateway). A code
that is not in the catalogue cannot be raised; the README's table is tested against it.
"""

import errno
from http import HTTPStatus
from typing import Any

import msgspec

import builder
import store
from workers.process_limits import explain
from workers.shortages import is_shortage

# The admin API. What is asked beneath it gets `admin_body`.
API_PREFIX = "/api/v2"


class Entry(msgspec.Struct, frozen=True):
    """`who` acts: caller, author (of the model), later (wait and retry), operator, or us."""

    status: int
    grpc: int
    who: str
    advice: str


CATALOGUE: dict[str, Entry] = {
    # Calling a model.
    "model.busy": Entry(429, 8, "later", "retry after the given time, or deploy more replicas"),
    "model.error": Entry(500, 2, "author", "the function raised; its traceback is in the logs"),
    "model.shutdown": Entry(502, 14, "author", "the process ended; see the model's logs"),
    "model.timeout": Entry(504, 4, "author", "make the function quicker, or raise the time limit"),
    "model.notready": Entry(503, 14, "later", "deploy the model, or wait until it is ready"),
    "model.accesskey": Entry(401, 16, "caller", "use the access key shown by `predictd status`"),
    "model.unauthorized": Entry(401, 16, "caller", "send Authorization: Bearer <Model API key>"),
    "model.forbidden": Entry(403, 7, "caller", "ask the project's owner to let you call it"),
    "model.notfound": Entry(404, 5, "caller", "`predictd ls` lists the models there are"),
    "request.invalid": Entry(400, 3, "caller", 'send {"accessKey": "...", "request": ...} as JSON'),
    "request.toolarge": Entry(413, 8, "caller", "send a reference instead of the data itself"),
    "request.media": Entry(415, 3, "caller", "send Content-Type: application/json, not encoded"),
    "request.malformed": Entry(400, 3, "caller", "send HTTP/1.1 as RFC 9112 has it"),
    "request.slow": Entry(408, 4, "caller", "send the request without long pauses"),
    "request.head": Entry(431, 8, "caller", "send fewer or shorter headers, or a shorter URL"),
    "request.unsupported": Entry(501, 12, "caller", "use a usual method, and chunked or no coding"),
    "request.version": Entry(505, 12, "caller", "speak HTTP/1.1"),
    "request.host": Entry(421, 3, "caller", "ask by a known name, or add it to `allowed_hosts`"),
    "gateway.full": Entry(503, 14, "later", "retry in a moment, with fewer requests at once"),
    # The admin API.
    "auth.required": Entry(401, 16, "caller", "send Authorization: Bearer <API key>, or sign in"),
    "auth.refused": Entry(401, 16, "caller", "try again; a site administrator can set a password"),
    "auth.throttled": Entry(429, 8, "later", "wait for the given time, then try again"),
    "auth.link": Entry(401, 16, "caller", "`predictd open` makes a new one"),
    "auth.password": Entry(403, 7, "caller", "sign in with a browser and choose a password"),
    "auth.forbidden": Entry(403, 7, "caller", "ask the project's owner or a site administrator"),
    "auth.forged": Entry(403, 7, "caller", "send it from a page of the gateway, with its token"),
    "user.notfound": Entry(404, 5, "caller", "`predictd user ls` lists the users"),
    "membership.notfound": Entry(404, 5, "caller", "`predictd collaborator ls` lists them"),
    "key.notfound": Entry(404, 5, "caller", "`predictd key ls` lists the keys"),
    "argument.invalid": Entry(400, 3, "caller", "correct the named value and send it again"),
    "feature.missing": Entry(400, 12, "caller", "leave it out: this version does not have it"),
    "route.notfound": Entry(404, 5, "caller", "see /openapi.json for the routes there are"),
    "route.method": Entry(405, 12, "caller", "see /openapi.json for the methods of this route"),
    "project.notfound": Entry(404, 5, "caller", "`predictd project ls` lists the projects"),
    "build.notfound": Entry(404, 5, "caller", "`predictd builds MODEL` lists the builds"),
    "deployment.notfound": Entry(404, 5, "caller", "`predictd deployments MODEL` lists them"),
    "prediction.notfound": Entry(404, 5, "caller", "metrics go after `metrics_age` days"),
    "experiment.notfound": Entry(404, 5, "caller", "`predictd runs` lists the experiments"),
    "file.notfound": Entry(404, 5, "caller", "list the folder to see which files there are"),
    "name.taken": Entry(409, 6, "caller", "choose another name"),
    "state.conflict": Entry(409, 9, "caller", "look at its status, then try again"),
    "build.inuse": Entry(409, 9, "caller", "deploy another build or stop the model first"),
    "setting.notfound": Entry(404, 5, "caller", "`predictd site show` lists them"),
    "setting.fixed": Entry(409, 9, "operator", "change it there and restart the gateway"),
    "setting.restart": Entry(409, 9, "operator", "set it where `predictd serve` reads; restart"),
    "machine.isolation": Entry(400, 3, "operator", "`predictd doctor` says what is missing for it"),
    "machine.toosmall": Entry(400, 3, "caller", "ask for less, or use a larger machine"),
    "machine.full": Entry(503, 8, "later", "stop another model, or ask for less memory"),
    "machine.limits": Entry(503, 8, "operator", "`predictd doctor` shows the limits and their use"),
    "kernel.unknown": Entry(400, 3, "caller", "`predictd doctor` lists the interpreters there are"),
    "path.refused": Entry(400, 3, "caller", "name a path inside the project, relative to it"),
    "project.busy": Entry(429, 8, "later", "wait until some have ended, or stop some"),
    "project.full": Entry(507, 8, "caller", "delete builds, experiments or files of the project"),
    "disk.full": Entry(507, 8, "operator", "make room on the disk of the data folder"),
    "disk.failed": Entry(503, 14, "operator", "look at the data folder's disk: `dmesg`, `mount`"),
    "internal": Entry(500, 13, "us", "a mistake of predictd; its log has the traceback"),
}


# What a 401 has to say (RFC 9110): how one authenticates. Not `Basic`, though legacy keys are sent
# so: browsers would ask for a name and a password.
CHALLENGE = 'Bearer realm="predictd"'


class Refusal(Exception):
    """What a client is told instead of an answer. `code` is one of the catalogue's."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        advice: str = "",
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.entry = CATALOGUE[code]
        self.message = message
        self.advice = advice or self.entry.advice
        self.headers = headers or {}
        if self.entry.status == HTTPStatus.UNAUTHORIZED:
            self.headers = {"WWW-Authenticate": CHALLENGE, **self.headers}
        self.extra = extra or {}


def refusal(error: Exception) -> Refusal:
    """What an error means to a client. An error of a parser carries its `refusal_code`; what is
    in no table is "internal"."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, store.NotFound):
        return Refusal(f"{error.noun}.notfound", str(error))
    if code := getattr(error, "refusal_code", ""):
        return Refusal(code, str(error))
    for kind, code in _FROM_ENGINES.items():
        if isinstance(error, kind):
            if isinstance(error, builder.BuilderError):
                return Refusal(code, error.problem, advice=error.advice)
            return Refusal(code, str(error))
    if is_shortage(error):
        return Refusal("machine.limits", explain(error))
    if isinstance(error, OSError) and error.errno in _DISK:
        return Refusal(_DISK[error.errno], error.strerror or "the disk failed")
    return Refusal("internal", "something went wrong inside predictd")


# What a disk says when it has no room, may not be written or breaks.
_DISK = {
    errno.ENOSPC: "disk.full",
    errno.EDQUOT: "disk.full",
    errno.EROFS: "disk.failed",
    errno.EIO: "disk.failed",
}

_FROM_ENGINES: dict[type[Exception], str] = {
    store.NameTaken: "name.taken",
    store.IllegalTransition: "state.conflict",
    store.BuildInUse: "build.inuse",
    store.StoreFull: "disk.full",
    store.StoreFailed: "disk.failed",
    builder.UnknownKernel: "kernel.unknown",
    builder.CloneRefused: "argument.invalid",
}


def model_body(refused: Refusal, request_id: str) -> bytes:
    """The body for callers of a model: one that satisfies every parser in use.

    Failures of the model carry `"success":false`; refusals of ours carry no `success` at all.
    """
    told = {"code": refused.code, "message": refused.message, "advice": refused.advice}
    body: dict[str, Any] = {"success": False} if refused.entry.who == "author" else {}
    body |= {"errors": told, "error": told, "message": refused.message}
    body |= {"StatusCode": refused.entry.status, **refused.extra, "request_id": request_id}
    return msgspec.json.encode(body)


def admin_body(refused: Refusal) -> bytes:
    """The body for clients of `/api/v2`."""
    details = [{"code": refused.code, "who": refused.entry.who, "advice": refused.advice}]
    return msgspec.json.encode(
        {
            "error": refused.message,
            "code": refused.entry.grpc,
            "message": refused.message,
            "details": details,
        }
    )
