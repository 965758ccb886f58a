"""Runs the project's build script, by bash, in the build's environment.

The exit status of the script decides, as bash without `-e` gives it. A project without a
`cdsw-build.sh` has nothing to prepare; a script that was asked for by another name must be
there.
"""

from builder.confined import resolve_beneath
from builder.diagnosis import explain
from builder.environment import script_variables
from builder.errors import ScriptFailed
from builder.interpreters import Interpreter
from builder.spec import DEFAULT_SCRIPT, BuildSpec, Log, Place, Run
from builder.tail import Tail

SUMMARY = "The build script failed"
# Of a script; what is wrong with one is looked for in all of it.
MOST_BYTES = 1024 * 1024


def has_script(spec: BuildSpec) -> bool:
    """Whether there is a script to run; raises ScriptFailed when it cannot be run."""
    script = resolve_beneath(spec.code, spec.script)
    if script is None:
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} leads out of the project",
            "Name a script of the project by its path from the project's root.",
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
    if len(content) > MOST_BYTES:
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} has more than {MOST_BYTES:,} bytes",
            "Put data into files of their own, and read them in the script.",
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} is UTF-16, which bash does not read",
            f"Save it as UTF-8: iconv -f UTF-16 -t UTF-8 {spec.script}",
        )
    if content.startswith(b"\xef\xbb\xbf"):
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} begins with a byte order mark, which bash takes for part of a command",
            f"Save it without: sed -i '1s/^\\xEF\\xBB\\xBF//' {spec.script}",
        )
    if b"\r\n" in content:
        raise ScriptFailed(
            SUMMARY,
            f"{spec.script} has Windows line ends, which bash takes for part of each command",
            f"Convert it: sed -i 's/\\r$//' {spec.script}",
        )
    return True


async def run_script(
    spec: BuildSpec, interpreter: Interpreter, run: Run, log: Log, time_limit: float
) -> None:
    """Run the script to its end; raises ScriptFailed, or TimeoutError past `time_limit`."""
    tail = Tail(log)
    status = await run(
        ["bash", spec.script],
        cwd=spec.code,
        place=Place(
            home=spec.code,
            tmp=spec.tmp,
            write=(spec.virtualenv, spec.pip_cache),
            prefix=interpreter.prefix,
        ),
        variables=script_variables(spec),
        log=tail,
        time_limit=time_limit,
    )
    if status != 0:
        raise ScriptFailed(SUMMARY, *explain(status, tail.lines))
