"""Projects of R: their models, beside those of Python, their experiments, and the template."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, Json, refusal, running, settings_for
from tests.support.r_packages import Repository, rscript, write_package

MODEL = """\
library(mine)
predict.distance <- function(args) list(distance = args$speed * 2, by = mine::mine())
"""
PYTHON = "def distance(args):\n    return {'distance': args['speed'] * 2}\n"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    rscript()
    async with running(settings_for(tmp_path / "data")) as gateway:
        yield gateway


def project_with(folder: Path, **files: str) -> Path:
    """A project of these files; `__` stands for a dot."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


async def experiment(gateway: Gateway, project: str, script: str, *arguments: str) -> Json:
    asked = {"script": script, "arguments": list(arguments)}
    made = await gateway.post(f"{project}/experiments", asked)
    path = f"{project}/experiments/{made['id']}"
    return await gateway.until(
        path, lambda now: now["status"] in ("succeeded", "failed"), pause=0.1
    )


async def log_of(gateway: Gateway, project: str, run: Json) -> str:
    return (await gateway.admin.get(f"{project}/experiments/{run['id']}/log")).text


async def test_models_of_r_and_python_in_one_project(gateway: Gateway, tmp_path: Path) -> None:
    """The ending of the file decides what a model runs; one build script prepares for both. The
    build tells its packages of R, and what differs."""
    repository = Repository(tmp_path / "cran")
    repository.add("far", "1.2.0")
    folder = project_with(
        tmp_path / "p",
        model__R=MODEL,
        model__py=PYTHON,
        **{"cdsw-build__sh": "R CMD INSTALL mine\npip --version\n"},
    )
    write_package(folder, "mine")
    project = await gateway.project(folder)
    of_r, of_python = await gateway.model(project, "r"), await gateway.model(project, "python")
    build = await gateway.built(of_r, "model.R:predict.distance", example={"speed": 3})
    other = await gateway.built(of_python, "model.py:distance")
    for each, kernel in ((build, "r4"), (other, "python3")):
        assert str((await gateway.get(each))["runtime_identifier"]).startswith(kernel)
        await gateway.deployed(each, replicas=1)
    answer = await gateway.call(await gateway.key(of_r), {"speed": 3})
    assert answer.json()["response"] == {"distance": 6, "by": "mine 1.0"}
    answer = await gateway.call(await gateway.key(of_python), {"speed": 3})
    assert answer.json()["response"] == {"distance": 6}
    lock = await gateway.admin.get(f"{build}/lock", headers={"Accept": "application/json"})
    assert lock.json()["r"].startswith("4.")
    assert [(each["name"], each["language"]) for each in lock.json()["packages"]] == [("mine", "r")]
    (folder / "cdsw-build.sh").write_text("R CMD INSTALL mine\nRscript install.R\n")
    (folder / "install.R").write_text(repository.install("far"))
    second = await gateway.built(of_r, "model.R:predict.distance")
    compared = await gateway.get(f"{build}/diff/{second.rpartition('/')[2]}")
    assert compared["packages"] == [
        {"name": "far", "kind": "added", "before": "", "after": "1.2.0", "language": "r"}
    ]


async def test_missing_package_has_a_remedy(gateway: Gateway, tmp_path: Path) -> None:
    """A model of R without its package is told what to install, and where it failed."""
    model = await gateway.model(
        await gateway.project(project_with(tmp_path / "p", model__R="library(absent)\nf <- sum\n"))
    )
    build = await gateway.build(model, "model.R:f")
    ended = await gateway.until(build, lambda now: now["status"] == "build failed", pause=0.1)
    assert "absent" in ended["failure"]["problem"]
    assert 'install.packages("absent")' in ended["failure"]["advice"]
    assert "r-cran-absent" in ended["failure"]["advice"]


async def test_experiment_of_r_has_arguments_values_and_plots(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A script finds its arguments, prints values as at the console, and leaves plots as PNG."""
    script = (
        'commandArgs(trailingOnly = TRUE)\n1 + 1\nx <- 3\n(x)\nplot(1)\nplot(2)\ncat("done\\n")\n'
        'pdf("own.pdf"); plot(3); invisible(dev.off())\n'
        "library(cdsw)\ntrack.metric('r2', 0.5)\n"
    )
    project = await gateway.project(project_with(tmp_path / "p", fit__R=script))
    run = await experiment(gateway, project, "fit.R", "one", "two three")
    log = await log_of(gateway, project, run)
    assert run["status"] == "succeeded", log
    for text in ('[1] "one"       "two three"', "[1] 2", "[1] 3", "done"):
        assert text in log
    files = await gateway.get(f"{project}/experiments/{run['id']}/files")
    names = sorted(each["path"] for each in files["files"])
    assert names == ["Rplot001.png", "Rplot002.png", "own.pdf"]
    failed = await experiment(gateway, project, "fit.R")
    assert failed["status"] == "succeeded"


async def test_script_of_another_language_than_its_kernel_is_refused(
    gateway: Gateway, tmp_path: Path
) -> None:
    """A kernel that is named has to be able to run the script."""
    files = {"fit__R": "1\n", "fit__py": "1\n"}
    project = await gateway.project(project_with(tmp_path / "p", **files))
    for script, kernel in (("fit.R", "python3"), ("fit.py", "r")):
        asked = {"script": script, "kernel": kernel}
        answer = await gateway.admin.post(f"{project}/experiments", json=asked)
        assert refusal(answer) == (400, "argument.invalid")
        assert "leave the kernel out" in answer.text


async def test_template_of_r(gateway: Gateway) -> None:
    """The template is fitted as an experiment, and serves what it has fitted, with metrics."""
    made = await gateway.post("/projects", {"name": "cars", "template": "R"})
    project = f"/projects/{made['id']}"
    run = await experiment(gateway, project, "fit.R", "0.3")
    assert run["status"] == "succeeded", await log_of(gateway, project, run)
    assert run["metrics"]["r2"] > 0.7
    car = {"weight": 2.6, "horsepower": 110}
    for name, file in (("plain", "predict.R"), ("tracked", "predict_with_metrics.R")):
        model = await gateway.model(project, name)
        build = await gateway.built(model, f"{file}:predict_mpg", example=car)
        deployment = await gateway.deployed(build, replicas=1)
        answer = (await gateway.call(await gateway.key(model), car)).json()["response"]
        prediction = answer if name == "plain" else answer["prediction"]
        assert 20 < prediction < 27
    crn = (await gateway.get(deployment))["crn"]
    run = await experiment(gateway, project, "use_model_metrics.R", crn, await gateway.key(model))
    log = await log_of(gateway, project, run)
    assert "20 predictions, mean squared error" in log, log
