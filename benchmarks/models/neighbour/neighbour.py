"""A model that must not affect other models: on request it prints, dies or forks."""

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
    """Prints half of the bytes per second that the gateway reads from a pipe."""
    while True:
        print("\n".join(["x" * 99] * 50), flush=True)
        time.sleep(0.01)


def _fork(end):
    """Forks until `end`, in this process and all its children."""
    while time.monotonic() < end:
        try:
            if os.fork() == 0:
                _fork(end)
                os._exit(0)
        except OSError:
            pass
