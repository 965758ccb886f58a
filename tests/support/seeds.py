"""One folder of ready seeds for all gateways of these tests, and for later runs.

A gateway of a test has a new data folder, and would make a seed for its first build: 0.6 s of CPU
for each of a thousand tests. Seeds are complete or absent, so gateways can share them.
"""

from pathlib import Path

from gateway.data_folder import DataFolder

SEEDS = Path(__file__).parents[2] / ".pytest_cache" / "seeds"


def share_seeds(data: Path) -> None:
    """Lets a gateway on `data` use them, unless it has some of its own."""
    seeds = DataFolder(data).seeds
    SEEDS.mkdir(parents=True, exist_ok=True)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not seeds.exists():
        seeds.symlink_to(SEEDS)
