"""A model that takes SLOW_START_SECONDS to load."""

import os
import time

time.sleep(float(os.environ.get("SLOW_START_SECONDS", "0")))


def predict(args):
    return "awake"
