"""A model that takes as long as it is told, without needing the processor meanwhile."""

import time


def sleep(args):
    time.sleep(args["seconds"])
    return args.get("nonce")
