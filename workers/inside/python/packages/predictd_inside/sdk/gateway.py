"""Talks to the gateway: one request, one answer, errors with the gateway's own message.

The environment has its address and the key: CDSW_API_URL, and CDSW_APIV2_KEY or CDSW_API_KEY.
Replicas and scripts get these variables; a session elsewhere sets them itself. Nothing is retried:
the caller decides what to do about a refusal.
"""

from __future__ import annotations

import json
import os

from ..encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# The waits for a replica and its answer take a minute at most, unless the operator allows more.
_SECONDS = 600.0


class Gateway:
    """The server at the origin of `url`; requests have `key` unless it is empty."""

    def __init__(self, url: str, key: str) -> None:
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise RuntimeError(f"CDSW_API_URL is {url!r}, which is no address of a server")
        self._scheme, self._host = parts.scheme, parts.netloc
        self._key = key

    @classmethod
    def of_environment(cls, key: str | None = None) -> Gateway:
        """The gateway that the environment names. Raises RuntimeError where it names none."""
        url = os.environ.get("CDSW_API_URL")
        if not url:
            raise RuntimeError(
                "CDSW_API_URL is not set: give it the address of predictd"
                " (http://localhost:8080/api/v1, say), or use dev=True where metrics are tried out"
            )
        own = os.environ.get("CDSW_APIV2_KEY") or os.environ.get("CDSW_API_KEY") or ""
        return cls(url, (key or own).strip())

    def get(self, path: str, query: Mapping[str, object]) -> Any:
        from urllib.parse import urlencode

        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given)}", None)

    def post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, encode(body))

    def _ask(self, method: str, target: str, body: bytes | None) -> Any:
        """The gateway's answer, decoded. Raises RuntimeError where the status is not 200."""
        import http.client

        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connect = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = connect[self._scheme](self._host, timeout=_SECONDS)
        try:
            connection.request(method, target, body, headers)
            reply = connection.getresponse()
            status, text = reply.status, reply.read()
        except (OSError, http.client.HTTPException) as problem:
            where = f"{self._scheme}://{self._host}"
            raise RuntimeError(f"predictd at {where} did not answer: {problem!r}") from problem
        finally:
            connection.close()
        if status != 200:
            raise RuntimeError(_words(status, text))
        return json.loads(text)


def _words(status: int, text: bytes) -> str:
    """The message of a refusal, in the format of the API that refused."""
    try:
        said = json.loads(text)
        code = said["errors"]["code"] if "errors" in said else ""
        message = said["message"]
    except (ValueError, LookupError, TypeError):
        return f"HTTP {status}: {text[:500].decode('utf-8', 'replace')}"
    return f"HTTP {status}{f' {code}' if code else ''}: {message}"
