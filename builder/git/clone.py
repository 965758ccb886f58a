"""Clones a repository into a project's folder.

Git sees nothing of the gateway's account there: it is confined as a build script is, in an empty
home, with no configuration but ours, no identity but what came with the address: a name and a
password in variables of its own, or a key in an agent of its own (`ssh.py`). Nothing asks for a
password, no hook runs, no submodule is fetched. Nothing is fetched again later, so neither `.git`
nor a password or key is kept.

A `guarded` clone must not show its user what this machine can reach. It has one message for all
errors of the network, and connects only to addresses that are not this machine's own.
"""

import re
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGXFSZ
from urllib.parse import quote, unquote, urlsplit

import trio
from msgspec import Struct

from builder.build_store import make_ours
from builder.errors import CloneFailed, CloneRefused
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.git.address import Address
from builder.git.git_store import clean_environment, git_executable, git_version
from builder.git.reachable_addresses import Addresses, is_inner, reachable_addresses
from builder.git.ssh import KNOWN_HOSTS, accepted_host_keys, git_ssh_command, with_agent
from builder.log_tail import LogTail
from builder.spec import Run, SandboxPaths

REFERENCE = re.compile(r"[A-Za-z0-9_][^\s~^:?*\[\\]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN = 5  # lines of git's own words in a failure
UNREADABLE = (
    "git could not read that of a repository there: see to the address, the reference, and a name "
    "and password or a key if it needs them; addresses of the gateway's own machine are for "
    "administrators"
)
# The first release that accepts the addresses of a name.
PINNING = (2, 37)
TOO_OLD = (
    "with a git older than 2.37 only administrators may clone: it is for the operator to update"
)
# A helper of git's is a line for the shell: what it prints goes through a pipe, and `printf` is the
# shell's own, so no command line ever has it.
HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$PREDICTD_GIT_USER" "$PREDICTD_GIT_PASSWORD"; }; f'
)
# HOME is another path for git than for us.
_GIT = 'GIT_CONFIG_GLOBAL="$HOME/gitconfig" exec "$@"'
_OURS = "[predictd] "
# From http a server may lead to https, and from nothing else to anything else.
PROTOCOLS = {"http": "http:https"}


class CloneGuard(Struct, frozen=True, kw_only=True):
    """Restricts the clone of a user who is not an administrator: no address that `is_refused`, and
    no git that would look the name up again."""

    is_refused: Callable[[str, Addresses], bool] = is_inner
    git_version: Callable[[], tuple[int, ...]] = git_version


async def clone(
    address: Address,
    reference: str,
    target: Path,
    *,
    run: Run,
    guard: CloneGuard | None,
    time_limit: float = 600.0,
) -> None:
    """Clone into `target`, which must not exist, at a branch, tag or commit ("" = default).
    `time_limit` is for each command of git's.

    Raises CloneRefused for a reference that is not let through or a target that is there,
    CloneFailed with what may be told. A failed or cancelled clone leaves no folder behind.
    """
    _check_reference(reference)
    if await trio.to_thread.run_sync(target.exists):
        raise CloneRefused(f"{target.name} is there already", "Name a folder that does not exist.")
    pinned = await _pinned_addresses(address, guard) if guard else []
    work = target.parent / f"cloning-{uuid.uuid4().hex}"
    try:
        place = await trio.to_thread.run_sync(_make_place, work, address)
        tail = LogTail(_Nowhere(), (*address.secrets, *map(quote, address.secrets)))
        git = partial(
            run,
            cwd=_code(work),
            place=place,
            variables=_variables(address, pinned),
            log=tail,
            time_limit=time_limit,
        )
        shell = ("sh", "-c", with_agent(address) + _GIT, "sh")
        for command in _commands(address, reference, pinned):
            try:
                status = await git([*shell, git_executable(), *command])
            except TimeoutError:
                raise CloneFailed(f"it took longer than {time_limit:g} seconds") from None
            if status != 0:
                raise _failure(address, tail.lines, status, guarded=guard is not None)
        await trio.to_thread.run_sync(_publish, _code(work), target)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, work)


