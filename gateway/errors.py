"""The error catalogue: every code that a client can see, its HTTP status, who must act, and how.

Every error that reaches a client becomes a Refusal. There are two bodies: the one that CDSW's model
clients parse, and the one of the admin API (`/api/v2`, in the style of gRPC's gateway). A code is a
Literal, so the type checker refuses one that is not in the catalogue. The table in REFERENCE.md is
tested against it.
"""

import errno
from http import HTTPStatus
from typing import Any, Literal, get_args

import msgspec

import builder
import store
from workers.kernel_limits import explain
from workers.shortages import is_shortage

# The path of the admin API. Errors below it have the body `admin_body`.
API_PREFIX = "/api/v2"


Who = Literal["caller", "author", "retry", "operator", "server"]


class ErrorKind(msgspec.Struct, frozen=True):
    """What all errors of one code share. `who` says what is to be done by whom: the caller, the
    author of the model or the operator acts, the caller retries later (`retry`), or predictd has a
    defect (`server`)."""

    status: int
    grpc: int
    who: Who
    advice: str


Code = Literal[
    "model.busy",
    "model.error",
    "model.shutdown",
    "model.timeout",
    "model.notready",
    "model.accesskey",
    "model.unauthorized",
    "model.forbidden",
    "model.notfound",
    "request.invalid",
    "request.toolarge",
    "request.media",
    "request.malformed",
    "request.timeout",
    "request.head",
    "request.unsupported",
    "request.version",
    "request.host",
    "gateway.overloaded",
    "auth.required",
    "auth.refused",
    "auth.throttled",
    "auth.link_expired",
    "auth.password",
    "auth.forbidden",
    "auth.csrf",
    "user.notfound",
    "membership.notfound",
    "key.notfound",
    "argument.invalid",
    "feature.unsupported",
    "route.notfound",
    "route.method",
    "runtime.notfound",
    "project.notfound",
    "build.notfound",
    "build.notlocked",
    "deployment.notfound",
    "prediction.notfound",
    "experiment.notfound",
    "session.notfound",
    "file.notfound",
    "name.taken",
    "state.conflict",
    "build.refused",
    "build.inuse",
    "setting.notfound",
    "setting.fixed",
    "setting.restart",
    "machine.isolation",
    "resources.exceeded",
    "resources.busy",
    "machine.limits",
    "kernel.unknown",
    "path.refused",
    "project.busy",
    "project.full",
    "disk.full",
    "disk.failed",
    "internal",
]
CATALOGUE: dict[Code, ErrorKind] = {
    # Calling a model.
    "model.busy": ErrorKind(429, 8, "retry", "retry after the given time, or deploy more replicas"),
    "model.error": ErrorKind(500, 2, "author", "see the traceback in the model's logs"),
    "model.shutdown": ErrorKind(502, 14, "author", "see the model's logs: its process ended"),
    "model.timeout": ErrorKind(
        504, 4, "author", "make the function faster, or raise the time limit"
    ),
    "model.notready": ErrorKind(503, 14, "retry", "deploy the model, or wait until it is ready"),
    "model.accesskey": ErrorKind(
        401, 16, "caller", "use the access key that `predictd status` shows"
    ),
    "model.unauthorized": ErrorKind(
        401, 16, "caller", "send Authorization: Bearer <Model API key>"
    ),
    "model.forbidden": ErrorKind(
        403, 7, "caller", "ask the project's owner for the right to call the model"
    ),
    "model.notfound": ErrorKind(404, 5, "caller", "list the models with `predictd ls`"),
    "request.invalid": ErrorKind(
        400, 3, "caller", 'send {"accessKey": "...", "request": ...} as JSON'
    ),
    "request.toolarge": ErrorKind(413, 8, "caller", "send a reference instead of the data itself"),
    "request.media": ErrorKind(
        415, 3, "caller", "send Content-Type: application/json without an encoding"
    ),
    "request.malformed": ErrorKind(400, 3, "caller", "send HTTP/1.1 as RFC 9112 defines it"),
    "request.timeout": ErrorKind(408, 4, "caller", "send the request without long pauses"),
    "request.head": ErrorKind(431, 8, "caller", "send fewer or shorter headers, or a shorter URL"),
    "request.unsupported": ErrorKind(
        501, 12, "caller", "use a standard method, and chunked or no transfer coding"
    ),
    "request.version": ErrorKind(505, 12, "caller", "use HTTP/1.1"),
    "request.host": ErrorKind(
        421, 3, "caller", "use a known host name, or add it to `allowed_hosts`"
    ),
    "gateway.overloaded": ErrorKind(503, 14, "retry", "retry later, with fewer requests at once"),
    # The admin API.
    "auth.required": ErrorKind(
        401, 16, "caller", "send Authorization: Bearer <API key>, or sign in"
    ),
    "auth.refused": ErrorKind(
        401, 16, "caller", "try again; a site administrator can set a password"
    ),
    "auth.throttled": ErrorKind(429, 8, "retry", "wait for the given time, then try again"),
    "auth.link_expired": ErrorKind(401, 16, "caller", "make a new link with `predictd open`"),
    "auth.password": ErrorKind(403, 7, "caller", "sign in with a browser and choose a password"),
    "auth.forbidden": ErrorKind(
        403, 7, "caller", "ask the project's owner or a site administrator"
    ),
    "auth.csrf": ErrorKind(
        403, 7, "caller", "send it from a page of the gateway, with its form token"
    ),
    "user.notfound": ErrorKind(404, 5, "caller", "list the users with `predictd user ls`"),
    "membership.notfound": ErrorKind(
        404, 5, "caller", "list the roles with `predictd collaborator ls`"
    ),
    "key.notfound": ErrorKind(404, 5, "caller", "list the keys with `predictd key ls`"),
    "argument.invalid": ErrorKind(400, 3, "caller", "correct the named value and send it again"),
    "feature.unsupported": ErrorKind(
        400, 12, "caller", "leave it out: this version does not support it"
    ),
    "route.notfound": ErrorKind(404, 5, "caller", "see /openapi.json for the routes"),
    "route.method": ErrorKind(405, 12, "caller", "see /openapi.json for the methods of this route"),
    "runtime.notfound": ErrorKind(404, 5, "caller", "list the runtimes with `predictd runtime ls`"),
    "project.notfound": ErrorKind(404, 5, "caller", "list the projects with `predictd project ls`"),
    "build.notfound": ErrorKind(404, 5, "caller", "list the builds with `predictd build ls MODEL`"),
    "build.notlocked": ErrorKind(404, 5, "caller", "build the project again: new builds have one"),
    "deployment.notfound": ErrorKind(
        404, 5, "caller", "list them with `predictd deployment ls MODEL`"
    ),
    "prediction.notfound": ErrorKind(
        404, 5, "caller", "metrics are deleted after `metrics_retention_days` days"
    ),
    "experiment.notfound": ErrorKind(404, 5, "caller", "list them with `predictd experiment ls`"),
    "session.notfound": ErrorKind(404, 5, "caller", "open another session"),
    "file.notfound": ErrorKind(404, 5, "caller", "list the folder to see its files"),
    "name.taken": ErrorKind(409, 6, "caller", "choose another name"),
    "state.conflict": ErrorKind(409, 9, "caller", "check its status, then try again"),
    "build.refused": ErrorKind(400, 3, "caller", "correct the project's files, then try again"),
    "build.inuse": ErrorKind(409, 9, "caller", "deploy another build or stop the model first"),
    "setting.notfound": ErrorKind(404, 5, "caller", "list the settings with `predictd site show`"),
    "setting.fixed": ErrorKind(
        409, 9, "operator", "change it at its source and restart the gateway"
    ),
    "setting.restart": ErrorKind(
        409, 9, "operator", "change it at its source and restart the gateway"
    ),
    "machine.isolation": ErrorKind(
        400, 3, "operator", "run `predictd doctor` to see what is missing"
    ),
    "resources.exceeded": ErrorKind(400, 3, "caller", "ask for less, or use a larger machine"),
    "resources.busy": ErrorKind(503, 8, "retry", "stop another model, or ask for less memory"),
    "machine.limits": ErrorKind(
        503, 8, "operator", "run `predictd doctor` to see the limits and their use"
    ),
    "kernel.unknown": ErrorKind(400, 3, "caller", "run `predictd doctor` to list the interpreters"),
    "path.refused": ErrorKind(
        400, 3, "caller", "use a path inside the project, relative to its root"
    ),
    "project.busy": ErrorKind(429, 8, "retry", "wait until some of them end, or stop some"),
    "project.full": ErrorKind(
        507,
        8,
        "caller",
        "delete builds, experiments or files of the project, leave data out by .gitignore, or ask "
        "a site administrator to raise `project_disk`",
    ),
    "disk.full": ErrorKind(507, 8, "operator", "free space on the disk of the data folder"),
    "disk.failed": ErrorKind(503, 14, "operator", "check the data folder's disk: `dmesg`, `mount`"),
    "internal": ErrorKind(500, 13, "server", "report it with the traceback in the gateway's log"),
}


