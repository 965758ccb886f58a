"""Run as a process: writes projects until it is killed, and says each one once it is committed."""

import sys
from itertools import count
from pathlib import Path

import trio

from store import lock_data_folder, open_database, projects
from store.records import Project


async def main(folder: Path, round_name: str) -> None:
    async with open_database(folder / "predictd.db") as database, trio.open_nursery() as nursery:

        async def write(writer: int) -> None:
            for n in count():
                name = f"{round_name}-{writer}-{n}"
                project = Project(name=name, path=f"/{name}", linked=True, creator="ada")
                await database.write(projects.insert, project)
                print(name, flush=True)

        for writer in range(3):
            nursery.start_soon(write, writer)


if __name__ == "__main__":
    with lock_data_folder(Path(sys.argv[1])):
        trio.run(main, Path(sys.argv[1]), sys.argv[2])
