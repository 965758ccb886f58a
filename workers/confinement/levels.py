"""How strongly this machine can confine what runs on it: tried out, not guessed.

A level works when a program ran at it. Where one does not work, the reason is kept.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable
from typing import IO, Literal, get_args

import msgspec

from workers.orphan_processes import disown, make_child

Level = Literal["users", "userns", "landlock", "none"]
LEVELS: tuple[Level, ...] = get_args(Level)
# Strongest first, each with its meaning in a sentence (for Landlock see also gotcha G3 in README).
MEANINGS: dict[Level, str] = {
    "users": "each deployment is a user of its own, in namespaces of its own, with its files only",
    "userns": "each process tree is in namespaces of its own, and sees its files only",
    "landlock": "each process tree can open its own files only, but sees what else runs",
    "none": "models can do what the gateway's user can do",
}
# Seconds for one trial, which only starts a program.
PATIENCE = 10.0


class ConfinementUnavailable(Exception):
    """The requested level does not work here."""

    def __init__(self, wanted: str, why: str) -> None:
        super().__init__(f"isolation {wanted!r} does not work here: {why}")


class ConfinementWeaker(ConfinementUnavailable):
    """The strongest level that works here is weaker than the least one, and no setting names it."""

    def __init__(self, level: Level, least: Level, refused: dict[Level, str]) -> None:
        why = "; ".join(f"{each}: {reason}" for each, reason in refused.items())
        Exception.__init__(
            self,
            f"isolation would be {level!r}, weaker than {least!r}, with which this data folder was"
            f" served last ({why}). Mend that, or set isolation = {level!r} to accept it",
        )


class LevelChoice(msgspec.Struct, frozen=True):
    """The level in force, and why each stronger one does not work."""

    level: Level
    refused: dict[Level, str]


def find(wanted: str, attempt: Callable[[Level], str]) -> LevelChoice:
    """The strongest level that works, or the one that is wanted by name ("auto": any).

    `attempt` runs a program at a level and returns why it failed, "" if it worked. Raises
    ConfinementUnavailable.
    """
    refused: dict[Level, str] = {}
    for level in LEVELS:
        if wanted not in ("auto", level):
            continue
        if why := attempt(level):
            refused[level] = why
        else:
            return LevelChoice(level, refused)
    raise ConfinementUnavailable(wanted, next(iter(refused.values())))


def is_weaker(level: Level, than: Level) -> bool:
    return LEVELS.index(level) > LEVELS.index(than)


def program(name: str) -> str:
    """The path of a system program, "" where it is missing."""
    return shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin") or ""


def run(command: Iterable[str], stdin: IO[bytes], pass_fds: tuple[int, ...] = ()) -> str:
    """Why a command did not succeed; "" if it did. Its environment is empty. It runs in a session
    of its own, so that what it leaves counts as an orphan (gotcha G1 in workers/README)."""
    words = list(command)
    try:
        process = make_child(
            lambda: subprocess.Popen(
                words,
                cwd="/",
                env={},
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        )
    except OSError as error:
        return str(error)
    try:
        with process:
            try:
                _, said = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)
                return str(error)
    finally:
        disown(process.pid)
    if process.returncode == 0:
        return ""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with {process.returncode}"


def is_root() -> bool:
    return os.geteuid() == 0