# A 401 must name the way to authenticate (RFC 9110). Not `Basic`, though legacy keys are sent that
# way: browsers would ask for a name and a password.
CHALLENGE = 'Bearer realm="predictd"'


class Refusal(Exception):
    """An error as a client sees it."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        advice: str = "",
        headers: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.kind = CATALOGUE[code]
        self.message = message
        self.advice = advice or self.kind.advice
        self.headers = headers or {}
        if self.kind.status == HTTPStatus.UNAUTHORIZED:
            self.headers = {"WWW-Authenticate": CHALLENGE, **self.headers}
        self.extra = extra or {}
        # The id of a request that a replica has failed, else "": any unique one.
        self.request_id = request_id


def refusal(error: Exception) -> Refusal:
    """The error as a client sees it. A parser's error carries its `refusal_code`; an error that no
    table lists is "internal"."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, store.NotFound) and error.noun in _NOT_FOUND:
        return Refusal(_NOT_FOUND[error.noun], str(error))
    if (code := getattr(error, "refusal_code", "")) in CATALOGUE:
        return Refusal(code, str(error))
    for kind, code in _FROM_PACKAGES.items():
        if isinstance(error, kind):
            if isinstance(error, builder.BuilderError):
                return Refusal(code, error.problem, advice=error.advice)
            return Refusal(code, str(error))
    if is_shortage(error):
        return Refusal("machine.limits", explain(error))
    if isinstance(error, OSError) and error.errno in _FROM_DISK:
        return Refusal(_FROM_DISK[error.errno], error.strerror or "the disk failed")
    return Refusal("internal", "internal error of predictd")


