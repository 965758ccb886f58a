"""Clones somebody's repository into a project's folder.

An address can make git run programs (`ext::`, an ssh host that is an option), so only known
kinds of address are let through, each by a rule that says what it is and not what it is
not. Nothing asks for a password, no hook runs, no submodule is fetched, and what an address
holds of secrets is never shown.
"""

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import trio

from builder.errors import CloneFailed, CloneRefused
from builder.git_store import clean_environment, git_executable
from builder.removal import remove_tree
from builder.spec import Log, Run
from builder.tail import Tail

SCHEMES = ("https", "http", "ssh", "git", "file")
SCP_LIKE = re.compile(r"([A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][\w.-]*:[^-:].*")
REFERENCE = re.compile(r"[A-Za-z0-9_][^\s~^:?*\[\\]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN = 5  # lines of git's own words in a failure
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
}


async def clone(
    url: str, reference: str, target: Path, *, run: Run, log: Log, time_limit: float = 600.0
) -> None:
    """Clone `url` into `target`, which must not exist, at a branch, tag or commit ("" = default).

    Raises CloneRefused for an address or reference that is not let through, CloneFailed with
    git's own last lines. A failed or cancelled clone leaves no folder behind.
    """
    check_url(url)
    _check_reference(reference)
    _make_room(target)
    tail = Tail(log, _secrets(url))
    whole = False
    try:
        for command in _commands(url, reference, target):
            await _run_git(command, target.parent, run, tail, time_limit)
        whole = True
    finally:
        if not whole:
            # Why it is not whole matters more than what stays of it.
            with trio.CancelScope(shield=True), suppress(OSError):
                await trio.to_thread.run_sync(remove_tree, target)


def check_url(url: str) -> None:
    """Let an https, http, ssh, git, file or scp-like address through, else raise CloneRefused."""
    if not _allowed(url):
        raise CloneRefused(
            f"{_without_secrets(url)!r} is not an address that may be cloned",
            "Use https://, http://, ssh://, git://, file:/// or user@host:path.",
        )


def _allowed(url: str) -> bool:
    if not url.isprintable() or any(character.isspace() for character in url):
        return False
    if "://" not in url:
        return SCP_LIKE.fullmatch(url) is not None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in SCHEMES or not parts.path.strip("/"):
        return False
    if parts.scheme == "file":
        return not parts.netloc
    return bool(host) and not host.startswith("-") and not parts.netloc.startswith("-")


def _check_reference(reference: str) -> None:
    if reference and (not REFERENCE.fullmatch(reference) or ".." in reference):
        raise CloneRefused(
            f"{reference!r} is not the name of a branch, tag or commit",
            "Name a branch or a tag, or give the 40 characters of a commit.",
        )


def _make_room(target: Path) -> None:
    if target.exists():
        raise CloneRefused(f"{target} is there already", "Name a folder that does not exist.")
    target.parent.mkdir(parents=True, exist_ok=True)


def _commands(url: str, reference: str, target: Path) -> list[list[str]]:
    fetch = ["clone", "--template=", "--no-recurse-submodules"]
    if COMMIT.fullmatch(reference):
        return [
            [*fetch, "--no-checkout", "--", url, str(target)],
            ["-C", str(target), "checkout", "--detach", reference, "--"],
        ]
    branch = ["--branch", reference] if reference else []
    return [[*fetch, *branch, "--", url, str(target)]]


async def _run_git(arguments: list[str], cwd: Path, run: Run, tail: Tail, limit: float) -> None:
    try:
        status = await run(
            [git_executable(), *arguments],
            cwd=cwd,
            variables=clean_environment() | ENVIRONMENT,
            log=tail,
            time_limit=limit,
        )
    except TimeoutError as error:
        raise CloneFailed(f"it took longer than {limit:g} seconds") from error
    if status != 0:
        lines = [line for line in tail.lines if line.strip()]
        raise CloneFailed("\n".join(lines[-SHOWN:]) or f"git ended with {status}")


def _secrets(url: str) -> tuple[str, ...]:
    """The texts of an address that nobody should read: a token may stand for the user too."""
    if "://" not in url:
        return ()
    scheme, rest = url.split("://", 1)
    user, at, _ = rest.split("/")[0].rpartition("@")
    password = user.partition(":")[2]
    if password:
        return (user + at, password)
    return (user + at,) if user and scheme in ("http", "https") else ()


def _without_secrets(url: str) -> str:
    for secret in _secrets(url):
        url = url.replace(secret, "***")
    return url