async def _pinned_addresses(address: Address, guard: CloneGuard) -> list[str]:
    """Return the addresses that git is given, so that it does not look the name up itself."""
    pinned = await reachable_addresses(address, guard.is_refused)
    if not pinned:
        raise CloneFailed(unreadable(address))
    if await trio.to_thread.run_sync(guard.git_version) < PINNING:
        raise CloneFailed(TOO_OLD)
    return pinned


def _check_reference(reference: str) -> None:
    if reference and (not REFERENCE.fullmatch(reference) or ".." in reference):
        raise CloneRefused(
            f"{reference!r} is not the name of a branch, tag or commit",
            "Name a branch or a tag, or give the 40 characters of a commit.",
        )


def _code(work: Path) -> Path:
    return work / "code"


def _make_place(work: Path, address: Address) -> SandboxPaths:
    """What git is shown: an empty home, a folder for the files, and a repository of this machine
    where one is to be cloned."""
    for name in ("", "home", "tmp", "code"):
        (work / name).mkdir(parents=True)
    # A local repository may belong to any user. Git takes this setting from a file only.
    (work / "home" / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    if address.host_keys:
        (work / "home" / KNOWN_HOSTS).write_text(address.host_keys)
    local = [Path(unquote(urlsplit(address.url).path))] if address.scheme == "file" else []
    return SandboxPaths(
        home=work / "home",
        tmp=work / "tmp",
        read=tuple(path for path in local if path.exists()),
        write=(_code(work),),
        unix_sockets=bool(address.key),  # by one ssh asks its agent
    )


def _variables(address: Address, pinned: list[str]) -> dict[str, str]:
    settings = {"core.protectHFS": "true", "core.protectNTFS": "true", "credential.helper": ""}
    if address.secrets:
        where = urlsplit(address.url)
        settings[f"credential.{where.scheme}://{where.netloc}.helper"] = HELPER
    if pinned:
        # A server could lead to an address that is not allowed.
        settings["http.followRedirects"] = "false"
        found = ",".join(map(_bracketed, pinned))
        settings["http.curloptResolve"] = f"{address.host}:{address.port}:{found}"
    secrets = {
        "PREDICTD_GIT_USER": address.user,
        "PREDICTD_GIT_PASSWORD": address.password,
        "PREDICTD_GIT_KEY": address.key,
    }
    clean = {name: value for name, value in clean_environment(settings).items() if name != "HOME"}
    return {
        **clean,
        "GIT_ALLOW_PROTOCOL": PROTOCOLS.get(address.scheme, address.scheme),
        "GIT_SSH_COMMAND": git_ssh_command(address, pinned),
        "GIT_SSH_VARIANT": "ssh",
        **{name: value for name, value in secrets.items() if value},
    }


def _commands(address: Address, reference: str, pinned: list[str]) -> list[list[str]]:
    url = address.url
    if pinned and address.scheme == "git":
        url = f"git://{_bracketed(pinned[0])}:{address.port}{urlsplit(url).path}"
    fetch = ["clone", "--template=", "--no-recurse-submodules"]
    if COMMIT.fullmatch(reference):
        return [
            [*fetch, "--no-checkout", "--", url, "."],
            ["checkout", "--detach", reference, "--"],
        ]
    branch = ["--branch", reference] if reference else []
    return [[*fetch, *branch, "--", url, "."]]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def unreadable(address: Address) -> str:
    return UNREADABLE + accepted_host_keys(address)


def _failure(address: Address, lines: list[str], status: int, *, guarded: bool) -> CloneFailed:
    said = [line for line in lines if line.strip()]
    for line in said:
        if line.startswith(_OURS):  # which limit it met
            return CloneFailed(line.removeprefix(_OURS).replace("the script", "git"))
    if status in (-SIGXFSZ, 128 + SIGXFSZ):
        return CloneFailed("a file of it is larger than what a build may write to disk")
    if guarded:
        return CloneFailed(unreadable(address))
    problem = "\n".join(said[-SHOWN:]) or f"git ended with {status}"
    if any("Host key verification failed" in line for line in said):
        problem += accepted_host_keys(address)
    return CloneFailed(problem)


def _publish(code: Path, target: Path) -> None:
    """Gives the files their place, ours and without git's own."""
    remove_tree(code / ".git")
    make_ours(code)
    sync_file_system(code)
    code.rename(target)
    sync_folder(target.parent)


class _Nowhere:
    """A log that keeps nothing."""

    def write(self, line: str) -> None: ...
