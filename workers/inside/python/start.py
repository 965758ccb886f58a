"""The first file a replica runs: `<environment>/bin/python start.py FD_IN FD_OUT`.

It brings in `predictd_inside` and gets out of the way. The folder of our packages is on `sys.path`
for the time of that import and never again, so that nothing of ours can shadow what the project
brings along.
"""

import os
import sys


def serve(inlet: int, outlet: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Python has put this folder first, unless PYTHONSAFEPATH tells it not to.
    elsewhere = [entry for entry in sys.path if entry != here]
    sys.path[:] = [os.path.join(here, "packages"), *elsewhere]
    # Found by the line above, which a type checker does not see.
    from predictd_inside.serve import main  # type: ignore[import-not-found]

    sys.path[:] = elsewhere
    main(inlet, outlet)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
