"""The language of a file decides which interpreter builds and runs it, unless a kernel is named."""

from pathlib import Path

from builder import Interpreter
from tests.support.gateway import Gateway, discovered, refusal, running, settings_for

MODEL = "double <- function(args) list(x = args$x * 2)\n"


async def without_r(default: Path | None, downloads: Path | None) -> list[Interpreter]:
    """A machine that has no R."""
    found = await discovered(default, downloads)
    return [each for each in found if each.language == "python"]


async def with_r(default: Path | None, downloads: Path | None) -> list[Interpreter]:
    """A machine that has R, which nothing starts here."""
    r = Interpreter(
        identifier="r4.2", kernel="R 4.2", version="4.2.2", path=Path("/r/Rscript"), language="r"
    )
    return [*await without_r(default, downloads), r]


async def model_of_r(gateway: Gateway, folder: Path) -> str:
    folder.mkdir()
    (folder / "double.R").write_text(MODEL)
    (folder / "double.py").write_text("def double(args):\n    return args\n")
    return await gateway.model(await gateway.project(folder))


async def test_deploy_of_r_without_r_names_the_packages(tmp_path: Path) -> None:
    """A machine without R serves Python; a build of R is refused with what to install."""
    async with running(settings_for(tmp_path / "data"), discover=without_r) as gateway:
        model = await model_of_r(gateway, tmp_path / "p")
        asked = {"file_path": "double.R", "function_name": "double"}
        refused = await gateway.admin.post(f"{model}/builds", json=asked)
        assert refusal(refused) == (400, "kernel.unknown")
        assert "R is not on this machine" in refused.text
        assert "r-base-core" in refused.text
        assert "r-cran-jsonlite" in refused.text
        await gateway.built(model, "double.py:double")


async def test_r_is_listed_beside_python(tmp_path: Path) -> None:
    """An R is a runtime without packages. Runtimes with packages are of Python alone."""
    async with running(settings_for(tmp_path / "data"), discover=with_r) as gateway:
        listed = (await gateway.get("/runtimes"))["runtimes"]
        r = next(each for each in listed if each["language"] == "r")
        assert (r["runtime_identifier"], r["kernel"], r["default"]) == ("r4.2", "R 4.2", False)
        refused = await gateway.admin.post("/runtimes", json={"name": "mine", "python": "r"})
        assert refusal(refused) == (400, "argument.invalid")


async def test_default_of_the_site_is_for_files_of_its_language(tmp_path: Path) -> None:
    """With R as the site's default a file of Python has a Python all the same."""
    async with running(settings_for(tmp_path / "data"), discover=with_r) as gateway:
        changed = await gateway.admin.patch("/site/settings", json={"default_runtime": "R 4.2"})
        assert changed.status_code == 200, changed.text
        model = await model_of_r(gateway, tmp_path / "p")
        build = await gateway.built(model, "double.py:double")
        assert (await gateway.get(build))["runtime_identifier"].startswith("python3")
