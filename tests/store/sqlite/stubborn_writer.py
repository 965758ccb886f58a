"""Run as a process on a failing disk: writes projects, says how each went, and ends as if killed
right after a refusal, once it has said so many."""

import os
import sys
from pathlib import Path

import trio

from store import StoreFailed, open_database, projects
from tests.support.records import a_project


async def main(folder: Path, count: int) -> None:
    async with open_database(folder / "predictd.db") as database:
        for number in range(10 * count):
            try:
                await database.write(projects.insert, a_project(f"{number}"))
                print(f"done {number}", flush=True)
            except StoreFailed:
                print(f"refused {number}", flush=True)
                if number > count // 2:
                    os._exit(9)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
