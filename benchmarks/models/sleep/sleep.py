"""A model that takes the time that a request states, without using the processor."""

import time


def sleep(args):
    time.sleep(args["seconds"])
    return args.get("nonce")
