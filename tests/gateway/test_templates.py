"""The templates, run as their users run them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workers import PACKAGES

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "gateway" / "templates"
SECONDS = 300


@pytest.mark.index
def test_the_python_template(tmp_path: Path) -> None:
    """fit.py, run as an experiment, keeps its metrics and model.pkl; use_model_metrics.py, in a
    session, makes 20 predictions, adds the truth to each and keeps the error."""
    project = tmp_path / "project"
    shutil.copytree(TEMPLATES / "python", project)
    python = tmp_path / "environment" / "bin" / "python"
    make = [sys.executable, "-m", "venv", str(python.parents[1])]
    install = [str(python), "-m", "pip", "install", "-q", "-r", str(project / "requirements.txt")]
    for command in (make, install):
        subprocess.run(command, check=True, timeout=SECONDS)
    metrics, output = tmp_path / "metrics", tmp_path / "output"
    run = {"PREDICTD_RUN_METRICS": str(metrics), "CDSW_OUTPUT_DIR": str(output)}

    def tell(*command: str | Path, **variables: str) -> str:
        environment = {**os.environ, **variables}
        return subprocess.check_output(
            [python, *command], cwd=project, env=environment, text=True, timeout=SECONDS
        )

    tell(PACKAGES.parent / "run.py", "fit.py", **run)
    tracked = {
        line["key"]: line["value"] for line in map(json.loads, metrics.read_text().splitlines())
    }
    assert tracked["mean_sq_err"] < 0.1
    assert tracked["r2"] > 0.8
    assert (output / "model.pkl").read_bytes() == (project / "model.pkl").read_bytes()
    told = tell("use_model_metrics.py", PYTHONPATH=str(PACKAGES))
    assert told.startswith("20 predictions, mean squared error 0.0")
    assert tell("pi.py").startswith("3.1")
