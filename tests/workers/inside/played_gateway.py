"""A gateway that is played: what `cdsw` and `cml` ask of it, in any language."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Played(ThreadingHTTPServer):
    """A gateway that notes what it is asked and answers what it was told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Played.Handler)
        self.asked: list[tuple[str, str, str | None, Any]] = []
        self.answers: list[tuple[int, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1"

    class Handler(BaseHTTPRequestHandler):
        server: "Played"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = json.loads(body) if body else None
            key = self.headers.get("Authorization")
            self.server.asked.append((self.command, self.path, key, said))
            status, answer = self.server.answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None: ...
