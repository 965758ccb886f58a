"""Every peer and floor: what it is, its fastest configuration, and the request that it gets.

`isolation` says where the function runs: "none", in the process that handles requests; "process",
in a separate process; "floor", there is no function.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.peers import serving
from benchmarks.peers.failure import PeerFailed
from benchmarks.peers.installation import installed
from benchmarks.peers.serving import Launch, Question, Served

__all__ = ["FOLDER", "PEERS", "PLUMBER", "Peer", "PeerFailed", "Served"]

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """One server, which serves one function with one worker."""

    name: str
    isolation: Literal["none", "process", "floor"]
    folder: Path
    launch: Launch
    question: Question = field(default_factory=Question)
    programs: tuple[tuple[str, str], ...] = ()
    """What must be on the machine: (program, the distribution's package that brings it)."""

    @contextmanager
    def started(self, cache: Path) -> Iterator[Served]:
        """Installs the peer below `cache` and starts, checks and warms it; ends it with the block.

        Raises PeerFailed with the last lines of output, for any failure.
        """
        for program, package in self.programs:
            if shutil.which(program, path=serving.PATH) is None:
                reason = f"there is no `{program}`: install the distribution's package {package}"
                raise PeerFailed(self.name, reason)
        requirements = self.folder / "requirements.txt"
        environment = installed(self.name, requirements, cache) if requirements.exists() else None
        with serving.serving(
            self.name, self.launch, self.question, self.folder, environment
        ) as served:
            yield served


_UVICORN = "--host 127.0.0.1 --port $port --no-access-log --log-level warning"
_GUNICORN = "--worker-class gevent --workers 1 --keep-alive 75 --no-control-socket"
_UWSGI = "--wsgi-file app.py --need-app --master --die-on-term --processes 1 --disable-logging"
_UWSGI_ROUTER = (
    "--http 127.0.0.1:$port --http-keepalive=75 --http-to $work/app.sock --socket $work/app.sock"
)
_C_COMPILER = ("cc", "build-essential")
_GRANIAN = "--interface rsgi --workers 1 --loop uvloop --http 1 --no-ws --log-level warning"
_MLFLOW = "--workers 1 --env-manager local"

PEERS: dict[str, Peer] = {
    "fastapi": Peer(
        name="FastAPI on uvicorn",
        isolation="none",
        folder=FOLDER / "fastapi",
        launch=Launch(
            f"$bin/uvicorn app:app --loop uvloop --http httptools {_UVICORN}".split(),
        ),
    ),
    "flask": Peer(
        name="Flask on gunicorn",
        isolation="none",
        folder=FOLDER / "flask",
        launch=Launch(f"$bin/gunicorn app:app --bind 127.0.0.1:$port {_GUNICORN}".split()),
        question=Question(result=lambda reply: reply["result"]),
    ),
    "uwsgi": Peer(
        name="uWSGI",
        isolation="none",
        folder=FOLDER / "uwsgi",
        launch=Launch(f"$bin/uwsgi {_UWSGI} {_UWSGI_ROUTER}".split()),
        programs=(_C_COMPILER,),
    ),
    "uwsgi-direct": Peer(
        name="uWSGI without its router",
        isolation="none",
        folder=FOLDER / "uwsgi",
        launch=Launch(f"$bin/uwsgi {_UWSGI} --http11-socket 127.0.0.1:$port --threads 16".split()),
        programs=(_C_COMPILER,),
    ),
    "granian": Peer(
        name="Granian",
        isolation="none",
        folder=FOLDER / "granian",
        launch=Launch(f"$bin/granian app:app --host 127.0.0.1 --port $port {_GRANIAN}".split()),
    ),
    "litserve": Peer(
        name="LitServe",
        isolation="process",
        folder=FOLDER / "litserve",
        launch=Launch(["$bin/python", "server.py", "$port"]),
    ),
    "bentoml": Peer(
        name="BentoML",
        isolation="none",
        folder=FOLDER / "bentoml",
        launch=Launch(
            ["$bin/bentoml", "serve", "service:Add", "--host", "127.0.0.1", "--port", "$port"],
            variables={"BENTOML_DO_NOT_TRACK": "True"},
        ),
        question=Question(path="/add"),
    ),
    "mlserver": Peer(
        name="MLServer",
        isolation="process",
        folder=FOLDER / "mlserver",
        launch=Launch(["$bin/mlserver", "start", "."]),
        question=Question(
            path="/v2/models/add/infer",
            body=b'{"inputs":[{"name":"a","shape":[1],"datatype":"INT64","data":[3]},'
            b'{"name":"b","shape":[1],"datatype":"INT64","data":[5]}]}',
            result=lambda reply: reply["outputs"][0]["data"][0],
        ),
    ),
    "mlflow": Peer(
        name="MLflow",
        isolation="none",
        folder=FOLDER / "mlflow",
        launch=Launch(
            f"$bin/mlflow models serve -m $work/model -h 127.0.0.1 -p $port {_MLFLOW}".split(),
            before=["$bin/python", "save.py", "$work/model"],
            variables={"MLFLOW_DISABLE_TELEMETRY": "true", "UVICORN_ACCESS_LOG": "false"},
        ),
        question=Question(
            path="/invocations",
            body=b'{"dataframe_split":{"columns":["a","b"],"data":[[3,5]]}}',
            result=lambda reply: reply["predictions"][0],
        ),
    ),
    "ray-serve": Peer(
        name="Ray Serve",
        isolation="process",
        folder=FOLDER / "ray_serve",
        launch=Launch(
            ["$bin/python", "server.py", "$port", "$work"],
            variables={
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
                "RAY_SERVE_ENABLE_HA_PROXY": "1",
                "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
                "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "$work/haproxy/haproxy.cfg",
                "RAY_SERVE_HAPROXY_SOCKET_PATH": "$work/haproxy/admin.sock",
                "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "$work/haproxy/metrics.sock",
                "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "$work/haproxy",
                "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "$work/haproxy/server-state",
            },
            patience=120.0,
        ),
    ),
    "nginx": Peer(
        name="nginx, static reply",
        isolation="floor",
        folder=FOLDER / "nginx",
        launch=Launch(["nginx", "-e", "stderr", "-p", "$work", "-c", "$work/nginx.conf"]),
        programs=(("nginx", "nginx"),),
    ),
}

_PLUMBER = "plumber::pr_run(plumber::pr('plumber.R'), port = $port, docs = FALSE, quiet = TRUE)"
# Which serves a function of R.
PLUMBER = Peer(
    name="plumber",
    isolation="none",
    folder=FOLDER / "plumber",
    launch=Launch(["Rscript", "--vanilla", "-e", _PLUMBER]),
    programs=(("Rscript", "r-base-core"),),
)
