"""From a template to a served model by way of an experiment, as the README has it."""

import pytest

from tests.support.served_gateway import Gateway, predictd


@pytest.mark.index
def test_iris_goes_from_a_script_to_a_served_model(gateway: Gateway) -> None:
    """fit.py is run twice in one environment and compared, its model.pkl taken into the project,
    and predict.py, which loads that, deployed and called."""
    gateway.cli("project", "create", "iris", "--template", "python")
    for comment in ("first", "again"):
        told = predictd(
            "experiment",
            "run",
            "--data",
            gateway.data,
            "--json",
            "--project",
            "iris",
            "fit.py",
            "--comment",
            comment,
            seconds=300,
        )
        assert told.code == 0, told.err
        assert [file["path"] for file in told.json["files"]] == ["model.pkl"]
    assert "again: the script would make the same" in told.err
    compared = gateway.cli("experiment", "compare", "1", "2", "--json").json
    assert [each["comment"] for each in compared["experiments"]] == ["first", "again"]
    assert all(r2 > 0.8 for r2 in compared["metrics"]["r2"])
    assert gateway.cli("experiment", "promote", "2", "model.pkl").code == 0
    deployed = gateway.cli(
        "deploy", "--project", "iris", "--replicas", "1", "--json", "predict.py:predict",
        "--example", '{"petal_length": 5.4}', seconds=300,
    )  # fmt: skip
    assert deployed.code == 0, deployed.err
    assert 1.5 < deployed.json["answer"] < 2.5
