"""`add` as a Ray Serve deployment of one replica."""

import signal
import sys

import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Add:
    async def __call__(self, request: Request) -> int:
        args = await request.json()
        return args["a"] + args["b"]


if __name__ == "__main__":
    port, folder = int(sys.argv[1]), sys.argv[2]
    ray.init(
        _temp_dir=folder,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        object_store_memory=100 << 20,
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Add.bind(), logging_config={"enable_access_log": False})
    signal.pause()
