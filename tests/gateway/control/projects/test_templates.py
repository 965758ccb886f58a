"""The templates, run as their users run them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workers import PACKAGES

ROOT = Path(__file__).parents[4]
SECONDS = 300


def lay_out(template: str, base: Path) -> Path:
    folder = base / "project"
    shutil.copytree(ROOT / "gateway" / "project_templates" / template, folder)
    return folder


class Project:
    """A project's folder, and a Python to run its scripts with."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.folder = folder
        self._python = python
        self._metrics = folder.with_name("metrics")
        self._output = folder.with_name("output")

    def session(self, script: str) -> str:
        """What a script prints in a session that is shown our packages."""
        return self._tell(script, PYTHONPATH=str(PACKAGES))

    def experiment(self, script: str) -> dict[str, float]:
        """What a script tracks."""
        run = {"PREDICTD_RUN_METRICS": str(self._metrics), "CDSW_OUTPUT_DIR": str(self._output)}
        self._tell(str(PACKAGES.parent / "run.py"), script, **run)
        lines = map(json.loads, self._metrics.read_text().splitlines())
        return {line["key"]: line["value"] for line in lines}

    def kept(self, name: str) -> bytes:
        return (self._output / name).read_bytes()

    def _tell(self, *command: str, **variables: str) -> str:
        return subprocess.check_output(
            [str(self._python), *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables},
            text=True,
            timeout=SECONDS,
        )


@pytest.mark.index
def test_the_python_template(tmp_path: Path) -> None:
    """fit.py, run as an experiment, keeps its metrics and model.pkl; use_model_metrics.py, in a
    session, makes 20 predictions, adds the truth to each and keeps the error."""
    folder = lay_out("python", tmp_path)
    python = tmp_path / "environment" / "bin" / "python"
    make = [sys.executable, "-m", "venv", str(python.parents[1])]
    install = [str(python), "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")]
    for command in (make, install):
        subprocess.run(command, check=True, timeout=SECONDS)
    project = Project(python, folder)
    tracked = project.experiment("fit.py")
    assert tracked["mean_sq_err"] < 0.1
    assert tracked["r2"] > 0.8
    assert project.kept("model.pkl") == (project.folder / "model.pkl").read_bytes()
    told = project.session("use_model_metrics.py")
    assert told.startswith("20 predictions, mean squared error 0.0")
    assert project.session("pi.py").startswith("3.1")


def test_the_churn_template(tmp_path: Path) -> None:
    """fit.py keeps how good the model is; follow.py sees that nothing moves for two months and that
    prices do in the third."""
    project = Project(Path(sys.executable), lay_out("churn", tmp_path))
    assert project.experiment("fit.py")["auc"] > 0.75
    assert json.loads(project.kept("model.json"))["weights"]["support_calls"] > 0
    heading, *months = project.session("follow.py").splitlines()
    assert heading.endswith("drift of months  monthly_charge  support_calls")
    for number, line in enumerate(months, 1):
        month, predictions, auc, months_drift, charge_drift, calls_drift = line.split()
        assert (int(month), int(predictions)) == (number, 200)
        assert float(auc) > 0.7
        assert float(months_drift) < 0.1
        assert float(calls_drift) < 0.1
        assert (float(charge_drift) > 0.25) == (number == 3)
    assert number == 3
