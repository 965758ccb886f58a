"""`add` as a LitAPI: the function runs in a worker process of LitServe."""

import sys

import litserve


class Add(litserve.LitAPI):
    def setup(self, device):
        pass

    def predict(self, request):
        return request["a"] + request["b"]


if __name__ == "__main__":
    server = litserve.LitServer(
        Add(), accelerator="cpu", workers_per_device=1, fast_queue=True, disable_openapi_url=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
