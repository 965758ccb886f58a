"""Runtimes that administrators make: created, described, disabled, deleted.

A runtime is read-only once it is made, and environments start from a copy of it. So a build serves
without its runtime, and only another build or a rebuild needs the runtime's folder.
"""

import logging
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

import builder
import store
from builder import UnknownKernel
from gateway.background import Tasks
from gateway.control.disk.removal_queue import RemovalQueue
from gateway.control.operation import Operations, ended_log
from gateway.control.runtimes.catalogue import RuntimeChoice, named
from gateway.control.runtimes.runtime_task import RuntimeServices, RuntimeTask
from gateway.errors import Refusal
from store import Database, Runtime, User
from workers import Log

logger = logging.getLogger(__name__)

# All versions of all names.
MOST_RUNTIMES = 200
_REQUIREMENTS_BYTES = 64 * 1024
_TEXT_CHARACTERS = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class NewRuntime(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `python` is a version or a kernel name; "" means the default."""

    name: str
    python: str = ""
    requirements: str = ""
    edition: str = "Standard"
    description: str = ""


class RuntimeUnavailable(builder.BuilderError):
    """The packages of a runtime were lost, and could not be installed again."""


class Runtimes:
    """All runtimes with packages."""

    def __init__(
        self,
        services: RuntimeServices,
        *,
        database: Database,
        tasks: Tasks,
        removal_queue: RemovalQueue,
    ) -> None:
        self._services = services
        self._database = database
        self._removal_queue = removal_queue
        self._operations: Operations[RuntimeTask] = Operations(tasks)
        # One runtime is made at a time: projects' builds matter more.
        self._turn = trio.Lock()

    async def recover(self) -> None:
        """Continues with those that were not ready when the gateway ended."""
        for runtime in await self._database.read(store.runtimes.unfinished):
            self._start(runtime)

    async def all(self) -> list[Runtime]:
        return await self._database.read(store.runtimes.list_all)

    async def get(self, identifier: str) -> Runtime:
        """By identifier, name (the newest version) or id. Raises NotFound."""
        runtimes = await self.all()
        found = named(identifier, runtimes)
        found = found or next((each for each in runtimes if each.id == identifier), None)
        if found is None:
            raise store.NotFound("runtime", identifier)
        return found

    async def create(self, asked: NewRuntime, creator: User) -> Runtime:
        """Starts to make the next version of a name. Raises Refusal, UnknownKernel."""
        _check(asked)
        if len(await self.all()) >= MOST_RUNTIMES:
            text = f"there are {MOST_RUNTIMES} runtimes: delete those that are not used any more"
            raise Refusal("state.conflict", text)
        runtime = Runtime(
            name=asked.name,
            interpreter=await self._interpreter(asked.python),
            requirements=asked.requirements,
            edition=asked.edition,
            description=asked.description,
            creator=creator.name,
        )
        runtime = await self._database.write(store.runtimes.insert, runtime)
        self._start(runtime)
        return runtime

    async def _interpreter(self, python: str) -> str:
        """The identifier of an interpreter, which may have to be downloaded."""
        try:
            found = builder.match(python, await self._services.interpreters.all())
            if found.language != "python":
                text = f"python: {python!r} is no Python, and runtimes have packages of Python"
                raise Refusal("argument.invalid", text)
            return found.identifier
        except UnknownKernel:
            if version := builder.version_in(python):
                return f"python{version}"
            raise

    async def update(self, runtime: Runtime, **changes: object) -> Runtime:
        """Changes the description or edition, or disables it for new builds. Raises Refusal."""
        for name in ("description", "edition"):
            if name in changes:
                _check_text(name, str(changes[name]))
        return await self._database.write(store.runtimes.update, runtime.id, **changes)

    async def delete(self, runtime: Runtime) -> None:
        """Deletes a runtime that nothing uses. Raises RuntimeInUse, Refusal."""
        default = self._services.settings.current.default_runtime
        others = [each for each in await self.all() if each.id != runtime.id]
        if default == runtime.identifier or (default and named(default, others) is None):
            text = f"runtime {runtime.identifier!r} is the site's default: choose another one first"
            raise Refusal("state.conflict", text)
        await self._database.write(store.runtimes.delete, runtime.id)
        if (task := self._operations.get(runtime.id)) is not None:
            await task.operation.cancel_and_wait()
        await self._removal_queue.remove(partial(self._remove, runtime.id))

    async def _remove(self, runtime_id: str) -> None:
        data = self._services.data
        await self._services.made.remove(runtime_id)
        await trio.to_thread.run_sync(builder.remove_tree, data.pip_cache(runtime_id))
        await builder.drop_snapshot(data.runtime_snapshots, runtime_id)
        await trio.to_thread.run_sync(self.log(runtime_id).remove)

    async def base(self, choice: RuntimeChoice) -> Path | None:
        """The virtual environment that those of this runtime start from; None for a bare
        interpreter.

        A runtime whose folder was lost, as after a restore, is made again first. Raises
        RuntimeUnavailable if that fails.
        """
        if (runtime := choice.runtime) is None:
            return None
        virtualenv = self._services.made.virtualenv(runtime.id)
        if self._services.made.sealed(runtime.id) and not self._operations.get(runtime.id):
            return virtualenv
        task = self._operations.get(runtime.id) or self._start(runtime)
        await task.operation.ended.wait()
        if task.failure is not None:
            raise RuntimeUnavailable(
                f"The packages of runtime {runtime.identifier!r} could not be installed",
                f"{task.failure.summary}: {task.failure.problem}",
                task.failure.advice,
            )
        return virtualenv

    async def wait(self, runtime_id: str) -> Runtime:
        """The runtime, once nothing makes it. Raises NotFound."""
        await self._operations.wait_ended(runtime_id)
        return await self._database.read(store.runtimes.get, runtime_id)

    def log(self, runtime_id: str) -> Log:
        task = self._operations.get(runtime_id)
        return task.log if task else ended_log(self._services.data.runtime_log(runtime_id))

    def _start(self, runtime: Runtime) -> RuntimeTask:
        task = RuntimeTask(self._services, self._turn, runtime)
        return self._operations.start(runtime.id, task, _nothing)


async def _nothing(_: RuntimeTask) -> None:
    """Nothing follows."""


def _check(asked: NewRuntime) -> None:
    """Raises Refusal for what cannot be a runtime."""
    if not _NAME.fullmatch(asked.name):
        text = f"name: {asked.name!r} is no name: use a-z, 0-9, '.', '_' and '-', at most 63"
        raise Refusal("argument.invalid", text)
    if re.fullmatch(r"(r|python)?[0-9.]*", asked.name):
        text = f"name: {asked.name!r} is the name of an interpreter: choose another one"
        raise Refusal("argument.invalid", text)
    if len(asked.requirements.encode()) > _REQUIREMENTS_BYTES:
        raise Refusal("argument.invalid", f"requirements: more than {_REQUIREMENTS_BYTES} bytes")
    if local := _local_lines(asked.requirements.splitlines()):
        text = f"requirements: {local[0]!r} names a file, and a runtime has no files"
        raise Refusal("argument.invalid", text)
    _check_text("description", asked.description)
    _check_text("edition", asked.edition)


def _check_text(name: str, text: str) -> None:
    if len(text) > _TEXT_CHARACTERS or not text.isprintable():
        raise Refusal("argument.invalid", f"{name}: give at most {_TEXT_CHARACTERS} characters")


def _local_lines(lines: Sequence[str]) -> list[str]:
    """The lines that name another file, which a runtime does not have."""
    options = ("-r", "-c", "-e", "--requirement", "--constraint", "--editable", ".", "/")
    return [line for line in lines if line.strip().startswith(options)]
