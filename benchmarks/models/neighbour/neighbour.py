"""A model that a gateway's other models should not notice: it prints, dies or forks when told."""

import os
import threading
import time

print("here", flush=True)


def behave(args):
    do = args.get("do", "")
    if do == "die":
        os._exit(1)
    if do == "print":
        threading.Thread(target=_print, daemon=True).start()
    if do == "fork":
        _fork(time.monotonic() + args["seconds"])
    return do


def _print():
    """Half of what a pipe may give each second."""
    while True:
        print("\n".join(["x" * 99] * 50), flush=True)
        time.sleep(0.01)


def _fork(end):
    """Forks until `end`, in every process that there is then."""
    while time.monotonic() < end:
        try:
            if os.fork() == 0:
                _fork(end)
                os._exit(0)
        except OSError:
            pass
