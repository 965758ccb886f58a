"""A build script run in a new environment, without the other steps of a build."""

import shutil

from builder.environment.build_script import run_script
from builder.environment.pip.requests import PipRequest, read_requests
from builder.environment.pip.wrappers import script_variables, write_wrappers
from builder.interpreters import inspect
from builder.spec import BuildSpec
from tests.support.builder import Bench, run


async def run_in_new_environment(bench: Bench, spec: BuildSpec) -> list[PipRequest]:
    """Runs the script of the bench's project, and returns what it asked of pip. Raises
    ScriptFailed."""
    interpreter = await inspect(spec.interpreter)
    for folder in (spec.folder, spec.environment, spec.tmp, spec.pip_cache):
        folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(bench.project, spec.code)
    await bench.seeds.make_environment(spec.virtualenv, interpreter, bench.log, 60)
    write_wrappers(spec, interpreter)
    await run_script(spec, [interpreter.prefix], run, bench.log, 60)
    requests = read_requests(spec, script_variables(spec))
    assert requests is not None
    return requests
