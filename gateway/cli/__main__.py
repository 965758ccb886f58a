"""`python -m gateway.cli` is the command `predictd`."""

import sys

from gateway.cli import main

sys.exit(main())
