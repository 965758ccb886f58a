"""Runs the script of an experiment: `<environment>/bin/python run.py SCRIPT ARGUMENT...`.

Like start.py it imports `predictd_inside` and hands over to it.
"""

import os
import sys


def run(script: str, *arguments: str) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this folder first, unless PYTHONSAFEPATH tells it not to.
    elsewhere = [entry for entry in sys.path if entry != here]
    sys.path[:] = [os.path.join(here, "packages"), *elsewhere]
    # The line above makes it importable, which a type checker does not see.
    from predictd_inside.script import main  # type: ignore[import-not-found]

    sys.path[:] = elsewhere
    main(script, list(arguments))


if __name__ == "__main__":
    run(*sys.argv[1:])
