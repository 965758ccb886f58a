"""Pages as HTML, and the files that they use.

Templates escape all they are given, and miss nothing silently: a name that nobody gave is an error.
Static files are read once; their address has a hash of their content in it, so browsers may keep
them for good and still see the next version at once.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gateway.control.records import User
from gateway.errors import Refusal
from gateway.web.csrf import TOKEN_FIELD, form_token

_HERE = Path(__file__).parent
# Of static files. Asking the machine's own table would read that first.
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADINGS = {403: "You may not do this", 404: "There is no such page", 429: "Too many tries"}


class StaticFile(NamedTuple):
    """A file that pages use; `version` changes with its content."""

    content: bytes
    content_type: str
    version: str


class Viewer(NamedTuple):
    """Whom a page is for: nobody, or a user with what their browser holds."""

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

    def page(self, template: str, visitor: Viewer, here: str = "", **values: Any) -> str:
        """The page for this visitor; `here` is its path, where the menu has it."""
        values = {"refused": None} | values
        return self._environment.get_template(template).render(
            user=visitor.user, here=here, token_field=_token_field(visitor.session), **values
        )

    def refused(self, refused: Refusal, visitor: Viewer, request_id: str) -> str:
        """The page that tells of an error."""
        status = refused.kind.status
        heading = _HEADINGS.get(status, "That went wrong" if status >= 500 else "That did not work")
        return self.page(
            "refused.html", visitor, refused=refused, heading=heading, request_id=request_id
        )

    def _address_of(self, name: str) -> str:
        return f"/static/{name}?v={self.files[name].version}"


def sentence(message: str) -> str:
    """A message of the error catalogue as people write."""
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
