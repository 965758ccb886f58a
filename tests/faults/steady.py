"""Calls a model at a steady pace until its input ends, then says how long that took.

A process of its own: `steady.py HOST PORT KEY RATE`. It says `begun` after the first
answer. Its last line is JSON, in milliseconds:
`p50`, `p99` and `slowest` of the calls, and `late`, by how much it was itself woken too late at
worst, which tells how busy the machine was.
"""

import json
import select
import socket
import sys
import time


def main() -> None:
    host, port, key, rate = sys.argv[1:]
    body = json.dumps({"accessKey": key, "request": {"nonce": 1}})
    request = (
        f"POST /model HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    pause, took, late = 1 / float(rate), [], 0.0
    with socket.create_connection((host, int(port)), 30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.perf_counter()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.perf_counter()))[0]:
            now = time.perf_counter()
            late = max(late, now - due)
            due = max(due, now - pause) + pause
            client.sendall(request)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            took.append(time.perf_counter() - now)
            if len(took) == 1:
                print("begun", flush=True)
    took.sort()
    figures = {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "slowest": took[-1]}
    figures["late"] = late
    print(json.dumps({name: round(value * 1000, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
