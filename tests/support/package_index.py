"""A package index on loopback, with wheels made by hand, so that no test needs a real index."""

import base64
import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import urlsplit


def wheel(
    name: str,
    version: str,
    requires: tuple[str, ...] = (),
    body: str = "",
    more: str = "",
    *,
    script: bool = False,
) -> bytes:
    """The bytes of a wheel with one module, whose `VERSION` is its version, and with a `script` of
    its name that prints it. `more` are lines of its metadata."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}"
    metadata += "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": f"VERSION = {version!r}\n{body}",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        files[f"{name}.py"] += "def main():\n    print(VERSION)\n"
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for file, text in [*files.items(), (f"{info}/RECORD", record)]:
            # Without the present time: equal wheels have equal bytes.
            archive.writestr(zipfile.ZipInfo(file), text)
    return made.getvalue()


class PackageIndex:
    """An index by the simple API. With a `password`, only its user `user` may read it."""

    def __init__(self, password: str = "") -> None:
        self.files: dict[str, bytes] = {}
        self.password = password
        self.port = 0

    def add(self, name: str, version: str, requires: tuple[str, ...] = (), body: str = "") -> None:
        self.files[f"{name}-{version}-py3-none-any.whl"] = wheel(name, version, requires, body)

    def remove(self, name: str, version: str) -> None:
        del self.files[f"{name}-{version}-py3-none-any.whl"]

    @property
    def url(self) -> str:
        user = f"user:{self.password}@" if self.password else ""
        return f"http://{user}127.0.0.1:{self.port}/simple"

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """The media type and the bytes at a path."""
        top, _, name = path.strip("/").partition("/")
        if top == "files" and name in self.files:
            return "application/octet-stream", self.files[name]
        of_name = [file for file in self.files if file.startswith(f"{name.replace('-', '_')}-")]
        if top != "simple" or not of_name:
            return None
        links = (
            f'<a href="/files/{file}#sha256={hashlib.sha256(self.files[file]).hexdigest()}">{file}'
            for file in of_name
        )
        return "text/html", "</a>".join(links).encode()


@contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """The index, served while the block runs."""
    allowed = "Basic " + base64.b64encode(f"user:{index.password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if index.password and self.headers.get("Authorization") != allowed:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.end_headers()
                return
            found = index.answer(urlsplit(self.path).path)
            self.send_response(200 if found else 404)
            if found:
                self.send_header("Content-Type", found[0])
            body = found[1] if found else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        index.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()
