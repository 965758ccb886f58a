"""What the index gives now for the requests of a script: resolved by uv, hashed.

Requests are resolved in order, as the script made them, and each prefers the versions of the ones
before, as an installation does. Nothing is installed. uv runs as the script does, with the same
limits and paths, since a source distribution may run code to tell what it needs. It asks the index
again unless the index has said for how long an answer is good.

Just after the script uv's cache has the answers that the script got, so the index is not asked
again: 0.03 s instead of 0.5 s, and what the index has changed meanwhile is not taken for what was
installed. Where the cache does not have all, the index is asked.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import trio

from builder.environment.pip.inside.predictd_pip.decision import uv_variables
from builder.environment.pip.question import make_question_folder, question_folder
from builder.environment.pip.requests import PipRequest, fill_in
from builder.environment.pip.wrappers import script_variables, uv_cache, uv_program
from builder.files.remove_tree import remove_tree
from builder.files.small_file import read_small_file
from builder.spec import BuildSpec, Log, Run, SandboxPaths

MOST_BYTES = 8 * 1024 * 1024
# The options of a request that decide about versions; `uv pip compile` has them too. The others
# are about how packages are installed.
RESOLVING = {
    "--constraints",
    "--build-constraints",
    "--extra-index-url",
    "--find-links",
    "--allow-insecure-host",
    "--config-setting",
    "--group",
    "--no-binary",
    "--only-binary",
    "--index-url",
    "--cert",
    "--no-deps",
    "--no-index",
    "--prerelease=allow",
    "--upgrade",
    "--upgrade-package",
    "--no-build-isolation",
    "--refresh",
}
# uv uses its cache alone, also where an answer is too old.
OFFLINE = {"UV_OFFLINE": "1"}


async def fingerprint(
    spec: BuildSpec,
    requests: Sequence[PipRequest],
    run: Run,
    log: Log,
    time_limit: float,
    *,
    cached: bool = False,
) -> str | None:
    """Return a hash of what the requests would install now, None where that cannot be told. With
    `cached` uv answers from its cache alone.

    The project's files must be in `spec.code`, as the script has left them. Equal hashes mean equal
    versions with equal hashes. A request that pip served, that failed, or that uv cannot resolve
    now gives None. Raises TimeoutError after `time_limit` seconds.
    """
    if any(request.served != "uv" or request.status for request in requests):
        return None
    # Its real path, as for the environment.
    python = await trio.to_thread.run_sync(spec.python_program.resolve)
    folder = question_folder(spec, "fingerprint")
    deadline = trio.current_time() + time_limit
    digest = hashlib.sha256()
    pins: dict[str, str] = {}
    try:
        for request in requests:
            if _is_locked(request):
                continue
            question = _Question(fill_in(request, spec), folder, cached)
            await trio.to_thread.run_sync(question.write, pins)
            status = await run(
                question.command(python),
                cwd=spec.code / request.folder,
                paths=SandboxPaths(
                    home=spec.code,
                    tmp=question.tmp,
                    read=(uv_program(),),
                    write=(spec.pip_cache, folder),
                    prefix=python.parent.parent,
                ),
                variables=question.variables(spec),
                log=log,
                time_limit=deadline - trio.current_time(),
            )
            if status != 0:
                return None
            answer = await trio.to_thread.run_sync(question.read)
            digest.update(answer.encode() + b"\0")
            pins |= _by_name(answer)
    except OSError:
        return None
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_tree, folder)
    return digest.hexdigest()


def _is_locked(request: PipRequest) -> bool:
    """Whether it installs a pylock.toml, which names its files with hashes. uv takes no other
    requirement beside it."""
    sources = [
        value for option, value in request.pairs if option in ("", "--requirements", "--editable")
    ]
    return bool(sources) and all(PurePosixPath(each).match("pylock*.toml") for each in sources)


class _Question:
    """One request for `uv pip compile`, in a folder of its own."""

    def __init__(self, request: PipRequest, folder: Path, cached: bool) -> None:
        self._request = request
        self._folder = folder
        self._cached = cached

    def write(self, pins: dict[str, str]) -> None:
        """Write its input, and the versions to prefer where uv looks for them: in its output."""
        make_question_folder(self._folder)
        self.tmp.mkdir()
        lines = {"": "{}\n", "--editable": "-e {}\n"}
        self._input.write_text(
            "".join(
                lines[option].format(value)
                for option, value in self._request.pairs
                if option in lines
            )
        )
        self._output.write_text("".join(pins.values()))

    def command(self, python: Path) -> list[str]:
        found = [str(self._input)]
        found += [value for option, value in self._request.pairs if option == "--requirements"]
        options = [
            f"{option}={value}" if value else option
            for option, value in self._request.pairs
            # The script has just done what `--refresh` asks for.
            if option in RESOLVING and not (self._cached and option == "--refresh")
        ]
        own = ["--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        own += ["--python", str(python), "--output-file", str(self._output)]
        return [str(uv_program()), "pip", "compile", *own, *options, "--", *found]

    def variables(self, spec: BuildSpec) -> dict[str, str]:
        changed = self._request.variables
        ours = {name: value for name, value in changed.items() if name.startswith("UV_")}
        if self._cached:
            ours |= OFFLINE
        return uv_variables(script_variables(spec) | changed, ours, str(uv_cache(spec)), "copy")

    def read(self) -> str:
        return read_small_file(self._output, MOST_BYTES).decode("utf-8", "replace")

    @property
    def tmp(self) -> Path:
        """For temporary files: the script has yet to get its own, without what uv leaves."""
        return self._folder / "tmp"

    @property
    def _input(self) -> Path:
        return self._folder / "requirements.in"

    @property
    def _output(self) -> Path:
        return self._folder / "pins.txt"


def _by_name(answer: str) -> dict[str, str]:
    """The pinned versions in uv's answer, as lines by the name of their package."""
    pins = (line.split()[0] for line in answer.splitlines() if "==" in line)
    return {pin.partition("==")[0]: f"{pin}\n" for pin in pins}
