"""Records to test with: complete, and different wherever the schema asks for it."""

from itertools import count

from store import Build, Deployment, Experiment, Key, KeyKind, Model, Project, Session, User

_serial = count(1)


def a_project(name: str = "", path: str = "") -> Project:
    n = next(_serial)
    return Project(
        name=name or f"project {n}", path=path or f"/projects/{n}", linked=True, creator="ada"
    )


def a_model(project: Project, name: str = "") -> Model:
    n = next(_serial)
    return Model(
        project_id=project.id,
        name=name or f"model {n}",
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


def an_experiment(project: Project) -> Experiment:
    return Experiment(
        project_id=project.id,
        script="fit.py",
        arguments=["--alpha", "0.5"],
        cpu_millicores=500,
        memory_mb=256,
        creator="ada",
    )


def a_user(name: str = "") -> User:
    return User(name=name or f"user {next(_serial)}")


def a_key(user: User, kind: KeyKind = "model") -> Key:
    return Key(id=f"{next(_serial):064x}", kind=kind, user_id=user.id, digest="d" * 64)


def a_session(user: User, expires_at: str = "9999-01-01T00:00:00.000000Z") -> Session:
    return Session(
        id=f"{next(_serial):064x}",
        user_id=user.id,
        address="127.0.0.1",
        agent="a browser",
        expires_at=expires_at,
    )
