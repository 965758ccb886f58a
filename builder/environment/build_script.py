"""Runs the project's build script by bash, in the build's environment.

The exit status of the script decides, as bash without `-e` returns it. In a project without a
`cdsw-build.sh` an implicit script takes its place, if the project states requirements; a script
that was requested by another name must exist.
"""

from collections.abc import Sequence
from pathlib import Path

import trio

from builder.environment.diagnosis import explain, names_version
from builder.environment.implicit_script import ImplicitScript
from builder.environment.pip.requests import start_record
from builder.environment.pip.wrappers import script_variables, uv_program
from builder.environment.r.diagnosis import notes_of_r
from builder.environment.r.library import start_record as start_r_record
from builder.errors import LockBroken, ScriptFailed
from builder.git.git_store import SYSTEM_PATH
from builder.log_tail import LogTail, NullLog
from builder.safe_paths import resolve_beneath
from builder.spec import DEFAULT_SCRIPT, BuildSpec, Log, Run, SandboxPaths

SUMMARY = "The build script failed"
# The most bytes of a script, which is read whole.
MOST_BYTES = 1024 * 1024
GIVE_SECONDS = 60.0
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def check_script(spec: BuildSpec) -> bool:
    """Whether there is a script to run. Raises ScriptFailed when it cannot be run."""
    script = _script_path(spec)
    if script is None:
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} is outside the project",
            "Give the script's path from the project's root.",
        )
    if not script.is_file():
        if spec.script == DEFAULT_SCRIPT and not script.exists():
            return False
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} is not a file of the project",
            "Check its name, and that .gitignore does not exclude it.",
        )
    with script.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if problem := script_problem(spec.script, content):
        raise ScriptFailed(SUMMARY, *problem)
    return True


def script_problem(name: str, content: bytes) -> tuple[str, str] | None:
    """Return problem and advice for a script that bash cannot run. `content` is its first
    `MOST_BYTES` + 1 bytes."""
    if len(content) > MOST_BYTES:
        return (
            f"{name} has more than {MOST_BYTES:,} bytes",
            "Move data into separate files, and read them in the script.",
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return (
            f"{name} is UTF-16, which bash does not read",
            f"Save it as UTF-8: iconv -f UTF-16 -t UTF-8 {name}",
        )
    return None


def normalize_script(spec: BuildSpec) -> str:
    """Remove Windows line ends and a byte order mark from the build's copy of the script.

    Bash would take them as parts of commands. Returns in words what was removed. Blocking.
    """
    script = _script_path(spec)
    assert script is not None
    content = script.read_bytes()
    if marks := windows_marks(content):
        script.write_bytes(content.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n"))
    return marks


def windows_marks(content: bytes) -> str:
    """Return in words what `normalize_script` removes from a script, or ""."""
    found = {
        "a byte order mark": content.startswith(_BYTE_ORDER_MARK),
        "Windows line ends": b"\r\n" in content,
    }
    return " and ".join(what for what, is_there in found.items() if is_there)


def _script_path(spec: BuildSpec) -> Path | None:
    return resolve_beneath(spec.code, spec.script)


async def give_files(spec: BuildSpec, prefixes: Sequence[Path], run: Run) -> None:
    """Make the user of the script the owner of its files, by a process that does nothing. So the
    status times of the files, noted afterwards, change only by the script. Raises TimeoutError,
    OSError."""
    await run(
        ["true"],
        cwd=spec.code,
        paths=_paths(spec, prefixes),
        variables={"PATH": SYSTEM_PATH},
        log=NullLog(),
        time_limit=GIVE_SECONDS,
    )


def _paths(spec: BuildSpec, prefixes: Sequence[Path]) -> SandboxPaths:
    """`prefixes` are the folders of the interpreters."""
    prefix, *others = prefixes
    return SandboxPaths(
        home=spec.code,
        tmp=spec.tmp,
        read=(
            uv_program(),
            *(each for each in others if not each.is_relative_to("/usr")),
            *([spec.bytecode] if spec.bytecode else []),
        ),
        # The record of requests is written by its real path: the script may change TMPDIR.
        write=(spec.virtualenv, spec.pip_cache, spec.tmp),
        prefix=prefix,
    )


async def run_script(
    spec: BuildSpec,
    prefixes: Sequence[Path],
    run: Run,
    log: Log,
    time_limit: float,
    implicit: ImplicitScript | None = None,
) -> None:
    """Run the script, or the implicit one in its place. Raises ScriptFailed, or TimeoutError after
    `time_limit` seconds."""
    tail = LogTail(log)
    start_record(spec)
    start_r_record(spec)
    variables = script_variables(spec)
    if implicit:
        variables |= await trio.to_thread.run_sync(implicit.variables, spec)
    status = await run(
        ["bash", "-c", implicit.line] if implicit else ["bash", spec.script],
        cwd=spec.code,
        paths=_paths(spec, prefixes),
        variables=variables,
        log=tail,
        time_limit=time_limit,
    )
    for note in notes_of_r(tail.lines):
        log.write(f"Note: {note}")
    if status != 0:
        problem, advice = explain(status, tail.lines)
        if spec.lock and names_version(problem):
            raise LockBroken(problem)
        summary = f"{implicit.file} could not be installed" if implicit else SUMMARY
        raise ScriptFailed(summary, problem, advice)
