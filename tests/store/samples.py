"""Records to test with: complete, and different wherever the schema asks for it."""

from itertools import count

from store import Build, Deployment, Model, Project

_serial = count(1)


def a_project(name: str = "", path: str = "") -> Project:
    n = next(_serial)
    return Project(
        name=name or f"project {n}", path=path or f"/projects/{n}", linked=True, creator="ada"
    )


def a_model(project: Project, name: str = "", access_key: str = "") -> Model:
    n = next(_serial)
    return Model(
        project_id=project.id,
        name=name or f"model {n}",
        access_key=access_key or f"m{n:031}",
        cpu_millicores=1000,
        memory_mb=2048,
        replicas=2,
        creator="ada",
    )


def a_build(model: Model) -> Build:
    return Build(model_id=model.id, file="predict.py", function="predict", creator="ada")


def a_deployment(model: Model, build: Build) -> Deployment:
    return Deployment(
        model_id=model.id,
        project_id=model.project_id,
        build_id=build.id,
        build_number=build.number,
        cpu_millicores=500,
        memory_mb=256,
        replicas=1,
        deployer="ada",
    )
