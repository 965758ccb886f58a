"""The environment of one build: found among those that were made before, or made.

    prepare  the snapshot is written out, and the key is known
    find     an environment of this key, whose script has read only files that are the same now,
             and whose requests of packages would get the same now: what its script has changed is
             laid over the snapshot
    make     else a new virtual environment, the script, and the records of both
    seal     its files are shared, and reach the disk; the model is probed meanwhile

Until an environment is sealed its key is locked, so that the second of two equal builds finds the
environment of the first. It is sealed also where the probe fails: for the next build.

Without mounts a build's home is its own folder, and another build's home another one. So an
environment that was made at another home is found only if no file in it names that home.
"""

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec.structs import replace

from builder.build_steps import now
from builder.concurrently import run_all
from builder.environment.build_script import check_script, give_files, normalize_script, run_script
from builder.environment.implicit_script import ImplicitScript, find_implicit_script
from builder.environment.pip.fingerprint import fingerprint
from builder.environment.pip.requests import PipRequest, read_requests
from builder.environment.pip.wrappers import script_variables, write_wrappers
from builder.environment.r.library import library_of, make_library
from builder.environment.r.packages import read_library
from builder.environment.r.requests import read_repositories, versions_now
from builder.environment.seeds import SEEDED, Seeds
from builder.errors import ScriptFailed
from builder.file_store.compile_environment import last_compiled
from builder.file_store.shared_seal import SharedSeal
from builder.files.depth import TooDeep
from builder.files.path_references import names_path
from builder.interpreters import Interpreter
from builder.lock.installed import Installed, TooManyPackages, info_folders, site_packages
from builder.lock.make import make_lock, read_environment
from builder.lock.obey import check_obeyed, write_constraints
from builder.lock.pylock import LockText, written_lock
from builder.log_tail import NullLog
from builder.reuse import access_times, script_changes
from builder.reuse.environment_key import (
    KeyParts,
    TreeEntry,
    is_same,
    key_of,
    names_in,
    path_of,
    reads_of,
    text_of,
)
from builder.reuse.environment_store import (
    INPUTS,
    LOCK,
    MOST_INPUT_BYTES,
    EnvironmentManifest,
    EnvironmentStore,
    Inputs,
)
from builder.reuse.script_changes import UNKNOWN, Trace
from builder.sealed_folders import remove_sealed, take_over, take_ownership
from builder.snapshot.snapshot import read_tree, write_out
from builder.spec import BuildSpec, Log, Run

# For all questions to the index about one environment.
INDEX_SECONDS = 30.0


