"""The verb that signs a browser in: `open`.

The link works once and for a minute. Behind its `#` it is seen by no server and no proxy; and since
whoever lists processes sees their arguments, the browser is given the path of a file that leads to
it (and does not post there: gotcha W3 in web/README), which only its owner can read. What is left
in that file opens nothing any more.
"""

import html
import os
from pathlib import Path

from gateway.cli.context import Context

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>predictd</title>
<p><a href="{link}">On to predictd</a></p>
</html>
"""


def open_browser(context: Context) -> None:
    """Signs a browser of this machine in, or prints how to."""
    given = context.client.post("/site/links")
    link, seconds = f"{context.public_url}/open#{given['token']}", given["seconds"]
    arguments, terminal = context.arguments, context.terminal
    if not arguments.print and not context.named and _shown(_written(context.data, link)):
        terminal.result({"opened": True}, "The browser is signed in by a link that works once.")
        terminal.say("If it shows nothing: `predictd open --print`.")
        return
    told = {"opened": False, "url": link, "seconds": seconds}
    terminal.result(told, link)
    terminal.say(f"It works once, for {seconds:.0f} s.")


def _written(data: Path, link: str) -> Path:
    path = data / "open.html"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(fd, "w") as file:
        file.write(_PAGE.format(link=html.escape(link)))
    fresh.replace(path)
    return path


def _shown(page: Path) -> bool:
    """Whether there is a browser here that took it."""
    import webbrowser

    return webbrowser.open(page.as_uri())
