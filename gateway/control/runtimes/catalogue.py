"""Finds runtimes by their names.

A runtime is an interpreter of this machine, bare or with packages that a site administrator chose:

    "python3.11", "Python 3.11", "3.11"   the interpreter without packages
    "science"                             the newest version of that name that new builds can use
    "science@2"                           this version; builds that have it keep it
    "r", "R 4.2"                          the newest R, this R
    ""                                    the project's, else the site's `default_runtime`, else the
                                          default interpreter; where that does not run files of this
                                          name, the default interpreter of their language
"""

from collections.abc import Sequence

import msgspec

import builder
import store
from builder import Interpreter, Language, RMissing, UnknownKernel
from gateway.control.interpreters import Interpreters
from gateway.control.runtime_settings import RuntimeSettings
from store import Database, Project, Runtime


class RuntimeChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What a name means. `runtime` is None for an interpreter without packages."""

    identifier: str
    interpreter: Interpreter
    runtime: Runtime | None = None


class RuntimeCatalogue:
    """All runtimes by name."""

    def __init__(
        self, *, database: Database, interpreters: Interpreters, settings: RuntimeSettings
    ) -> None:
        self._database = database
        self._interpreters = interpreters
        self._settings = settings

    async def default(self) -> RuntimeChoice:
        """The site's default; the default interpreter if that cannot be used."""
        made = await self._usable()
        runtime = named(self._settings.current.default_runtime, made)
        if runtime is not None:
            return await self._with_packages(runtime)
        try:
            return await self._bare(self._settings.current.default_runtime, made)
        except UnknownKernel:
            return await self._bare("", made)

    async def check(self, name: str) -> None:
        """Raises UnknownKernel if new builds cannot use a runtime of this name."""
        usable = await self._usable()
        if named(name, usable) is None:
            await self._bare(name, usable)

    async def choose(self, name: str, project: Project, file: str = "") -> RuntimeChoice:
        """The runtime of a new build or experiment, of this `file` if it is given. Raises
        UnknownKernel, which is RMissing for a file of R on a machine without R."""
        usable = await self._usable()
        if name:
            return await self._named(name, usable)
        usual = project.runtime or self._settings.current.default_runtime
        choice = await self._named(usual, usable)
        language = builder.language_of_file(file) if file else choice.interpreter.language
        if choice.interpreter.language == language:
            return choice
        return await self.bare_of(language)

    async def bare_of(self, language: Language) -> RuntimeChoice:
        """The default interpreter of a language, without packages. Raises RMissing."""
        return await self._bare("r" if language == "r" else "", ())

    async def _named(self, name: str, usable: Sequence[Runtime]) -> RuntimeChoice:
        runtime = named(name, usable)
        if runtime is not None:
            return await self._with_packages(runtime)
        return await self._bare(name, usable)

    async def find(self, identifier: str) -> RuntimeChoice:
        """The runtime of an existing build or experiment, also if it is disabled. Raises
        UnknownKernel."""
        made = await self._database.read(store.runtimes.list_all)
        return await self._named(identifier, made)

    async def _usable(self) -> list[Runtime]:
        """Those that new builds can use."""
        made = await self._database.read(store.runtimes.list_all)
        return [each for each in made if each.status == "ready" and not each.disabled]

    async def _with_packages(self, runtime: Runtime) -> RuntimeChoice:
        interpreter = builder.match(runtime.interpreter, await self._interpreters.all())
        return RuntimeChoice(
            identifier=runtime.identifier, interpreter=interpreter, runtime=runtime
        )

    async def _bare(self, name: str, others: Sequence[Runtime]) -> RuntimeChoice:
        try:
            interpreter = builder.match(name, await self._interpreters.all())
        except RMissing:  # it may have been installed meanwhile
            interpreter = builder.match(name, await self._interpreters.rediscover())
        except UnknownKernel as error:
            names = dict.fromkeys(each.name for each in others)
            raise UnknownKernel(error.kernel, [*names, *error.known]) from None
        return RuntimeChoice(identifier=interpreter.identifier, interpreter=interpreter)


def named(name: str, runtimes: Sequence[Runtime]) -> Runtime | None:
    """The runtime with this identifier, or the newest one with this name. `runtimes` ascend."""
    matching = [each for each in runtimes if name in (each.identifier, each.name)]
    return matching[-1] if matching else None
