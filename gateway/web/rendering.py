"""Renders the pages as HTML, and holds their static files.

Templates escape all values, and a missing value is an error. A page is rendered in steps, and other
tasks run in between: a table of a thousand rows takes longer than a millisecond. A macro is one
step, so long tables are in the template of their page, or in one that is included.

Static files are read once. Their URLs contain a hash of the content, so browsers may cache them
forever and still get a new version at once. That holds for the modules that a module imports, too.
"""

import re
import shlex
from functools import cache
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import trio
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gateway.control.records import User
from gateway.errors import Refusal
from gateway.web.csrf import TOKEN_FIELD, form_token
from gateway.web.error_pages import error_page
from gateway.web.live import LiveTag

_HERE = Path(__file__).parent
# Media types of static files. The `mimetypes` module would read the machine's table first.
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_IMPORT = re.compile(rb'(?<=from "\./)([\w-]+\.js)(?=")')
# Seconds of rendering before other tasks run.
_STEP = 0.0002


class StaticFile(NamedTuple):
    """A file that pages use; `version` changes with its content."""

    content: bytes
    content_type: str
    version: str


class Viewer(NamedTuple):
    """The user for whom a page is rendered, if one is signed in, and the value of their cookie."""

    user: User | None = None
    session: str = ""


class Rendering:
    """All templates and static files."""

    def __init__(self) -> None:
        self.files = _read_all(_HERE / "static")
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=[LiveTag],
        )
        self._environment.globals["static"] = self._address_of
        self._environment.filters["sentence"] = sentence
        self._environment.filters["shell_word"] = shlex.quote
        self._environment.filters["regex_of"] = regex_of
        self._environment.filters["browser"] = browser_of

    async def page(self, template: str, viewer: Viewer, here: str = "", **values: Any) -> bytes:
        """The page for this viewer; `here` is its path in the menu. `address` is where it is found,
        if not where it was asked for; "" if nowhere."""
        values = {"refused": None, "address": None} | values
        pieces = self._environment.get_template(template).generate(
            user=viewer.user,
            here=here,
            token=form_token(viewer.session) if viewer.session else "",
            token_field=_token_field(viewer.session),
            **values,
        )
        # Encoded in steps, too: a text of a million characters, one of them beyond Latin-1, takes
        # two milliseconds.
        body, step, began = list[bytes](), list[str](), perf_counter()
        for piece in pieces:
            step.append(piece)
            if perf_counter() - began > _STEP:
                body.append("".join(step).encode())
                step.clear()
                await trio.lowlevel.checkpoint()
                began = perf_counter()
        body.append("".join(step).encode())
        await trio.lowlevel.checkpoint()
        return b"".join(body)

    async def refused(
        self, refused: Refusal, viewer: Viewer, request_id: str, *, back: str = "", again: str = ""
    ) -> bytes:
        """The page of an error, with the pages to go back to and to try again."""
        signed_in = viewer.user is not None
        return await self.page(
            "refused.html",
            viewer,
            refused=refused,
            error=error_page(refused, signed_in=signed_in, back=back, again=again),
            request_id=request_id,
        )

    def _address_of(self, name: str) -> str:
        return f"/static/{name}?v={self.files[name].version}"


@cache
def rendering() -> Rendering:
    """The one that all gateways of a process share: it has nothing of a gateway."""
    return Rendering()


def sentence(message: str) -> str:
    """A message with a capital and a full stop."""
    end = "" if message.endswith((".", "!", "?")) else "."
    return f"{message[:1].upper()}{message[1:]}{end}"


# Each names those after it, too.
_BROWSERS = {
    "Edg": "Edge",
    "OPR": "Opera",
    "Firefox": "Firefox",
    "Chrome": "Chrome",
    "Safari": "Safari",
}
_SYSTEMS = {
    "Windows": "Windows",
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Mac OS X": "macOS",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def browser_of(user_agent: str) -> str:
    """The browser and its system, as its user knows them; another program by what it says."""
    name = next((text for each, text in _BROWSERS.items() if f"{each}/" in user_agent), "")
    system = next((text for each, text in _SYSTEMS.items() if each in user_agent), "")
    if not (name and system):
        return user_agent or "unknown"
    return f"{name} on {system}"


def regex_of(text: str) -> str:
    """The value of an input's `pattern` that only `text` matches. `re.escape` also escapes what
    browsers refuse to have escaped."""
    return re.sub(r"[\^$\\.*+?()\[\]{}|/]", r"\\\g<0>", text)


def _read_all(folder: Path) -> dict[str, StaticFile]:
    """The static files. A module names the versions of those that it imports."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    files: dict[str, StaticFile] = {}

    def read(name: str) -> StaticFile:
        if name not in files:
            content = _IMPORT.sub(
                lambda found: b"%b?v=%b" % (found[1], read(found[1].decode()).version.encode()),
                contents[name],
            )
            version = sha256(content).hexdigest()[:16]
            files[name] = StaticFile(content, _KINDS[Path(name).suffix], version)
        return files[name]

    for name in sorted(contents):
        read(name)
    return files


def _token_field(session: str) -> Markup:
    if not session:
        return Markup("")
    field = Markup('<input type="hidden" name="{}" value="{}">')
    return field.format(TOKEN_FIELD, form_token(session))
