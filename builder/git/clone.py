"""Clones a repository into a project's folder.

Git cannot see the gateway's account: it is confined like a build script, in an empty home, with
only the gateway's configuration. Its only identity is that of the address: a name and a password in
its environment, or a key in its own agent (`ssh.py`). No program prompts for a password, no hook
runs, no submodule is fetched. There is no later fetch, so `.git`, password and key are not kept.

A clone with a `CloneGuard` must not reveal what this machine can reach. So it has one message for
all network errors, and connects only to addresses that are not this machine's own.
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

from builder.errors import CloneFailed, CloneRefused
from builder.files.fsync import sync_file_system, sync_folder
from builder.files.remove_tree import remove_tree
from builder.git.address import RepositoryAddress
from builder.git.git_store import clean_environment, git_executable, git_version
from builder.git.reachable_addresses import Addresses, is_inner, reachable_addresses
from builder.git.ssh import KNOWN_HOSTS, accepted_host_keys, git_ssh_command, with_agent
from builder.log_tail import LogTail, NullLog
from builder.sealed_folders import take_ownership
from builder.spec import Run, SandboxPaths

REFERENCE = re.compile(r"[A-Za-z0-9_][^\s~^:?*\[\\]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN = 5  # lines of git's output in an error
UNREADABLE = (
    "git could not read a repository at this address: check the address, the reference, and the "
    "name and password or the key if it needs them; only administrators may use addresses of the "
    "gateway's own machine"
)
# The first release of git that accepts the addresses of a name.
PINNING = (2, 37)
TOO_OLD = "only administrators may clone with a git older than 2.37; ask the operator to update git"
# A credential helper of git is a shell command: its output goes through a pipe, and `printf` is
# built into the shell, so no command line has the password.
HELPER = (
    '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" '
    '"$PREDICTD_GIT_USER" "$PREDICTD_GIT_PASSWORD"; }; f'
)
# Git has another HOME than the gateway.
_GIT = 'GIT_CONFIG_GLOBAL="$HOME/gitconfig" exec "$@"'
_OURS = "[predictd] "
# Only http may redirect, and only to https.
PROTOCOLS = {"http": "http:https"}


class CloneGuard(Struct, frozen=True, kw_only=True):
    """Restricts the clone of a user who is not an administrator: no address that `is_refused`, and
    no git that would look the name up again."""

    is_refused: Callable[[str, Addresses], bool] = is_inner
    git_version: Callable[[], tuple[int, ...]] = git_version


async def clone(
    address: RepositoryAddress,
    reference: str,
    target: Path,
    *,
    run: Run,
    guard: CloneGuard | None,
    time_limit: float = 600.0,
) -> None:
    """Clone into `target`, which must not exist, at a branch, tag or commit ("" = default).
    `time_limit`, in seconds, is for each command of git. Without a `guard` any address may be used.

    Raises CloneRefused for a reference that is not accepted or a target that exists, CloneFailed
    with a problem that the user may see. A failed or cancelled clone leaves no folder.
    """
    _check_reference(reference)
    if await trio.to_thread.run_sync(target.exists):
        raise CloneRefused(f"{target.name} already exists", "Give a folder that does not exist.")
    pinned = await _pinned_addresses(address, guard) if guard else []
    work = target.parent / f"cloning-{uuid.uuid4().hex}"
    try:
        paths = await trio.to_thread.run_sync(_make_paths, work, address)
        tail = LogTail(NullLog(), (*address.secrets, *map(quote, address.secrets)))
        git = partial(
            run,
            cwd=_code(work),
            paths=paths,
            variables=_variables(address, pinned),
            log=tail,
            time_limit=time_limit,
        )
        shell = ("sh", "-c", with_agent(address) + _GIT, "sh")
        for command in _commands(address, reference, pinned):
            try:
                status = await git([*shell, git_executable(), *command])
            except TimeoutError:
                raise CloneFailed(f"it took more than {time_limit:g} s") from None
            if status != 0:
                raise _failure(address, tail.lines, status, guarded=guard is not None)
        await trio.to_thread.run_sync(_publish, _code(work), target)
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, work)


async def _pinned_addresses(address: RepositoryAddress, guard: CloneGuard) -> list[str]:
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
            "Give a branch, a tag, or the 40 characters of a commit.",
        )


def _code(work: Path) -> Path:
    return work / "code"


def _make_paths(work: Path, address: RepositoryAddress) -> SandboxPaths:
    """Create what git sees: an empty home, a folder for the files, and the repository where it
    is on this machine."""
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
        unix_sockets=bool(address.key),  # ssh talks to its agent by one
    )


def _variables(address: RepositoryAddress, pinned: list[str]) -> dict[str, str]:
    settings = {"core.protectHFS": "true", "core.protectNTFS": "true", "credential.helper": ""}
    if address.secrets:
        where = urlsplit(address.url)
        settings[f"credential.{where.scheme}://{where.netloc}.helper"] = HELPER
    if pinned:
        # A redirect could lead to an address that is not allowed.
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


def _commands(address: RepositoryAddress, reference: str, pinned: list[str]) -> list[list[str]]:
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


def unreadable(address: RepositoryAddress) -> str:
    return UNREADABLE + accepted_host_keys(address)


def _failure(
    address: RepositoryAddress, lines: list[str], status: int, *, guarded: bool
) -> CloneFailed:
    said = [line for line in lines if line.strip()]
    for line in said:
        if line.startswith(_OURS):  # names the limit that ended git
            return CloneFailed(line.removeprefix(_OURS).replace("the script", "git"))
    if status in (-SIGXFSZ, 128 + SIGXFSZ):
        return CloneFailed("one of its files is larger than a build may write to disk")
    if guarded:
        return CloneFailed(unreadable(address))
    problem = "\n".join(said[-SHOWN:]) or f"git ended with {status}"
    if any("Host key verification failed" in line for line in said):
        problem += accepted_host_keys(address)
    return CloneFailed(problem)


def _publish(code: Path, target: Path) -> None:
    """Move the files to their place, owned by the gateway and without `.git`."""
    remove_tree(code / ".git")
    take_ownership(code)
    sync_file_system(code)
    code.rename(target)
    sync_folder(target.parent)
