"""Renders the pages as HTML, and holds their static files.

Templates escape all values, and a missing value is an error. Static files are read once. Their URLs
contain a hash of the content, so browsers may cache them forever and still get a new version at
once.
"""

import shlex
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gateway.control.records import User
from gateway.errors import Refusal
from gateway.web.csrf import TOKEN_FIELD, form_token

_HERE = Path(__file__).parent
# Media types of static files. The `mimetypes` module would read the machine's table first.
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADINGS = {403: "You may not do this", 404: "Page not found", 429: "Too many attempts"}


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
        self.files = {path.name: _read(path) for path in sorted((_HERE / "static").iterdir())}
        self._environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["static"] = self._address_of
        self._environment.filters["sentence"] = sentence
        self._environment.filters["shell_word"] = shlex.quote

    def page(self, template: str, viewer: Viewer, here: str = "", **values: Any) -> str:
        """The page for this viewer; `here` is its path in the menu."""
        values = {"refused": None} | values
        return self._environment.get_template(template).render(
            user=viewer.user, here=here, token_field=_token_field(viewer.session), **values
        )

    def refused(self, refused: Refusal, viewer: Viewer, request_id: str) -> str:
        """The page of an error."""
        status = refused.kind.status
        heading = _HEADINGS.get(status, "Internal error" if status >= 500 else "Request refused")
        return self.page(
            "refused.html", viewer, refused=refused, heading=heading, request_id=request_id
        )

    def _address_of(self, name: str) -> str:
        return f"/static/{name}?v={self.files[name].version}"


def sentence(message: str) -> str:
    """A message with a capital and a full stop."""
    end = "" if message.endswith((".", "!", "?")) else "."
    return f"{message[:1].upper()}{message[1:]}{end}"


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, _KINDS[path.suffix], sha256(content).hexdigest()[:16])


def _token_field(session: str) -> Markup:
    if not session:
        return Markup("")
    field = Markup('<input type="hidden" name="{}" value="{}">')
    return field.format(TOKEN_FIELD, form_token(session))
