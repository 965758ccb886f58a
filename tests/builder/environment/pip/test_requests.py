"""What a script asked of `pip` is recorded, and is resolved again."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from builder.environment.pip.fingerprint import fingerprint
from builder.environment.pip.requests import (
    MOST_BYTES,
    MOST_REQUESTS,
    PipRequest,
    fill_in,
    read_requests,
    record_path,
)
from tests.builder.environment.pip.test_dependencies import SOURCES
from tests.support.builder import Bench, run
from tests.support.package_index import PackageIndex, serving
from tests.support.scripts import run_in_new_environment
from tests.support.wheels import make_wheel

OFFLINE = {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1"}


class Recorded(NamedTuple):
    """The requests of a script, and what they give when they are resolved again."""

    requests: list[PipRequest]
    fingerprints: list[str | None]


async def build(bench: Bench, name: str, script: str, **variables: str) -> Recorded:
    bench.write("model.py", "def predict(args):\n    return args\n")
    bench.write("cdsw-build.sh", script)
    spec = await bench.spec(name, variables=OFFLINE | variables)
    requests = await run_in_new_environment(bench, spec)
    return Recorded(requests, [await fingerprint(spec, requests, run, bench.log, 60)])


async def test_requests_are_recorded_in_order(bench: Bench) -> None:
    """Each spelling of pip is recorded with who served it; requests that get nothing are not."""
    wheels = bench.project / "wheels"
    make_wheel(wheels, "greeting", "1.0")
    make_wheel(wheels, "second", "1.0")
    script = """
    pip3 install --user -f wheels greeting
    python -m pip install -f wheels second --ignore-installed
    cd wheels && "$VIRTUAL_ENV/bin/pip" install --find-links=. greeting
    pip list; python3 -m pip --version; pip freeze
    """
    recorded = await build(bench, "one", script)
    assert [each.served for each in recorded.requests] == ["uv", "pip", "uv"]
    assert [each.folder for each in recorded.requests] == [".", ".", "wheels"]
    assert {each.status for each in recorded.requests} == {0}
    assert recorded.requests[0].pairs[-1] == ("", "greeting")
    assert recorded.fingerprints == [None]
    assert "pip serves this request instead of uv: it does not have --ignore-installed" in bench.log
    assert "Successfully installed greeting-1.0" in bench.log
    assert "greeting==1.0" in bench.log


async def test_fingerprint_tells_what_the_index_gives(bench: Bench, tmp_path: Path) -> None:
    """It is equal while the index gives the same, and another one when there is a new version that
    the requests take."""
    wheels = tmp_path / "index"
    make_wheel(wheels, "greeting", "1.0", requires=("second",))
    make_wheel(wheels, "second", "1.0")
    bench.write("requirements.txt", "greeting<2\n")
    script = f"pip install -f {wheels} -r requirements.txt\npip install -f {wheels} second\n"
    [first] = (await build(bench, "one", script)).fingerprints
    [equal] = (await build(bench, "two", script)).fingerprints
    make_wheel(wheels, "greeting", "2.0")
    [not_taken] = (await build(bench, "three", script)).fingerprints
    make_wheel(wheels, "second", "1.1")
    [other] = (await build(bench, "four", script)).fingerprints
    assert first
    assert first == equal == not_taken
    assert other
    assert other != first


async def test_cache_tells_what_the_script_got(bench: Bench) -> None:
    """After a script uv's cache tells what the script got, also when the index has changed."""
    with serving(PackageIndex()) as index:
        index.add("greeting", "1.0", requires=("second",))
        index.add("second", "1.0")
        bench.write("cdsw-build.sh", f"pip install -i {index.url} --no-cache-dir greeting")
        spec = await bench.spec("one", variables={"PIP_CONFIG_FILE": "/dev/null"})
        requests = await run_in_new_environment(bench, spec)

        async def told(*, cached: bool) -> str | None:
            return await fingerprint(spec, requests, run, bench.log, 60, cached=cached)

        before = await told(cached=False)
        index.add("second", "2.0")
        assert before
        assert await told(cached=True) == before
        assert await told(cached=False) not in (None, before)
        index.files.clear()
        assert await told(cached=False) is None


