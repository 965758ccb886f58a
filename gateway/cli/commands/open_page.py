"""The verb open: signs a browser in.

The link works once, for one minute. Its token follows `#`, so no server and no proxy sees it.
Arguments of processes are visible to all users, so the browser gets the path of a private file that
redirects to the link (and does not post: gotcha W3 in web/README).
"""

import html
import os
from http import HTTPStatus
from pathlib import Path

from gateway.cli.command import Group, argument, command
from gateway.cli.context import CommandFailed, Context, Exit
from gateway.client import ApiError

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>predictd</title>
<p><a href="{link}">Continue to predictd</a></p>
</html>
"""


@command(
    "open",
    "sign in with a browser",
    argument("--print", action="store_true", help="print the link, for a browser elsewhere"),
    examples=["predictd open", "predictd open --print"],
    group=Group.ACCESS,
)
def open_browser(context: Context) -> None:
    """Signs a browser of this machine in, or prints the link."""
    try:
        created = context.client.post("/site/links")
    except ApiError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        advice = f"sign in at {context.public_url()} with your password"
        message = "links that sign in are for site administrators"
        raise CommandFailed(message, advice, Exit.REFUSED) from error
    link, seconds = f"{context.public_url()}/open#{created['token']}", created["seconds"]
    arguments, terminal = context.arguments, context.terminal
    if not arguments.print and not context.named and _shown(_written(context.data, link)):
        terminal.result({"opened": True}, "Opened a sign-in link in the browser.")
        terminal.say("If the browser shows nothing, run `predictd open --print`.")
        return
    terminal.result({"opened": False, "url": link, "seconds": seconds}, link)
    terminal.say(f"The link works once, within {seconds:.0f} s.")


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
    """Whether a browser of this machine opened it."""
    import webbrowser

    return webbrowser.open(page.as_uri())