class EnvironmentMaker:
    """Finds or makes the environment of a build. Afterwards `spec` names it."""

    def __init__(
        self,
        spec: BuildSpec,
        interpreter: Interpreter,
        python: Interpreter,
        store: EnvironmentStore,
        *,
        seeds: Seeds,
        run: Run,
        log: Log,
        time_left: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.key = self._any_lock = self._found_by = ""
        self.lock: LockText | None = None
        self.refused: ScriptFailed | None = None
        self._interpreter, self._python = interpreter, python
        self._both = list(dict.fromkeys((python, interpreter)))
        self._prefixes = list(dict.fromkeys(each.prefix for each in self._both))
        self._store, self._seeds = store, seeds
        self._run, self._log = run, log
        self._time_left = time_left
        self._has_script = False
        self._implicit: ImplicitScript | None = None
        self._tree_name = ""
        self._tree: list[TreeEntry] = []
        self._at_first: list[Installed] = []
        self._info_at_first: set[str] = set()
        self._trace = UNKNOWN

    async def prepare(self) -> None:
        """Write the snapshot out, and work out the key. Then `refused` says why the script cannot
        be run. Raises SnapshotFailed, OSError."""
        self.spec.pip_cache.mkdir(parents=True, exist_ok=True)
        await self._write_out()
        self._tree_name, self._tree = await read_tree(self.spec.snapshot)
        try:
            self._has_script = check_script(self.spec)
        except ScriptFailed as error:
            self.refused = error
            return
        if not self._has_script:
            asked = self.spec, self._interpreter.language
            self._implicit = await trio.to_thread.run_sync(find_implicit_script, *asked)
        elif odd := await trio.to_thread.run_sync(normalize_script, self.spec):
            self._log.write(f"{self.spec.script} has {odd}, which the build leaves out")
        parts = KeyParts(
            project=self.spec.project,
            interpreter=[
                *(text for each in self._both for text in (str(each.path), each.version)),
                str(self.spec.base),
            ],
            script=self._script(),
            network=self.spec.network,
            variables=self.spec.variables_id,
        )
        self._any_lock = await trio.to_thread.run_sync(key_of, parts, self._tree)
        # One that obeys a lock is not what a new build would get.
        self.key = self._any_lock
        if self.spec.lock:
            locked = replace(parts, lock=self.spec.lock)
            self.key = await trio.to_thread.run_sync(key_of, locked, self._tree)

    @property
    def equals(self) -> str:
        """What builds have to have in common to wait for one another: the key, and the content of
        the script, since a changed script never makes the same."""
        script = os.fsencode(self.spec.script)
        return " ".join([self.key, *(each.name for each in self._tree if each.path == script)])

    def _script(self) -> str:
        """What is run: the path of the script, or the line in its place; "" for nothing."""
        if self._has_script:
            return self.spec.script
        return self._implicit.line if self._implicit else ""

    async def _write_out(self) -> None:
        await write_out(self.spec.snapshot, self.spec.code)

    async def find(self, kept: ExitStack) -> bool:
        """Find an environment that was made before, and keep it in use while `kept` is open. Raises
        OSError."""
        found = await trio.to_thread.run_sync(self._store.of_keys, {self.key, self._any_lock})
        for name in found:
            with ExitStack() as use:
                use.enter_context(self._store.in_use(name))
                if self._store.is_being_removed(name) or not await self._fits(name):
                    continue
                kept.push(use.pop_all())
                self._log.write(
                    f"Using environment {name[:8]} again: the script would make the same"
                    if self._script()
                    else f"Using environment {name[:8]} again"
                )
                return True
        return False

    async def _fits(self, name: str) -> bool:
        """Whether an environment is the one that the script would make; if so, take it."""
        manifest = self._store.sealed(name)
        inputs = await trio.to_thread.run_sync(self._store.inputs, name)
        if manifest is None or inputs is None or manifest.project != self.spec.project:
            return False
        if not self._store.has_interpreter(name):
            return False
        if not is_same(inputs.reads, names_in(self._tree), self._tree_name):
            return False
        if await trio.to_thread.run_sync(self._names_other_home, name, Path(manifest.home)):
            return False
        if not await self._gets_the_same(name, inputs):
            return False
        await trio.to_thread.run_sync(self._lay_over, name, inputs)
        await trio.to_thread.run_sync(take_ownership, self.spec.code)
        await trio.to_thread.run_sync(self._store.used_now, name)
        text = await trio.to_thread.run_sync(self._store.lock_text, name)
        self.lock = written_lock(text) if text else None
        self.spec = replace(self.spec, environment=self._store.folder(name))
        return True

    def _lay_over(self, name: str, inputs: Inputs, *, link: bool = True) -> None:
        """Make the changes of an environment's script again. Blocking."""
        removed = [path_of(text) for text in inputs.removed]
        script_changes.lay_over(self._store.files(name), removed, self.spec.code, link=link)

    async def _gets_the_same(self, name: str, inputs: Inputs) -> bool:
        """Whether the script's requests for packages would get now what they got. What a lock
        states does not change.

        To resolve them may run code of the project, which finds the files that the script left. It
        may change them, so the snapshot is written out again afterwards.
        """
        if self.spec.lock:
            text = await trio.to_thread.run_sync(self._store.lock_text, name)
            return text == self.spec.lock
        requests = msgspec.json.decode(inputs.requests, type=list[PipRequest])
        if not (requests or inputs.repositories):
            return True
        self._log.write("Asking the package index what the script would get now")
        await trio.to_thread.run_sync(partial(self._lay_over, name, inputs, link=False))
        found = await self._fingerprint(requests) if requests else ""
        if found == inputs.fingerprint and inputs.repositories:
            earlier = replace(self.spec, environment=self._store.folder(name))
            of_r = await self._versions_of_r(earlier, inputs.repositories)
            found = found if of_r == inputs.versions else None
        await remove_sealed(self.spec.code)
        await self._write_out()
        return found == inputs.fingerprint

    async def _versions_of_r(self, spec: BuildSpec, repositories: list[str]) -> str | None:
        prefix, limit = self._prefixes[-1], min(INDEX_SECONDS, self._time_left())
        return await versions_now(spec, repositories, prefix=prefix, run=self._run, limit=limit)

    async def _fingerprint(self, requests: list[PipRequest], *, cached: bool = False) -> str | None:
        limit = min(INDEX_SECONDS, self._time_left())
        try:
            return await fingerprint(
                *(self.spec, requests, self._run, NullLog(), limit), cached=cached
            )
        except TimeoutError:
            return None

    def _names_other_home(self, name: str, home: Path) -> bool:
        """Whether an environment names a home that is not the one of this build. Blocking."""
        if home == self.spec.home:
            return False
        trees = self._store.virtualenv(name), self._store.files(name)
        return any(names_path(tree, str(home)) for tree in trees)

    async def make(self, kept: ExitStack) -> None:
        """Make a new virtual environment. While `kept` is open, that which gives it bytecode is in
        use. Raises EnvironmentFailed, OSError."""
        if not self.spec.fresh:
            await self._take_bytecode(kept)
        spec, python = self.spec, self._python
        spec.environment.mkdir(parents=True)
        names = " and ".join(f"{each.name} {each.version}" for each in self._both)
        self._log.write(f"Creating an environment for {names}")
        await self._seeds.make_environment(
            *(spec.virtualenv, python, self._log, self._time_left()), base=spec.base
        )
        await trio.to_thread.run_sync(write_wrappers, spec, python)
        await trio.to_thread.run_sync(make_library, spec, self._interpreter)
        self._at_first = await read_environment(spec, python)
        self._info_at_first = await self._info_folders()

    async def _take_bytecode(self, kept: ExitStack) -> None:
        """Let the packages take the bytecode of the last environment that is like this one."""
        asked = self._store, self.spec.project, self._interpreter
        name = await trio.to_thread.run_sync(last_compiled, *asked)
        if name and not self._store.is_being_removed(name):
            kept.enter_context(self._store.in_use(name))
            self.spec = replace(self.spec, bytecode=self._store.virtualenv(name))

    async def run_script(self) -> bool:
        """Run the script in it, if there is one. Raises ScriptFailed, TimeoutError, OSError."""
        if not self._script():
            self._log.write(f"No {self.spec.script}: skipping this step")
            self._trace = Trace(read=frozenset(), changed=[], removed=[])
            return False
        await give_files(self.spec, self._prefixes, self._run)
        states = await trio.to_thread.run_sync(access_times.mark, self.spec.code)
        exact = await trio.to_thread.run_sync(access_times.is_exact, self.spec.folder)
        if self.spec.lock:
            await write_constraints(self.spec, self._log)
        self._log.write(self._implicit.told if self._implicit else f"Running {self.spec.script}")
        await run_script(
            *(self.spec, self._prefixes, self._run, self._log, self._time_left()),
            implicit=self._implicit,
        )
        compare = partial(script_changes.trace, self.spec.code, self._tree, states, exact=exact)
        try:
            self._trace = await trio.to_thread.run_sync(compare)
        except (TooDeep, OSError):  # `take_over` names what is too deep
            self._trace = UNKNOWN
        return True

    async def record(self) -> None:
        """Record what the environment was made from, with its lock. Afterwards its files are ours,
        and never change. Raises ScriptFailed, OSError."""
        spec = self.spec
        requests = await trio.to_thread.run_sync(self._read_requests)
        repositories = await trio.to_thread.run_sync(self._read_repositories)
        got: str | None = ""
        versions: str | None = ""

        async def ask() -> None:
            nonlocal got
            if requests:
                got = await self._fingerprint(requests, cached=True)
                got = got or await self._fingerprint(requests)

        async def ask_of_r() -> None:
            nonlocal versions
            versions = await self._versions_of_r(spec, repositories) if repositories else ""

        # All may wait for an index.
        await run_all(ask, ask_of_r, self._make_lock)
        unknown = await self._what_is_unknown(requests, got)
        if not unknown and (repositories is None or versions is None):
            unknown = "what the repositories of R have for its requests is not known"
        if unknown:
            self._log.write(f"The next build makes its environment again: {unknown}")
        inputs = Inputs(
            reads=reads_of(self._trace.read, self._tree, self._tree_name),
            removed=[text_of(path) for path in self._trace.removed],
            requests=msgspec.Raw(msgspec.json.encode(requests or [])),
            fingerprint=got or "",
            repositories=repositories or [],
            versions=versions or "",
        )
        await trio.to_thread.run_sync(take_over, spec.virtualenv, spec.code)
        await trio.to_thread.run_sync(self._write_records, inputs)
        self._found_by = "" if unknown else self.key

    async def seal(self, shared: SharedSeal) -> None:
        """Seal the environment. Meanwhile its programs may run. Raises OSError."""
        spec = self.spec
        manifest = EnvironmentManifest(
            project=spec.project,
            key=self._found_by,
            interpreter=str(self._interpreter.path),
            prefix=str(self._interpreter.prefix),
            home=str(spec.home),
            version=self._interpreter.version,
            sealed_at=now(),
        )
        await shared.seal(spec.environment, manifest)

    async def _make_lock(self) -> None:
        """Raises ScriptFailed, OSError."""
        spec = self.spec
        # The lock has the packages of the base, but not what each seed has.
        seeded = [each for each in self._at_first if spec.base is None or each.name in SEEDED]
        self.lock = await make_lock(
            *(spec, self._python, seeded),
            r=self._interpreter.version if self._interpreter.language == "r" else "",
            run=self._run,
            log=self._log,
            time_left=self._time_left(),
        )
        if spec.lock:
            await check_obeyed(spec.lock, self.lock, self._log)

    async def _what_is_unknown(self, requests: list[PipRequest] | None, got: str | None) -> str:
        """What is not known of what the environment was made from; "" if all is."""
        if not self._trace.is_plain:
            return "the script left pipes, sockets or closed folders in the project"
        if requests is None:
            return "its requests for packages were not recorded"
        if got is None:
            return "what the package index gives for its requests is not known beforehand"
        if not await self._has_only_requested(requests):
            return "the script installed packages without pip"
        return ""

    async def _has_only_requested(self, requests: list[PipRequest]) -> bool:
        """Whether all packages come from the seed and the requests, none from a uv or conda that
        the script runs itself; what a `uv.lock` states is the same each time."""
        if self._implicit and self._implicit.file.endswith("uv.lock"):
            return True
        try:
            if not requests:
                return await read_environment(self.spec, self._python) == self._at_first
            known = self._info_at_first.union(*(each.got for each in requests))
            return await self._info_folders() <= known
        except TooManyPackages:
            return False

    async def _info_folders(self) -> set[str]:
        packages = site_packages(self.spec.virtualenv, self._python.version)
        return await trio.to_thread.run_sync(info_folders, packages)

    def _read_requests(self) -> list[PipRequest] | None:
        """The script's requests for packages; None if they are not known. Blocking."""
        return read_requests(self.spec, script_variables(self.spec)) if self._script() else []

    def _read_repositories(self) -> list[str] | None:
        """The repositories of R that the script has asked; None if they are not known. Blocking."""
        packages = read_library(library_of(self.spec.virtualenv))
        return read_repositories(self.spec, packages) if self._script() else []

    def _write_records(self, inputs: Inputs) -> None:
        folder = self.spec.environment
        if self.lock:
            (folder / LOCK).write_text(self.lock.text)
        script_changes.keep(self.spec.code, folder / "files", self._trace.changed)
        text = msgspec.json.encode(inputs)
        if len(text) <= MOST_INPUT_BYTES:  # else it is not found again
            (folder / INPUTS).write_bytes(text)
