"""What processes cost is seen from outside."""

import os
import subprocess
import sys
import time

from benchmarks.sampler import Cost, watching

BUSY = "import time\nprint(flush=True)\nwhile time.process_time() < 60: 0"


def test_cpu_and_memory_of_a_tree() -> None:
    """A process that computes is charged for it, and its children are another role's."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout
            busy.stdout.readline()
            roles = {"gateway": [os.getpid()], "replicas": [os.getpid()]}
            with watching(roles, every=0.05) as costs:
                end = time.monotonic() + 30
                while costs["replicas"].cpu_seconds < 0.1 and time.monotonic() < end:
                    time.sleep(0.02)
        finally:
            busy.kill()
    assert costs["replicas"].cpu_seconds >= 0.1
    assert costs["replicas"].peak_mb > 1
    assert costs["gateway"].processes == 1


def test_who_has_ended_costs_nothing_more() -> None:
    """A process that is gone is no error."""
    with watching({"server": [2**22 + 1]}) as costs:
        pass
    assert costs == {"server": Cost()}
