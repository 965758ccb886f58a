"""Each model has what its own build installed, and nothing else."""

import contextlib
import json
import os
import random
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest

from gateway.client import ApiError
from tests.support.served_gateway import Gateway, Prober, copy, write
from tests.support.skipping import not_here

SCRIPT = "pip install --no-index --find-links . -r requirements.txt\n"
NETWORK = """\
import socket

def reach(args):
    try:
        socket.create_connection(("127.0.0.1", args["port"]), 5).close()
    except OSError as error:
        return error.strerror
    return "reached"
"""
MODEL = """\
import pinned

def which(args):
    return {"version": pinned.VERSION, **args}
"""


def wheel(folder: Path, version: str) -> None:
    """A wheel of the package `pinned`, made by hand."""
    about = f"pinned-{version}.dist-info"
    files = {
        "pinned/__init__.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: pinned\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{about}/RECORD"
    files[record] = "".join(f"{name},,\n" for name in [*files, record])
    with ZipFile(folder / f"pinned-{version}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def test_conflicting_versions_serve_side_by_side(gateway: Gateway, tmp_path: Path) -> None:
    """Two models that pin conflicting versions of one package serve at the same time."""
    models = {}
    for version in ("1.0", "2.0"):
        folder = write(
            tmp_path / f"pins-{version[0]}",
            {
                "which.py": MODEL,
                "cdsw-build.sh": SCRIPT,
                "requirements.txt": f"pinned=={version}\n",
            },
        )
        wheel(folder, version)
        models[version] = gateway.serve(folder, "which.py", "which")
    with Prober(gateway, list(models.values()), {}).running():
        for version, model in models.items():
            assert gateway.call(model, {}).body["response"] == {"version": version}


def test_model_imports_only_what_its_build_installed(gateway: Gateway, tmp_path: Path) -> None:
    """The packages of the gateway itself are installed on the machine, and not importable in a
    model; nor is anything of the gateway's environment visible."""
    model = gateway.serve(copy("environment", tmp_path / "project"), "environment.py", "report")
    modules = ["trio", "msgspec", "quart", "gateway", "store", "json"]
    told = gateway.call(model, {"modules": modules}).body["response"]
    assert [name for name, found in told["importable"].items() if found] == ["json"]
    leaked = {name for name in told["environment"] if name.startswith(("PYTHONPATH", "PYTEST"))}
    assert not leaked


def test_deployment_without_a_network_reaches_nothing(gateway: Gateway, tmp_path: Path) -> None:
    """A deployment that asks for none reaches nothing, not even its gateway, and answers; one that
    asks for outward does not reach the gateway; the next one that does not ask has it again."""
    if (level := gateway.client.get("/site")["isolation"]["level"]) not in ("users", "userns"):
        not_here(f"isolation is {level}, which cannot take the network away")
    port = urlsplit(gateway.url).port
    folder = write(tmp_path / "project", {"network.py": NETWORK})
    model = gateway.model(gateway.project(folder), "reach")
    build = gateway.build(model, "network.py", "reach")
    levels = [("none", "Connection refused"), ("machine", "reached")]
    if shutil.which("slirp4netns") and os.access("/dev/net/tun", os.R_OK | os.W_OK):
        levels.insert(1, ("outward", "Connection refused"))
    for network, reached in levels:
        deployment = gateway.deploy(model, build, network=network)
        assert deployment["network"] == network
        assert gateway.call(model, {"port": port}).body["response"] == reached


def test_network_restriction_without_isolation_is_refused(tmp_path: Path) -> None:
    """Where the isolation cannot enforce it, a request for less network is refused, not ignored."""
    with Gateway(tmp_path / "data", isolation="none") as gateway:
        model = gateway.model(gateway.project(copy("add", tmp_path / "project")), "add")
        build = gateway.build(model, "add.py", "add")
        for network in ("none", "outward"):
            with pytest.raises(ApiError, match="cannot take it away") as refused:
                gateway.deploy(model, build, network=network)
            assert refused.value.code == "machine.isolation"


LISTEN = """
import socket
def listen(args):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", args["port"]))
        listener.listen()
    return "listens"
"""


def free_port() -> int:
    """One that the kernel does not give to others, who asked for any."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def test_model_listens_only_where_it_may(gateway: Gateway, tmp_path: Path) -> None:
    """A model listens on a free TCP port, as PySpark does; on a port that it names only if its
    deployment allows it, and otherwise the error says what to do."""
    isolation = gateway.client.get("/site")["isolation"]
    if isolation["may_listen"]:
        not_here(isolation["may_listen"])
    folder = write(tmp_path / "project", {"listen.py": LISTEN})
    model = gateway.model(gateway.project(folder), "listen")
    build = gateway.build(model, "listen.py", "listen")
    gateway.deploy(model, build)
    assert gateway.call(model, {"port": 0}).body["response"] == "listens"
    port = {"port": free_port()}
    refused = gateway.call(model, port)
    assert refused.status == 500
    assert "Permission denied (it may listen on a free TCP port" in refused.body["message"]
    assert gateway.deploy(model, build, network="listen")["network"] == "listen"
    assert gateway.call(model, port).body["response"] == "listens"


def test_script_listens_only_where_it_may(gateway: Gateway, tmp_path: Path) -> None:
    """The same holds for build scripts and experiments; a build is tried out with what it may."""
    isolation = gateway.client.get("/site")["isolation"]
    if isolation["may_listen"]:
        not_here(isolation["may_listen"])
    port = {"port": free_port()}
    script = f"python -c 'import listen; listen.listen({json.dumps(port)})'\n"
    files = {
        "listen.py": LISTEN,
        "cdsw-build.sh": script,
        "run.py": f"import listen\nlisten.listen({port})\n",
    }
    files["import.py"] = f"import listen\nlisten.listen({port})\ndef f(args):\n    return 1\n"
    folder = write(tmp_path / "project", files)
    project = gateway.project(folder)
    model = gateway.model(project, "listen")
    assert gateway.build(model, "listen.py", "listen")["status"] == "build failed"
    assert gateway.build(model, "import.py", "f", network="listen")["status"] == "built"
    write(folder, {"cdsw-build.sh": "true\n"})
    path = f"/projects/{project['id']}/experiments"
    for network, status in (("machine", "failed"), ("listen", "succeeded")):
        asked = {"script": "run.py", "network": network}
        ended = gateway.finished(gateway.client.post(path, asked), path)
        assert ended["status"] == status, ended["failure"]
        if status == "failed":
            assert "--network listen" in ended["failure"]["advice"]
