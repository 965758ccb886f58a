"""The first file a replica runs: `<environment>/bin/python start.py FD_IN FD_OUT`.

It imports `predictd_inside` and hands over to it. The folder of our packages is on
`sys.path` only during that import, so that no module of ours can shadow one of the project's.
"""

import os
import sys


def serve(inlet: int, outlet: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this folder first, unless PYTHONSAFEPATH tells it not to.
    elsewhere = [entry for entry in sys.path if entry != here]
    sys.path[:] = [os.path.join(here, "packages"), *elsewhere]
    # The line above makes it importable, which a type checker does not see.
    from predictd_inside.serve import main  # type: ignore[import-not-found]

    sys.path[:] = elsewhere
    main(inlet, outlet)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
