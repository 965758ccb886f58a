"""The repositories that the script's R was asked for packages, and what they have now.

The project's code can write the record, so it is bounded and checked. Values of users' variables,
which may be secrets, are replaced by names, as in the requests of pip.

The versions that repositories have of the packages in the library decide whether an environment is
used again: with equal versions a script installs the same, since a new dependency comes with a new
version of what depends on it. `renv.lock` states versions, and does not count.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import trio

from builder.environment.pip.question import make_question_folder, question_folder
from builder.environment.pip.requests import filled, hidden
from builder.environment.pip.wrappers import script_variables
from builder.environment.r.library import library_of, record_path
from builder.environment.r.packages import RPackage, read_library
from builder.environment.seeds import WRAPPERS
from builder.files.remove_tree import remove_tree
from builder.files.small_file import read_small_file
from builder.log_tail import NullLog
from builder.spec import BuildSpec, Run, SandboxPaths

MOST_BYTES = 256 * 1024
MOST_REPOSITORIES = 50
_MOST_ANSWER = 4 * 1024 * 1024
_REPOSITORIES, _LOCKED = "repositories", "locked"


def read_repositories(spec: BuildSpec, packages: Sequence[RPackage]) -> list[str] | None:
    """Return the addresses that the script has asked, in order. None where the record does not say
    where the packages of the library come from. Blocking."""
    try:
        lines = read_small_file(record_path(spec), MOST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found: dict[str, None] = {}
    for kind, *addresses in (line.split("\t") for line in lines):
        if kind not in (_REPOSITORIES, _LOCKED):
            return None
        found |= dict.fromkeys(addresses)
    is_recorded = bool(lines)
    if len(found) > MOST_REPOSITORIES or any("\0" in each for each in found):
        return None
    if any(each.is_elsewhere or (each.repository and not is_recorded) for each in packages):
        return None
    return [hidden(each, spec) for each in found]


async def versions_now(
    spec: BuildSpec,
    repositories: Sequence[str],
    *,
    prefix: Path,
    run: Run,
    limit: float,
) -> str | None:
    """Return a hash of the versions that repositories have now of the packages in an environment's
    library, None where that cannot be told within `limit` seconds. `prefix` is R's folder."""
    folder = question_folder(spec, "versions")
    asked, names, answer = (folder / each for each in ("repositories", "packages", "versions"))

    def write() -> None:
        packages = read_library(library_of(spec.virtualenv))
        make_question_folder(folder)
        (folder / "tmp").mkdir()
        asked.write_text("".join(f"{filled(each, spec)}\n" for each in repositories))
        names.write_text("".join(f"{each.name}\n" for each in packages))

    try:
        await trio.to_thread.run_sync(write)
        program = spec.virtualenv / WRAPPERS / "versions.R"
        status = await run(
            # A file, not an expression: see gotcha G3.
            ["Rscript", "--vanilla", str(program), *map(str, (asked, names, answer))],
            cwd=spec.code,
            paths=SandboxPaths(
                home=spec.code,
                tmp=folder / "tmp",
                read=(spec.virtualenv,),
                write=(folder,),
                prefix=prefix,
            ),
            variables=script_variables(spec),
            log=NullLog(),
            time_limit=limit,
        )
        if status != 0:
            return None
        found = await trio.to_thread.run_sync(read_small_file, answer, _MOST_ANSWER)
        return hashlib.sha256(found).hexdigest()
    except (OSError, TimeoutError):
        return None
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, folder)