# By the noun of a record that does not exist.
_NOT_FOUND: dict[str, Code] = {
    code.removesuffix(".notfound"): code for code in get_args(Code) if code.endswith(".notfound")
}
_FROM_DISK: dict[int, Code] = {
    errno.ENOSPC: "disk.full",
    errno.EDQUOT: "disk.full",
    errno.EROFS: "disk.failed",
    errno.EIO: "disk.failed",
}
_FROM_PACKAGES: dict[type[Exception], Code] = {
    store.NameTaken: "name.taken",
    store.IllegalTransition: "state.conflict",
    store.BuildInUse: "build.inuse",
    store.RuntimeInUse: "state.conflict",
    store.StoreFull: "disk.full",
    store.StoreFailed: "disk.failed",
    builder.UnknownKernel: "kernel.unknown",
    builder.CloneRefused: "argument.invalid",
}


def model_body(refused: Refusal, request_id: str) -> bytes:
    """The body for callers of a model. Every client parser in use accepts it.

    Failures of the model have `"success":false`; refusals by predictd have no `success` at all.
    """
    error = {"code": refused.code, "message": refused.message, "advice": refused.advice}
    body: dict[str, Any] = {"success": False} if refused.kind.who == "author" else {}
    body |= {"errors": error, "error": error, "message": refused.message}
    body |= {"StatusCode": refused.kind.status, **refused.extra, "request_id": request_id}
    return msgspec.json.encode(body)


def admin_body(refused: Refusal) -> bytes:
    """The body for clients of the admin API."""
    details = [{"code": refused.code, "who": refused.kind.who, "advice": refused.advice}]
    return msgspec.json.encode(
        {
            "error": refused.message,
            "code": refused.kind.grpc,
            "message": refused.message,
            "details": details,
        }
    )
