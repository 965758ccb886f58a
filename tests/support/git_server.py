"""A git server over HTTP on loopback, as small as one can be: git's own backend behind a password.

While it answers, its client waits: what can be seen of the client meanwhile is recorded in `seen`.
"""

import os
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import msgspec


class GitServer(msgspec.Struct):
    """What it was asked, and how: `asked` has the path of each request that had the password."""

    port: int = 0
    asked: list[str] = []
    refused: int = 0
    look: Callable[[], object] | None = None
    seen: list[object] = []


@contextmanager
def git_server(root: Path, user: str = "", password: str = "") -> Iterator[GitServer]:
    """Serves the repositories beneath `root`; without a name and a password to all. /moved/...
    redirects to the same path without it."""
    server = GitServer()
    expected = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            if (user or password) and self.headers.get("Authorization") != expected:
                server.refused += 1
                self._send(401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
            elif path.startswith("/moved/"):
                self._send(301, {"Location": self.path.removeprefix("/moved")}, b"")
            else:
                server.asked.append(self.path)
                if server.look is not None:
                    server.seen.append(server.look())
                self._git(path, query, body)

        do_GET = do_POST = answer  # noqa: N815 - http.server wants these names

        def _git(self, path: str, query: str, body: bytes) -> None:
            variables = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            command = ["git", "http-backend"]
            done = subprocess.run(command, input=body, env=variables, capture_output=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server.port = listener.server_address[1]
        thread = Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def commands() -> str:
    """What can be seen of the command lines of all processes."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found.append(Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue  # it has ended
    return "\n".join(found)
