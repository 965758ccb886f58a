"""Texts that would be markup, links or scripts where a page did not escape them, and the check that
none of them is.

A page may have only elements and attributes that its templates have. So each text brings an element
and an attribute named MARK, in each kind of quotes and in none, and what would run sets `ran`.
"""

import re
from collections.abc import Iterable
from html.parser import HTMLParser

MARK = "x-ran"
# Without a slash, which names cannot have.
NAME = f"""\"'><img src=x onerror=ran=1 {MARK}><{MARK}>"""
TEXT = (
    "</pre></textarea></title></script></option></svg><script>ran=1</script>"
    f"{NAME} {MARK}=1 onmouseover=ran=1 <a href=javascript:ran=1>{{{{ 7*7 }}}}</a>"
    f'</div><!--live--><div id="notices" data-live {MARK}><iframe srcdoc="<script>top.ran=1">'
)
LINK = f"javascript:ran=1//{MARK}"
# A link, a title and a colour of a terminal, a bell, a direction mark, a line that is overwritten.
LINE = (
    f"\x1b]8;;{LINK}\x07{TEXT}\x1b]8;;\x07\x1b]0;{NAME}\x07\x1b[31m{NAME}\x1b[0m"
    f"\a\u202e 10%\r{NAME}"
)
# As a file: a page and a picture that run a script where a browser opens them as such.
PAGE = "<!doctype html><title>t</title><script>ran=1;new Image().src='http://ran.invalid/'</script>"
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" onload="ran=1"><script>ran=1;'
    "new Image().src='http://ran.invalid/'</script></svg>"
)
_ADDRESSES = ("href", "src", "action", "formaction", "data", "poster", "xlink:href", "ping")
_ADDRESSES_IN_PAGE = ("data-log", "data-upload")
# Elements that no template has, since each can run or load something.
_FORBIDDEN = frozenset(
    ("base", "embed", "foreignobject", "frame", "iframe", "math", "object", "set", "style", "use")
)
_FORBIDDEN_ATTRIBUTES = frozenset(("style", "srcdoc", "http-equiv", "background", "ping", "target"))
# Attributes whose value scripts or the browser look up: no text of a user may be one.
_ROW_ID = re.compile(r"[a-z]+-[^\s\"'<>]+$")  # of a row: no id of a template
_LOOKED_UP = ("class", "id", "type", "rel", "role")


class PageCheck(HTMLParser):
    """Collects what is wrong with a page, and whether it shows a text of ours."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.shows = False
        self.regions: list[str] = []  # the ids of live regions
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if MARK in tag or tag in _FORBIDDEN:
            self.wrong.append(f"<{tag}>")
        if "data-live" in dict(attrs):
            self.regions.append(dict(attrs).get("id") or "")
        for name, value in attrs:
            self._attribute(tag, name, value or "")
        self._in_script = tag == "script"
        if self._in_script and not (dict(attrs).get("src") or "").startswith("/static/"):
            self.wrong.append(f"<script {attrs}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        self.shows |= MARK in data
        if self._in_script and data.strip():
            self.wrong.append(f"<script>{data}")

    def handle_comment(self, data: str) -> None:
        if data != "live":
            self.wrong.append(f"<!--{data}-->")

    def handle_pi(self, data: str) -> None:
        self.wrong.append(f"<?{data}>")

    def handle_decl(self, decl: str) -> None:
        if decl != "doctype html":
            self.wrong.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self.wrong.append(f"<![{data}]>")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        self.shows |= MARK in value
        shown = f"<{tag} {name}={value!r}>"
        if MARK in name or name.startswith("on") or name in _FORBIDDEN_ATTRIBUTES:
            self.wrong.append(shown)
        if name in _ADDRESSES + _ADDRESSES_IN_PAGE and not is_local(value):
            self.wrong.append(shown)
        if name in _LOOKED_UP and MARK in value and not _ROW_ID.match(value):
            self.wrong.append(shown)


def is_local(address: str) -> bool:
    """Whether a browser stays on this gateway with it: a path, a query, a part of the page."""
    inside = address[:1] in ("", "?", "#") or (address[0] == "/" and address[1:2] != "/")
    return inside and address.isprintable() and "\\" not in address


def check_page(html: str) -> PageCheck:
    check = PageCheck()
    check.feed(html)
    check.close()
    return check


def wrong_in(pages: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What is wrong in pages of (address, HTML), by address."""
    found = {address: check_page(html).wrong for address, html in pages}
    return {address: wrong for address, wrong in found.items() if wrong}
