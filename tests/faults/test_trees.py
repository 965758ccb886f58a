"""A process ends with its whole tree of processes.

The children of the hostile model and of the hostile script have forked twice, lead sessions of
their own and ignore every signal that can be ignored. They are found by a token in their arguments.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.client import Json
from tests.faults.bench import TIME_LIMIT, Took, kept_waiting
from tests.faults.conftest import Observe
from tests.faults.matrix import fault
from tests.support.polling import until
from tests.support.served_gateway import (
    Gateway,
    at,
    copy,
    write,
)
from tests.support.skipping import not_here

COUNT = 5
# What is promised: after what ends them, and after a kill of the gateway that they belong to.
SECONDS, AT_ONCE = 2.0, 1.0
# Until the next one serves: the start of an interpreter is the model's.
RESTART = 3.5


def alive(token: str) -> list[int]:
    """The processes that bear the token in their arguments, from outside."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if token.encode() in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def gone(token: str) -> str:
    """Waits until all that bear the token are, in the time that is promised; says when."""
    with Took() as took:
        until(lambda: not alive(token), SECONDS)
    return f"none after {took}"


@pytest.fixture
def token() -> str:
    return uuid4().hex


@pytest.fixture
def served(tmp_path: Path, gateway: Gateway) -> Json:
    return gateway.serve(copy("hostile", tmp_path / "hostile"), "hostile.py", "behave", replicas=2)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path / "data", model_request_timeout=str(TIME_LIMIT)) as running:
        yield running


def hatch(gateway: Gateway, model: Json, token: str, **more: object) -> None:
    """Has a replica leave its brood."""
    told = gateway.call(model, {"do": "brood", "count": COUNT, "token": token, **more})
    assert told.status == 200, told.body
    until(lambda: len(alive(token)) == COUNT)


def stop(gateway: Gateway, model: Json) -> None:
    assert gateway.cli("model", "stop", "behave").code == 0


def redeploy(gateway: Gateway, model: Json) -> None:
    assert gateway.cli("model", "redeploy", "behave").code == 0


def restart(gateway: Gateway, model: Json) -> None:
    assert gateway.cli("model", "restart", "behave").code == 0


def delete(gateway: Gateway, model: Json) -> None:
    gateway.client.delete(at(model))


def end(gateway: Gateway, model: Json) -> None:
    gateway.end(signal.SIGTERM)
    gateway.start()


def time_out(gateway: Gateway, model: Json) -> None:
    """Both replicas, since one does not know which has the brood."""
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(
            lambda _: gateway.call(model, {"do": "sleep", "seconds": 60}).status, range(2)
        )
        assert list(told) == [504, 504]


ENDS: list[Callable[[Gateway, Json], None]] = [stop, redeploy, restart, delete, end, time_out]


@fault(
    "children that forked twice, lead sessions, ignore signals: of a model",
    injection="five of them left by a replica; then stop, redeploy, restart, delete, time-out, "
    "SIGTERM to the gateway",
    bound="none of them is left 2 s after",
)
@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.__name__)
def test_children_of_a_replica_end_with_it(
    gateway: Gateway,
    served: Json,
    token: str,
    observe: Observe,
    how: Callable[[Gateway, Json], None],
) -> None:
    """The children of a replica end with it."""
    hatch(gateway, served, token)
    how(gateway, served)
    observe(f"{how.__name__}: {gone(token)}")


@fault(
    "such children, without the mark in their environment",
    injection="five of them started with an empty environment, then stop",
    bound="none of them is left 2 s after, where there are namespaces or cgroups",
)
def test_children_without_a_mark_end_with_their_replica(
    gateway: Gateway, served: Json, token: str, observe: Observe
) -> None:
    """A child that removes its mark is still in the namespace, and in the cgroup."""
    if os.geteuid():
        not_here("whether there are namespaces or cgroups is certain for root only")
    hatch(gateway, served, token, without_mark=True)
    stop(gateway, served)
    observe(gone(token))


@fault(
    "the gateway is killed while models compute, with such children",
    injection="kill -9 of the gateway; two busy replicas, five children",
    bound="the replicas are gone in 1 s; the children at once where there is a namespace, else at "
    "the next start; that serves in 3 s and what the model takes",
)
def test_killed_gateway_leaves_no_process(
    gateway: Gateway, served: Json, token: str, observe: Observe
) -> None:
    """A killed gateway ends its busy replicas, and its next start the rest."""
    hatch(gateway, served, token)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(gateway.call, served, {"do": "sleep", "seconds": 1}) for _ in "ab"]
        gateway.end(signal.SIGKILL)
        with Took() as took:
            until(lambda: len(gateway.processes()) <= COUNT, AT_ONCE)
        left = len(alive(token))
        for each in asked:
            assert each.exception() is not None
    with Took() as restart:
        gateway.start()
        until(lambda: gateway.call(served, {"do": "echo"}).status == 200)
    assert restart.seconds - kept_waiting(gateway.pid) < RESTART
    gone(token)
    observe(
        f"replicas gone after {took}; {left} of {COUNT} children lived until the next start, "
        f"which served after {restart}"
    )


SCRIPT = """\
python - <<'END'
import os, sys
sys.path.insert(0, os.getcwd())
import hostile
hostile.behave({{"do": "brood", "count": {count}, "token": "{token}"}})
END
{then}
"""
ENDINGS = {"succeeds": "true", "fails": "exit 3", "is killed by itself": "kill -9 $$"}


@fault(
    "children that forked twice, lead sessions, ignore signals: of a build script",
    injection="five of them left by cdsw-build.sh, which then succeeds, fails or kills itself",
    bound="none of them is left when the build has ended",
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_children_of_a_build_end_with_its_script(
    gateway: Gateway, tmp_path: Path, token: str, observe: Observe, ending: str
) -> None:
    """The children of a build end with its script."""
    folder = copy("hostile", tmp_path / "hostile")
    write(folder, {"cdsw-build.sh": SCRIPT.format(count=COUNT, token=token, then=ENDINGS[ending])})
    model = gateway.model(gateway.project(folder), "behave")
    build = gateway.build(model, "hostile.py", "behave")
    assert build["status"] == ("built" if ending == "succeeds" else "build failed"), build
    observe(f"{ending}: {gone(token)}")


@fault(
    "a project is deleted while such a build runs",
    injection="five children of a script that would run for an hour; then the deletion",
    bound="none of them is left 2 s after, nor the folder of the build",
)
def test_deletion_ends_a_running_build(
    gateway: Gateway, tmp_path: Path, token: str, observe: Observe
) -> None:
    """A deletion ends the running build, with all its processes."""
    folder = copy("hostile", tmp_path / "hostile")
    write(folder, {"cdsw-build.sh": SCRIPT.format(count=COUNT, token=token, then="sleep 3600")})
    project = gateway.project(folder)
    model = gateway.model(project, "behave")
    wish = {"file_path": "hostile.py", "function_name": "behave"}
    gateway.client.post(f"{at(model)}/builds", wish)
    until(lambda: len(alive(token)) == COUNT)
    gateway.client.delete(f"/projects/{project['id']}")
    observe(gone(token))
    assert not gateway.processes()
    assert not list((gateway.data / "builds").iterdir())
