"""Finds the files of installed packages in their index, with hashes.

An environment does not remember which file a package was installed from. `uv pip compile` finds the
files of the exact versions again, confined like the build script, with its variables and caches:
0.05 s where uv has installed them, 0.2 s where not. A configuration tells uv that no package has
dependencies, so it builds nothing and runs no code of a package.

uv reports one unknown package at a time, and then nothing else. So that one is left out, and uv is
asked again. The rest stays unhashed where no index answers.
"""

import re
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio
from msgspec import Struct

from builder.environment.pip.question import make_question_folder
from builder.files.small_file import read_small_file
from builder.files.toml import read_toml
from builder.lock.installed import Installed, local_path, project_path
from builder.lock.pylock import LockedFile, Package, shown_url

NO_ANSWER = "the package index did not answer"
FAILED = "uv could not look them up"
NOT_FOUND = "the package index does not have them"
# Unknown packages that are left out one by one.
MOST_TRIES = 12
_ANSWER_BYTES = 16 * 1024 * 1024
_CONFIG, _PINS, _ANSWER = "uv.toml", "pins.txt", "pylock.toml"


class RunUv(Protocol):
    """Runs uv with arguments, and returns its exit status and what it printed. Raises
    TimeoutError."""

    async def __call__(self, *arguments: str) -> tuple[int, str]: ...


class Found(Struct, frozen=True, kw_only=True):
    """Packages by name, with what the index has of them, and why others are missing."""

    packages: dict[str, Package]
    missing_because: str = ""


async def resolve(
    installed: list[Installed],
    *,
    folder: Path,
    python: Path,
    home: str,
    run_uv: RunUv,
    most_tries: int = MOST_TRIES,
) -> Found:
    """Ask the index for the files of packages. `folder` is for files of this question
    (`question.py`), which the program at `python` and uv can read and write. Raises OSError."""
    pins = {each.name: each for each in installed}
    because = ""
    for _ in range(most_tries):
        if not pins:
            break
        await trio.to_thread.run_sync(_write_question, folder, pins)
        try:
            status, printed = await run_uv(*_arguments(folder, python))
        except TimeoutError:
            return Found(packages={}, missing_because=NO_ANSWER)
        if status == 0:
            versions = {name: each.version for name, each in pins.items()}
            packages = await trio.to_thread.run_sync(_read_answer, folder / _ANSWER, home, versions)
            return Found(packages=packages, missing_because=because)
        unknown = [name for name in pins if _is_refused(name, printed)]
        if not unknown:
            reason = NO_ANSWER if "Failed to fetch" in printed else FAILED
            return Found(packages={}, missing_because=reason)
        because = NOT_FOUND
        pins = {name: each for name, each in pins.items() if name not in unknown}
    return Found(packages={}, missing_because=because)


def _arguments(folder: Path, python: Path) -> list[str]:
    return [
        *("pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"),
        *("--format", "pylock.toml", "--config-file", str(folder / _CONFIG)),
        *("--python", str(python), "--output-file", str(folder / _ANSWER), str(folder / _PINS)),
    ]


def _write_question(folder: Path, pins: dict[str, Installed]) -> None:
    make_question_folder(folder)
    (folder / _PINS).write_text("".join(f"{_pin(each)}\n" for each in pins.values()))
    metadata = "".join(
        f'[[dependency-metadata]]\nname = "{each.name}"\nversion = "{each.version}"\n'
        "requires-dist = []\n"
        for each in pins.values()
    )
    (folder / _CONFIG).write_text(metadata)
    for name in (_PINS, _CONFIG):
        (folder / name).chmod(0o644)


def _pin(package: Installed) -> str:
    """Return the requirement of exactly this package: from an index, or an archive."""
    if package.direct is None:
        return f"{package.name}=={package.version}"
    return f"{package.name} @ {package.direct['url']}"


def _is_refused(name: str, printed: str) -> bool:
    """Whether uv names the package as the reason that there is no solution."""
    reason = rf"(?<![\w.-]){re.escape(name)}(==| was not found| has no | @ )"
    says_why = "No solution found" in printed or "Failed to " in printed
    return says_why and re.search(reason, printed) is not None


def _read_answer(path: Path, home: str, known: dict[str, str]) -> dict[str, Package]:
    """Return what uv wrote. Other programs of the project could write the file: it is not
    trusted."""
    try:
        found = read_toml(read_small_file(path, _ANSWER_BYTES).decode())
        return {
            each["name"]: Package(
                name=each["name"],
                version=each["version"] if "version" in each else known[each["name"]],
                archive=_file(each["archive"], home) if "archive" in each else None,
                sdist=_file(each["sdist"], home) if "sdist" in each else None,
                wheels=_distinct([_file(wheel, home) for wheel in each.get("wheels", [])]),
            )
            for each in found.get("packages", [])
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OSError(f"the answer of uv cannot be read: {error}") from error


def _distinct(files: list[LockedFile]) -> list[LockedFile]:
    """Return one of the files with equal bytes, which several indexes may have, sorted."""
    ordered = sorted(files, key=lambda each: (each.filename, each.path, each.url))
    return list({(each.filename, str(each.hashes)): each for each in reversed(ordered)}.values())[
        ::-1
    ]


def _file(found: dict[str, Any], home: str) -> LockedFile:
    url = found.get("url", "")
    path = project_path(found.get("path", ""), home) or local_path(url, home)
    return msgspec.convert(
        {
            "url": "" if path else shown_url(url),
            "path": path,
            "size": found.get("size"),
            "hashes": dict(sorted(found["hashes"].items())),
        },
        LockedFile,
    )
