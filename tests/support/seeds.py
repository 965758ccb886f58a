"""One folder of ready seeds for all gateways of these tests, and for later runs.

A gateway of a test has a new data folder, and would make a seed when it has started: 0.6 s of CPU
for each of a thousand tests. Seeds are complete or absent, so gateways can share them. The first
one is made here, since most gateways of tests end before they could.
"""

import subprocess
import sys
from pathlib import Path

from gateway.data_folder import DataFolder

ROOT = Path(__file__).parents[2]
SEEDS = ROOT / ".pytest_cache" / "seeds"
_MAKE = """
import sys
from pathlib import Path
import trio
from builder import Seeds, inspect
from tests.support.builder import run
from tests.support.seeds import SEEDS

async def make() -> None:
    await Seeds(SEEDS, run).prepare(await inspect(Path(sys.executable)), 60)

trio.run(make)
"""


def share_seeds(data: Path) -> None:
    """Lets a gateway on `data` use them, unless it has some of its own."""
    seeds = DataFolder(data).seeds
    SEEDS.mkdir(parents=True, exist_ok=True)
    if not any(SEEDS.glob("python{}.{}-*".format(*sys.version_info))):
        subprocess.run([sys.executable, "-c", _MAKE], cwd=ROOT, check=True)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not seeds.exists():
        seeds.symlink_to(SEEDS)
