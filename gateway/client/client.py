"""A small client of models and of the admin API: `from gateway.client import Client`.

One `Client` keeps one connection alive and has one request on it at a time; a stream of events has
a connection of its own. Three laws:

- No request is sent twice once any of it may have been sent. A connection that the gateway closed
  while it was idle is detected before the next request uses it.
- After any exception, Ctrl-C included, the connection is closed, so an unread response cannot be
  taken for that of the next request.
- Errors are `ClientError`s: `ServerUnreachable` if there is no response, `ApiError` if the gateway
  refuses, `ModelFailed` if the called model failed.

Standard library only, and little of it: each import here slows down `predictd ls`.
"""

import json
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BytesIO
from typing import Any, NamedTuple, Self, TypeAlias
from urllib.parse import SplitResult, urlencode, urlsplit

from gateway.client.multipart import multipart

Json: TypeAlias = dict[str, Any]

PREFIX = "/api/v2"
PAGE_SIZE = 1000


class ClientError(Exception):
    """A request that did not succeed; `advice` is what to do about it."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class ServerUnreachable(ClientError):
    """There is no response at the gateway's address, or an incomplete one."""


class ApiError(ClientError):
    """The gateway answered with an error. `code` is such as `model.notfound`.

    `retry_after` is in seconds; None if the gateway sent none."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        advice: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, advice)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after


class ModelFailed(ApiError):
    """The model raised, exited or timed out."""


class ServerSentEvent(NamedTuple):
    """One server-sent event; its data is decoded JSON."""

    name: str
    data: Any


_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ELSEWHERE = "check the address and the network, or ask its operator to start it"


class Client:
    """A client of the gateway at `url`. `key` is an API key, or a Model API key to call models;
    `timeout` is in seconds without a byte. Not for two threads at once.

    `tls` verifies the gateway; by default the machine's certificates and SSL_CERT_FILE do.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float = 120, tls: ssl.SSLContext | None = None
    ) -> None:
        address = _address(url)
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key.strip()}", "Accept": "application/json"}
        self._secure = address.scheme == "https"
        self._tls = tls
        self._address = address.netloc.rpartition("@")[2]
        self._base = address.path.rstrip("/")
        self._connection = self._connect(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the kept connection; the next request opens a new one."""
        self._connection.close()

    def get(self, path: str, **query: object) -> Json:
        """The object at `path` (below `/api/v2`); a query value of None is left out."""
        return self._object("GET", path, query=query)

    def listing(self, path: str, **query: object) -> list[Json]:
        """Every item of a list, all pages of it, oldest first."""
        items: list[Json] = []
        token = ""
        while True:
            page = self.get(path, page_size=PAGE_SIZE, page_token=token or None, **query)
            # A page has one list, under the plural of its noun, and the token of the next page.
            items.extend(*(value for value in page.values() if isinstance(value, list)))
            token = page.get("next_page_token", "")
            if not token:
                return items

    def post(self, path: str, body: object = None) -> Json:
        """Creates a resource, or requests an action such as `:stop`."""
        return self._object("POST", path, body={} if body is None else body)

    def patch(self, path: str, body: object) -> Json:
        """Changes the fields named in `body`."""
        return self._object("PATCH", path, body=body)

    def delete(self, path: str) -> Json:
        """Deletes what is at `path`."""
        return self._object("DELETE", path)

    def put(self, path: str, body: object) -> Json:
        """Creates or replaces what is at `path`."""
        return self._object("PUT", path, body=body)

    def upload(self, path: str, files: Mapping[str, bytes]) -> Json:
        """Uploads files; each key is the path that the file gets in its project."""
        boundary, body = multipart((path, BytesIO(content)) for path, content in files.items())
        media_type = f"multipart/form-data; boundary={boundary}"
        return self.send("PUT", path, media_type, [b"".join(body)])

    def send(self, method: str, path: str, media_type: str, body: Iterable[bytes]) -> Json:
        """Sends a body in pieces, so that it need not be in memory."""
        headers = {"Content-Type": media_type}
        return _decoded(self._exchange(method, PREFIX + path, body, headers))

    def text(self, path: str, **query: object) -> str:
        """The text at `path`: a log, a file."""
        target = PREFIX + path + _query(query)
        payload = self._exchange("GET", target, None, {"Accept": "text/plain, */*"})
        return payload.decode("utf-8", "replace")

    def lines(self, path: str, **query: object) -> list[Json]:
        """The lines of the log at `path`, an object each."""
        target = PREFIX + path + _query(query)
        payload = self._exchange("GET", target, None, {"Accept": "application/x-ndjson"})
        return [_decoded(line) for line in payload.splitlines()]

    def blocks(self, path: str, **query: object) -> Iterator[bytes]:
        """The content at `path` in blocks. It may be cut short."""
        connection = self._connect(None)  # a disk may be slow
        try:
            target = PREFIX + path + _query(query)
            response = self._ask(connection, "GET", target, None, {"Accept": "*/*"})
            while block := response.read1(1 << 20):
                yield block
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def alive(self) -> bool:
        """Whether a gateway answers at this address; needs no key."""
        try:
            self._exchange("GET", "/livez", None, {"Authorization": ""})
        except ClientError:
            return False
        return True

    def call(self, access_key: str, request: object, *, patience: float = 0.0) -> Json:
        """Calls a model; returns the whole reply, whose `"response"` is the prediction.

        `patience` is the time in seconds to keep retrying while the gateway refuses with
        `Retry-After` (429, 503). A model that is busy was not called.
        """
        body = _encoded({"accessKey": access_key, "request": request})
        headers = {"Content-Type": "application/json"}
        give_up = time.monotonic() + patience
        while True:
            try:
                return _decoded(self._exchange("POST", "/model", body, headers))
            except ApiError as error:
                wait = error.retry_after
                if wait is None or time.monotonic() + wait > give_up:
                    raise
                time.sleep(wait)

    def events(self, path: str, **query: object) -> Iterator[ServerSentEvent]:
        """The live events at `path` until the gateway ends them, without a time-out."""
        connection = self._connect(None)  # gotcha G3 in cli/README
        target, headers = PREFIX + path + _query(query), {"Accept": "text/event-stream"}
        try:
            response = self._ask(connection, "GET", target, None, headers)
            yield from _parsed(response)
        except (OSError, HTTPException, ValueError) as error:
            self._check_still_allowed(target, headers)
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _check_still_allowed(self, target: str, headers: Mapping[str, str]) -> None:
        """Raises ApiError if a stream that broke off would be refused now. A stream ends with its
        permission, and cannot say so."""
        connection = self._connect(self._connection.timeout)
        try:
            self._ask(connection, "GET", target, None, headers)
        except (OSError, HTTPException):
            pass  # the first error is reported
        finally:
            connection.close()

    def _object(
        self, method: str, path: str, *, query: Json | None = None, body: Any = None
    ) -> Json:
        content = None if body is None else _encoded(body)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return _decoded(
            self._exchange(method, PREFIX + path + _query(query or {}), content, headers)
        )

    def _exchange(
        self,
        method: str,
        target: str,
        content: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> bytes:
        if _was_closed(self._connection):
            self._connection.close()
        try:
            return self._ask(self._connection, method, target, content, headers).read()
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        except ApiError:
            raise
        except BaseException:
            self.close()
            raise

    def _ask(
        self,
        connection: HTTPConnection,
        method: str,
        target: str,
        content: bytes | Iterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> HTTPResponse:
        sent = {name: value for name, value in (self._headers | {**headers}).items() if value}
        try:
            connection.request(method, self._base + target, content, sent)
        except (BrokenPipeError, ConnectionResetError):
            # A gateway that refuses a body stops reading it; its answer may have come.
            if content is None or isinstance(content, bytes):
                raise
        response = connection.getresponse()
        if response.status >= 300:
            raise _error(response, response.read())
        return response

    def _connect(self, timeout: float | None) -> HTTPConnection:
        if self._secure:
            return HTTPSConnection(self._address, timeout=timeout, context=self._tls)
        return HTTPConnection(self._address, timeout=timeout)

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        here = (urlsplit(self.url).hostname or "") in _LOOPBACK
        match error:
            case ConnectionRefusedError():
                message = f"no gateway answers at {self.url}"
                advice = "start one with `predictd serve`" if here else _ELSEWHERE
            case ssl.SSLCertVerificationError():
                message = f"cannot verify the certificate of {self.url}: {error.verify_message}"
                advice = "set SSL_CERT_FILE to the certificate of its authority (PEM)"
            case socket.gaierror():
                message = f"no machine has the name in {self.url}: {error.strerror}"
                advice = "correct the address, or check the network"
            case TimeoutError():
                timeout = self._connection.timeout
                message = f"the gateway at {self.url} sent nothing for {timeout:g} s"
                advice = "it may still do what was asked: check it with `predictd status`"
            case _:
                reason = str(error) or type(error).__name__
                message = f"connection to the gateway at {self.url} failed: {reason}"
                start = ", or start it with `predictd serve`" if here else ""
                advice = f"check it with `predictd status`{start}"
        return ServerUnreachable(message, advice)


def trusting(certificate: str) -> ssl.SSLContext:
    """Trusts exactly this certificate (PEM). Its names do not count."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Otherwise the certificates above it would be needed too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


def _address(url: str) -> SplitResult:
    try:
        address = urlsplit(url)
        if address.scheme in ("http", "https") and address.hostname and address.port != 0:
            return address
    except ValueError:
        pass  # an invalid port, or unbalanced brackets
    raise ServerUnreachable(
        f"{url!r} is not the address of a gateway",
        "write it as http://HOST:PORT or https://HOST:PORT",
    )


def _was_closed(connection: HTTPConnection) -> bool:
    # Nothing is expected on an idle connection, so readable means closed.
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _query(query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _encoded(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _decoded(payload: bytes) -> Json:
    try:
        value = json.loads(payload)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ServerUnreachable(
            "the response is not from a predictd gateway", "check --url and PREDICTD_URL"
        )
    return value


def _error(response: HTTPResponse, payload: bytes) -> ApiError:
    """The error, in the shape of the admin API or of a model call."""
    try:
        body = json.loads(payload)
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    details = body.get("details") or [body.get("error")]
    detail = details[0] if isinstance(details[0], dict) else {}
    kind = ModelFailed if body.get("success") is False else ApiError
    return kind(
        response.status,
        detail.get("code", f"http.{response.status}"),
        body.get("message") or f"the gateway answered {response.status} {response.reason}",
        detail.get("advice", ""),
        response.headers.get("X-Request-Id", ""),
        _seconds(response.headers.get("Retry-After", "")),
    )


def _seconds(text: str) -> float | None:
    return float(text) if text.isdecimal() else None


def _parsed(lines: HTTPResponse) -> Iterator[ServerSentEvent]:
    name, data = "message", list[str]()
    while line := lines.readline():
        field, _, value = line.decode("utf-8", "replace").rstrip("\r\n").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif not field and not value:
            # An empty line ends an event; a line that begins with a colon is a comment.
            if data:
                yield ServerSentEvent(name, json.loads("\n".join(data)))
            name, data = "message", []