async def test_replaced_file_changes_the_fingerprint(bench: Bench, tmp_path: Path) -> None:
    """A file that is replaced under the same version has another hash."""
    script = f"pip install -f {tmp_path} greeting\n"
    make_wheel(tmp_path, "greeting", "1.0")
    [first] = (await build(bench, "one", script)).fingerprints
    make_wheel(tmp_path, "greeting", "1.0", more="Summary: another\n")
    [other] = (await build(bench, "two", script)).fingerprints
    assert first
    assert other
    assert first != other


@pytest.mark.parametrize(
    "script",
    [
        "pip install -e . ./wheels/greeting-1.0-py3-none-any.whl",
        "cd src && pip install .. -r ../more.txt",
        "pip install --group extra",
        "pip install -f wheels -c more.txt 'greeting>=1' --no-deps",
        'pip install -r "$PWD/more.txt"',
    ],
)
async def test_local_sources_have_a_fingerprint(bench: Bench, script: str) -> None:
    """Paths are those of the request, wherever uv is asked again."""
    for name, text in SOURCES.items():
        bench.write(name, text)
    bench.write("more.txt", "greeting==1.0\n")
    make_wheel(bench.project / "wheels", "greeting", "1.0")
    make_wheel(bench.project / "wheels", "second", "1.0")
    wheels = "wheels" if "cd src" not in script else "../wheels"
    [first] = (await build(bench, "one", script, PIP_FIND_LINKS=wheels)).fingerprints
    [equal] = (await build(bench, "two", script, PIP_FIND_LINKS=wheels)).fingerprints
    assert first
    assert first == equal


async def test_failed_request_has_no_fingerprint(bench: Bench, tmp_path: Path) -> None:
    """A script may go on after a request that failed, but its environment cannot be told again."""
    make_wheel(tmp_path, "greeting", "1.0")
    script = f"pip install missing || pip install -f {tmp_path} greeting\n"
    recorded = await build(bench, "one", script)
    assert [each.status for each in recorded.requests] == [1, 0]
    assert recorded.fingerprints == [None]


async def test_changed_temporary_folder_does_not_hide_requests(
    bench: Bench, tmp_path: Path
) -> None:
    """The record does not depend on TMPDIR, which scripts change."""
    make_wheel(tmp_path, "greeting", "1.0")
    script = f"export TMPDIR=$PWD/own; mkdir own; pip install -f {tmp_path} greeting"
    assert len((await build(bench, "one", script)).requests) == 1


async def test_values_of_variables_are_not_kept(bench: Bench, tmp_path: Path) -> None:
    """A request has the names of variables in the place of their values, which are filled in."""
    make_wheel(tmp_path / "s3cr3t", "greeting", "1.0")
    script = f"export HTTPS_PROXY=http://$TOKEN@host; pip install -f {tmp_path}/$TOKEN greeting"
    recorded = await build(bench, "one", script, TOKEN="s3cr3t")
    [request] = recorded.requests
    assert "s3cr3t" not in str(request)
    assert request.variables == {"HTTPS_PROXY": "http://\0TOKEN\0@host"}
    filled = fill_in(request, await bench.spec("two", variables=OFFLINE | {"TOKEN": "other1"}))
    assert ("--find-links", f"{tmp_path}/other1") in filled.pairs
    assert recorded.fingerprints[0]


@pytest.mark.parametrize(
    "content",
    [
        b"no JSON\n",
        b'{"served": "us"}\n',
        b"x" * (MOST_BYTES + 1),
        b"\n" * (MOST_REQUESTS + 1),
        None,
    ],
)
async def test_damaged_record_is_none(bench: Bench, content: bytes | None) -> None:
    """The project's code can write the record: what is not ours, too long or missing is None."""
    bench.write("model.py")
    spec = await bench.spec()
    spec.tmp.mkdir(parents=True)
    if content is not None:
        record_path(spec).write_bytes(content)
    assert read_requests(spec, {}) is None


@pytest.mark.parametrize(
    ("folder", "count", "told"), [("", 1, True), ("/elsewhere", 1, False), ("", 201, False)]
)
async def test_record_is_bounded(bench: Bench, folder: str, count: int, told: bool) -> None:
    """Requests outside the project, and too many of them, are None."""
    bench.write("model.py")
    spec = await bench.spec()
    spec.tmp.mkdir(parents=True)
    request = PipRequest(
        served="uv",
        verb="install",
        arguments=[],
        pairs=[],
        folder=folder or str(spec.home),
        variables={},
        status=0,
    )
    record_path(spec).write_bytes((msgspec.json.encode(request) + b"\n") * count)
    assert (read_requests(spec, {}) is not None) == told
