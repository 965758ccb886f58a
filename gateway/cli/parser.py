"""The grammar of the command line: every verb, its arguments, and the function that runs it.

A verb is a function that takes the `Context`; what it raises and returns becomes the exit code in
`entry`. Anything heavy (Trio, the server) is imported by the verb that needs it, so that `predictd
ls` stays quick.
"""

from argparse import (
    REMAINDER,
    SUPPRESS,
    Action,
    ArgumentParser,
    BooleanOptionalAction,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable
from typing import Any, TypeAlias

from gateway.cli import (
    arguments,
    audit,
    calls,
    experiments,
    keys,
    local,
    login,
    metrics,
    models,
    open_page,
    projects,
    site,
    unit,
    users,
)
from gateway.cli import (
    backup as keeping,
)
from gateway.cli import (
    deploy as deploying,
)
from gateway.cli.context import HOST, PORT, Context

EXIT_CODES = """\
exit codes: 0 ok · 1 it was tried and failed · 2 usage · 3 no gateway reachable ·
4 the gateway refused · 5 the gateway failed · 130 Ctrl-C · 141 nobody read on
"""

_PLAIN = "listen beyond this machine without TLS"

Verb: TypeAlias = Callable[[Context], int | None]


class _Version(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> None:
        from gateway.version import version

        parser.exit(message=f"predictd {version()}\n")


class _Rest(Action):
    """What stands behind a script's name: its own arguments, and, up to `--`, options of ours."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None
    ) -> None:
        ours, theirs = arguments.split_script_arguments(values)
        if ours:
            parser.parse_args([*ours, namespace.script], namespace)
        namespace.arguments = theirs


class Commands:
    """The sub-commands of one parser, added one by one."""

    def __init__(self, parser: ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def group(self, name: str, about: str) -> "Commands":
        return Commands(self._verbs.add_parser(name, help=about, description=about))

    def local(self, name: str, run: Verb, about: str) -> ArgumentParser:
        """A verb that needs no gateway, but may want to know the data folder."""
        parser = self._verbs.add_parser(name, help=about, description=about, allow_abbrev=False)
        parser.add_argument("--json", action="store_true", help="the result as one JSON document")
        parser.add_argument("--data", metavar="DIR", help="the gateway's data folder")
        parser.set_defaults(run=run)
        return parser

    def remote(self, name: str, run: Verb, about: str) -> ArgumentParser:
        """A verb that talks to a gateway."""
        parser = self.local(name, run, about)
        parser.add_argument("--url", help="the gateway's address; default: the one on this machine")
        return parser

    def of_model(self, name: str, run: Verb, about: str) -> ArgumentParser:
        """A verb that talks to a gateway about one model."""
        parser = self.remote(name, run, about)
        parser.add_argument("model", metavar="MODEL", help="its name, project/name, or id")
        return parser


def make_parser() -> ArgumentParser:
    """The parser of the whole command line."""
    parser = ArgumentParser(
        prog="predictd",
        description="Turns a function in a project folder into a REST endpoint.",
        epilog=EXIT_CODES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", nargs=0, action=_Version, help="shows the version and exits")
    verbs = Commands(parser)
    _starting(verbs)
    _project(verbs.group("project", "projects: create, ls, show, secret, rm"))
    _collaborator(verbs.group("collaborator", "who works in a project: add, ls, rm"))
    _making(verbs)
    _running(verbs)
    _looking(verbs)
    _ending(verbs)
    _who(verbs)
    _key(verbs.group("key", "keys of your own, or of others: new, ls, revoke"))
    _keeping(verbs)
    _site(verbs.group("site", "for site administrators: show, set, reset, models"))
    _user(verbs.group("user", "for site administrators: add, ls, disable, enable, ..."))
    return parser


def _starting(verbs: Commands) -> None:
    add = verbs.local("serve", local.serve, "run the gateway until Ctrl-C").add_argument
    add("--host", metavar="H", help=f"the address to listen at (default {HOST})")
    add("--port", metavar="P", type=int, help=f"the port to listen at (default {PORT})")
    add("--allow-plain-http", action="store_const", const=True, help=_PLAIN)
    add("--config", metavar="FILE", help="a TOML file of settings")
    add("--parent", type=int, help=SUPPRESS)

    add = verbs.local("unit", unit.unit, "the systemd units of this gateway").add_argument
    add("--host", metavar="H", help=f"the address to listen at (default {HOST})")
    add("--port", metavar="P", type=int, help=f"the port to listen at (default {PORT})")
    add("--allow-plain-http", action="store_const", const=True, help=_PLAIN)
    add("--config", metavar="FILE", help="a TOML file of settings, read at each start")
    add("--user", metavar="NAME", help="the account to run as (default: you)")
    add("--to", metavar="DIR", help="write them there, for example to /etc/systemd/system")

    add = verbs.local("demo", local.demo, "see it work: gateway, model, prediction").add_argument
    add("--once", action="store_true", help="end after the answer and leave nothing behind")
    add("--port", metavar="P", type=int, help="the port of the demo's gateway")

    add = verbs.local("doctor", local.doctor, "what this machine offers and lacks").add_argument
    add("--host", metavar="H", default=HOST, help=SUPPRESS)
    add("--port", metavar="P", type=int, default=PORT, help="the port to look at")

    add = verbs.remote("open", open_page.open_browser, "sign a browser in, once").add_argument
    add("--print", action="store_true", help="show the link instead: for a browser elsewhere")
    verbs.local("sdk-path", local.sdk_path, "the folder for PYTHONPATH, to import cdsw and cml")


def _project(verbs: Commands) -> None:
    create = verbs.remote("create", projects.create, "make a project")
    create.add_argument("name", metavar="NAME")
    source = create.add_mutually_exclusive_group()
    templates = sorted(projects.TEMPLATES, reverse=True)
    source.add_argument("--template", choices=templates, default="python", help="default: python")
    source.add_argument("--path", metavar="DIR", help="use this folder of yours as it is")
    source.add_argument("--git", metavar="URL", help="clone this repository")
    create.add_argument("--ref", metavar="R", default="", help="with --git: the branch or tag")
    key = "with --git over ssh: a private key without a passphrase, for this clone only"
    create.add_argument("--git-key", metavar="FILE", help=key)
    hosts = "with --git over ssh: the host's keys, as `ssh-keyscan HOST` prints them"
    create.add_argument("--git-host-key", metavar="FILE", help=hosts)

    verbs.remote("ls", projects.ls, "all projects")
    show = verbs.remote("show", projects.show, "one project and its models")
    rm = verbs.remote("rm", projects.rm, "delete a project and its models")
    secret = verbs.remote("secret", projects.secret, "set a variable that is never shown again")
    for parser in (show, rm, secret):
        parser.add_argument("project", metavar="PROJECT", help="its name or id")
    secret.add_argument("name", metavar="NAME", help="the variable; its value is asked for")
    secret.add_argument("--remove", action="store_true", help="remove it instead")
    _yes(rm)


def _collaborator(verbs: Commands) -> None:
    add = verbs.remote("add", users.add_collaborator, "give a user a role in a project")
    ls = verbs.remote("ls", users.ls_collaborators, "who works in a project, and as what")
    rm = verbs.remote("rm", users.rm_collaborator, "take a user's role in a project away")
    for parser in (add, ls, rm):
        parser.add_argument("project", metavar="PROJECT", help="its name or id")
    for parser in (add, rm):
        parser.add_argument("user", metavar="USER")
    passes = "owner passes the project on"
    add.add_argument(
        "role", metavar="ROLE", choices=users.ROLES, help=f"{', '.join(users.ROLES)}; {passes}"
    )


def _making(verbs: Commands) -> None:
    deploy = verbs.remote("deploy", deploying.deploy, "build a function and serve it")
    deploy.add_argument("target", metavar="FILE:FUNCTION", type=arguments.file_and_function)
    deploy.add_argument("--project", metavar="P", help="default: the current folder's, made if new")
    deploy.add_argument("--name", metavar="N", help="the model's name (default: the function's)")
    asked = "must callers show a key of their own (new: yes)"
    deploy.add_argument("--auth", action=BooleanOptionalAction, default=None, help=asked)
    _of_build(deploy)
    _of_deployment(deploy)

    build = verbs.of_model("build", deploying.build, "build the project as it is now; do not serve")
    build.add_argument(
        "--file", metavar="FILE", help="default: the last build's, as for all of these"
    )
    build.add_argument("--function", metavar="F")
    _of_build(build)
    _network(build, "(as the last build)")

    rebuild = verbs.of_model(
        "rebuild", deploying.rebuild, "build the project as it is now, and serve that"
    )
    _of_build(rebuild)
    _of_deployment(rebuild)
    redeploy = verbs.of_model(
        "redeploy", deploying.redeploy, "serve a build again, with no downtime"
    )
    redeploy.add_argument(
        "--build", metavar="N", type=arguments.count, help="default: the present one"
    )
    _of_deployment(redeploy)
    rollback = verbs.of_model(
        "rollback", deploying.rollback, "serve the build that served before this one"
    )
    _variables(rollback)


def _running(verbs: Commands) -> None:
    run = verbs.remote("run", experiments.run, "run a script of the project, as an experiment")
    add = run.add_argument
    add("script", metavar="SCRIPT", help="a file of the project")
    about = "the script's own, options too, but for the six below; behind -- all of them"
    add("arguments", metavar="ARGS", nargs=REMAINDER, action=_Rest, help=about)
    add("--project", metavar="P", help="default: the current folder's, made if new")
    add("--kernel", metavar="K", help="such as python3.11; see `predictd doctor`")
    add("--cpu", metavar="C", type=arguments.cpu, help="virtual CPUs (1)")
    add("--memory", metavar="M", type=arguments.memory, help="at most (2GiB, or less)")
    add("--comment", metavar="TEXT", help="what is new in this run")
    _network(run, "(machine)")

    runs = verbs.remote("runs", experiments.runs, "the experiments, and what they came to")
    runs.add_argument("--project", metavar="P", help="only this project's")
    log = verbs.remote("run-log", experiments.run_log, "the log of an experiment, to its end")
    stop = verbs.remote("run-stop", experiments.run_stop, "end an experiment's script")
    rm = verbs.remote("run-rm", experiments.run_rm, "delete an experiment with its files")
    about = "copy a file that an experiment kept into its project"
    take = verbs.remote("add-to-project", experiments.add_to_project, about)
    for parser in (log, stop, rm, take):
        parser.add_argument("run_number", metavar="RUN", help="its number or id")
    _yes(rm)
    take.add_argument("file", metavar="FILE")
    take.add_argument("--to", metavar="PATH", help="its path in the project (default: the same)")
    some = verbs.remote("compare", experiments.compare, "experiments side by side")
    some.add_argument("run_numbers", metavar="RUN", nargs="+", help="numbers or ids")


def _looking(verbs: Commands) -> None:
    call = verbs.of_model("call", calls.call, "call a model and print its answer")
    call.add_argument(
        "request", metavar="JSON", type=arguments.json_value, help="or @FILE, or - for stdin"
    )
    verbs.remote("ls", models.ls, "all models")
    status = verbs.remote("status", models.status, "one model on one screen, or the gateway")
    status.add_argument("model", metavar="MODEL", nargs="?", help="its name, project/name, or id")
    verbs.of_model("builds", models.builds, "a model's builds")
    verbs.of_model("deployments", models.deployments, "a model's deployments")

    add = verbs.of_model("logs", calls.logs, "what a model printed").add_argument
    add("--replica", metavar="R", help="only this replica's")
    add("--stream", choices=("stdout", "stderr"), help="only this stream")
    add("--tail", metavar="N", type=arguments.count, help="how many lines back (default 200)")
    add("-f", "--follow", action="store_true", help="go on until Ctrl-C; --json: one per line")

    told = verbs.of_model("metrics", metrics.metrics, "what a model told of its predictions")
    told.add_argument(
        "--since",
        metavar="T",
        type=arguments.moment,
        default="1d",
        help="such as 2026-11-21, 2026-11-21T09:30 (UTC), or 90m, 24h, 7d ago (default 1d)",
    )
    told.add_argument("--until", metavar="T", type=arguments.moment, help="the same (default now)")
    told.add_argument("--csv", action="store_true", help="as CSV, a column for each metric")

    build_log = verbs.of_model("build-log", calls.build_log, "the log of a build, to its end")
    build_log.add_argument(
        "number", metavar="N", nargs="?", type=arguments.count, help="default: the last build"
    )


def _ending(verbs: Commands) -> None:
    verbs.of_model("stop", models.stop, "stop serving; builds stay")
    verbs.of_model("restart", models.restart, "start all replicas anew, one after the other")
    _yes(verbs.of_model("rm", models.rm, "delete a model with all its builds"))

    model = verbs.group("model", "the key that names a model: regenerate-key")
    about = "a new access key; the old one is dead at once"
    _yes(model.of_model("regenerate-key", keys.regenerate, about))


def _who(verbs: Commands) -> None:
    add = verbs.local("login", login.login, "use a gateway elsewhere, by an API key").add_argument
    add("address", metavar="URL", help="such as https://models.example.org; the key is asked for")
    verbs.local("logout", login.logout, "forget that gateway and its key")
    verbs.remote("whoami", login.whoami, "who you are to the gateway, and by what")


def _key(verbs: Commands) -> None:
    new = verbs.remote("new", keys.new, "make a key, which is shown once")
    ls = verbs.remote("ls", keys.ls, "all keys of a user")
    revoke = verbs.remote("revoke", keys.revoke, "take a key back, or all of a kind, at once")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("key", metavar="KEY", nargs="?", help="the beginning of its id")
    which.add_argument("--all", action="store_true", help="all of the kind")
    kinds = "model (default): calls models; api: the admin API too; legacy: api, as HTTP Basic"
    for parser in (new, revoke):
        parser.add_argument("--kind", choices=keys.KINDS, default="model", help=kinds)
    for parser in (new, ls, revoke):
        parser.add_argument("--user", metavar="NAME", help="whose (default: yours)")
    add = new.add_argument
    add(
        "--expires", metavar="T", type=arguments.expiry,
        help="30d, 1y, a date such as 2027-01-31, or never (default: in a year)",
    )  # fmt: skip
    add("--comment", metavar="TEXT", default="", help="what it is for")
    _yes(revoke)


def _keeping(verbs: Commands) -> None:
    backup = verbs.remote("backup", keeping.backup, "all that a new machine needs, in one file")
    backup.add_argument("file", metavar="FILE", help="one that is not there, or a folder for it")
    restore = verbs.local("restore", keeping.restore, "a new data folder from a backup")
    restore.add_argument("file", metavar="FILE", help="what `predictd backup` wrote")
    gc = verbs.remote("gc", keeping.gc, "remove builds, caches and leftovers that nobody needs")
    gc.add_argument("--dry-run", action="store_true", help="only show what that is")
    gc.add_argument(
        "--keep", metavar="N", type=arguments.count, help="the latest builds of each model (5)"
    )
    _yes(gc)
    add = verbs.remote("audit", audit.audit, "who did what, and what was refused").add_argument
    add("--who", metavar="NAME", help="only what this user did")
    add("--action", metavar="A", help="only actions that begin so, such as key.")
    add("--since", metavar="T", type=arguments.since, help="2h, 7d, or a time such as 2027-01-31")
    add("--most", metavar="N", type=arguments.count, default=100, help="the newest N (100)")
    add("-f", "--follow", action="store_true", help="go on until Ctrl-C; --json: one per line")


def _site(verbs: Commands) -> None:
    verbs.remote("show", site.show, "the settings, from where they are, and what can be changed")
    change = verbs.remote("set", site.set_, "change settings while the gateway runs")
    change.add_argument(
        "settings", metavar="NAME=VALUE", nargs="+", type=arguments.setting,
        help="such as max_replicas=4, max_request_size=8MiB or environment=@FILE, which is JSON",
    )  # fmt: skip
    reset = verbs.remote("reset", site.reset, "set settings back to their defaults")
    reset.add_argument("names", metavar="NAME", nargs="+")
    verbs.remote("models", site.models, "all active models, and what they take of the machine")


def _user(verbs: Commands) -> None:
    add = verbs.remote("add", users.add, "make a user, with a password that is shown once")
    verbs.remote("ls", users.ls, "all users")
    disable = verbs.remote("disable", users.disable, "shut a user and all their keys out, at once")
    enable = verbs.remote("enable", users.enable, "let a user in again, with the keys they have")
    admin = verbs.remote("admin", users.admin, "make a user a site administrator")
    about = "set a user's password, typed unseen or read from stdin"
    password = verbs.remote("password", users.password, about)
    rm = verbs.remote("rm", users.rm, "delete a user with all keys")
    for parser in (add, disable, enable, admin, password, rm):
        parser.add_argument("name", metavar="NAME")
    add.add_argument("--full-name", metavar="TEXT", default="")
    add.add_argument("--email", metavar="ADDRESS", default="")
    add.add_argument("--admin", action="store_true", help="a site administrator")
    admin.add_argument("--off", action="store_true", help="no site administrator any more")
    password.add_argument("--none", action="store_true", help="no password: they cannot sign in")
    _yes(rm)


def _of_build(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--kernel", metavar="K", help="such as python3.11; see `predictd doctor`")
    add("--comment", metavar="TEXT", default="", help="what is new in this build")
    add("--example", metavar="JSON", type=arguments.json_value, help="an input to try it with")


def _of_deployment(parser: ArgumentParser) -> None:
    """Sizes default to the present deployment's, so there is no default here."""
    new = deploying.NEW
    add = parser.add_argument
    add(
        "--replicas",
        metavar="R",
        type=arguments.replicas,
        help=f"how many (new: {new['replicas']})",
    )
    add("--cpu", metavar="C", type=arguments.cpu, help=f"virtual CPUs (new: {new['cpu']:g})")
    add("--memory", metavar="M", type=arguments.memory, help="each (new: 2GiB at most)")
    _network(parser, "(new: machine)")
    _variables(parser)


def _network(parser: ArgumentParser, default: str) -> None:
    """As `workers.NETWORKS`, which is not loaded for it."""
    reach = (
        "what it reaches: none, outward (other machines, not this one), the machine's, or that and"
        " it may listen on TCP ports"
    )
    levels = ("none", "outward", "machine", "listen")
    parser.add_argument("--network", choices=levels, help=f"{reach} {default}")


def _variables(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--env", metavar="K=V", type=arguments.variable, action="append", default=[]
    )


def _yes(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
