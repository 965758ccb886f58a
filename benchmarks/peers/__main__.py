"""`python -m benchmarks.peers [PEER...]`: starts and checks each, and looks how quick it is.

For developers who change how a peer is run: two seconds of wrk, no benchmark.
"""

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.peers.catalogue import PEERS, PeerFailed, Served

_FIGURES = re.compile(r"50%\s+(\S+).*99%\s+(\S+).*Requests/sec:\s+(\S+)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("peers", nargs="*", choices=[*PEERS, []], metavar="PEER")
    parser.add_argument("--cache", type=Path, required=True, help="where peers stay installed")
    arguments = parser.parse_args()
    for name in arguments.peers or PEERS:
        try:
            with PEERS[name].started(arguments.cache) as served:
                print(f"{name}: answered after {served.seconds_to_answer:.2f} s", flush=True)
                for callers in (1, 16):
                    print(f"  c={callers}: {_look(served, callers)}", flush=True)
        except PeerFailed as failed:
            print(failed, flush=True)


def _look(served: Served, callers: int) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        headers = [f'wrk.headers["{name}"] = "{value}"\n' for name, value in served.headers.items()]
        script.write(f"wrk.method = 'POST'\nwrk.body = [==[{served.body.decode()}]==]\n")
        script.writelines(headers)
        script.flush()
        url = f"http://{served.host}:{served.port}{served.path}"
        command = ["wrk", "-t1", f"-c{callers}", "-d2s", "--latency", "-s", script.name, url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = _FIGURES.search(said)
    bad = [line.strip() for line in said.splitlines() if "Non-2xx" in line or "Socket" in line]
    if figures is None:
        return said
    return "p50 {}, p99 {}, {} requests/s ".format(*figures.groups()) + " ".join(bad)


if __name__ == "__main__":
    main()
