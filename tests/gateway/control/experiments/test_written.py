"""Experiments keep the files that their scripts write, and projects take them."""

from pathlib import Path

from tests.support.gateway import Gateway, Json, refusal

SCRIPT = """\
import os, sys
open("model.pkl", "wb").write(b"x" * 1000)
open("notes.txt", "w").write("n")
os.makedirs("out", exist_ok=True)
open("out/plot.png", "wb").write(b"p")
os.symlink("/etc/passwd", "passwd")
sys.exit(int(sys.argv[1]))
"""


def project_in(folder: Path) -> Path:
    project = folder / "writes"
    project.mkdir()
    (project / "fit.py").write_text(SCRIPT)
    (project / ".gitignore").write_text("# none\n*.pkl\n")
    return project


async def ended(gateway: Gateway, project: str, **asked: object) -> tuple[str, Json]:
    body = {"script": "fit.py", "arguments": ["0"], **asked}
    made = await gateway.post(f"{project}/experiments", body)
    path = f"{project}/experiments/{made['id']}"
    return path, await gateway.until(path, lambda now: now["ended_at"] is not None)


async def files(gateway: Gateway, path: str) -> list[str]:
    return [each["path"] for each in (await gateway.get(f"{path}/files"))["files"]]


async def test_written_files_are_kept_and_named(gateway: Gateway, tmp_path: Path) -> None:
    """By default all plain files, also of a script that failed; the log names them, and what is
    not kept."""
    project = await gateway.project(project_in(tmp_path))
    for status in ("succeeded", "failed"):
        path, shown = await ended(gateway, project, arguments=["01"[status == "failed"]])
        assert shown["status"] == status
        assert await files(gateway, path) == ["model.pkl", "notes.txt", "out/plot.png"]
        log = (await gateway.admin.get(f"{path}/log")).text
        assert "[predictd] kept 3 new or changed files" in log
        assert "(it is not a plain file): passwd" in log
        folder = gateway.data / "experiments" / shown["id"]
        assert sorted(each.name for each in folder.iterdir()) == ["outputs"]


async def test_patterns_and_bounds_of_an_experiment(gateway: Gateway, tmp_path: Path) -> None:
    """`keep` chooses by name or path; the site bounds the number and the size."""
    project = await gateway.project(project_in(tmp_path))
    path, shown = await ended(gateway, project, keep=["*.pkl"])
    assert (await files(gateway, path), shown["keep"]) == (["model.pkl"], ["*.pkl"])
    path, _ = await ended(gateway, project, keep=[])
    assert await files(gateway, path) == []
    await gateway.admin.patch("/site/settings", json={"max_experiment_size": 9000})
    path, _ = await ended(gateway, project)
    assert await files(gateway, path) == ["model.pkl", "notes.txt"]
    await gateway.admin.patch("/site/settings", json={"max_experiment_files": 0})
    path, _ = await ended(gateway, project)
    assert await files(gateway, path) == []


async def test_promoted_file_that_is_ignored_is_told(gateway: Gateway, tmp_path: Path) -> None:
    """The answer has the line of `.gitignore` that keeps the file out of builds."""
    folder = project_in(tmp_path)
    (folder / "out").mkdir()
    (folder / "out" / ".gitignore").write_text("*.png\n")
    project = await gateway.project(folder)
    path, _ = await ended(gateway, project)

    async def add(file: str, target: str = "") -> str:
        body = {"path": file, "target": target}
        return str((await gateway.post(f"{path}:add_to_project", body))["hidden_by"])

    assert await add("model.pkl") == "line 2 of .gitignore (`*.pkl`)"
    assert (folder / "model.pkl").read_bytes() == b"x" * 1000
    assert await add("out/plot.png") == "line 1 of out/.gitignore (`*.png`)"
    assert await add("notes.txt") == ""
    assert await add("model.pkl", "model.bin") == ""
    (folder / ".gitignore").write_text("kept/\n")
    assert await add("notes.txt", "kept/a/notes.txt") == "line 1 of .gitignore (`kept/`)"
    answer = await gateway.admin.post(f"{path}:add_to_project", json={"path": "passwd"})
    assert refusal(answer) == (404, "file.notfound")
