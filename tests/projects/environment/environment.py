"""A model that tells where it finds itself, and which of {"modules": [names]} it can import."""

import importlib.util
import os
import sys


def report(args):
    return {
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "argv": sys.argv,
        "sys_path": sys.path,
        "python": sys.executable,
        "importable": {
            name: importlib.util.find_spec(name) is not None for name in args.get("modules", [])
        },
    }
