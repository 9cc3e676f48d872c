"""The command line: `gearmesh serve` and its options, and the doors to the other commands.

The options of `serve` come from the table of settings (`node.configuration.settings`) and from gearmand's list
(`node.configuration.gearmand`); typer parses them as text, and `node.configuration.sources` judges them together with
the file and the variables, so that every mistake is told at once. Exit status: 0 after a clean end, 1 for everything
else, usage included, as gearmand's.
"""

import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from node.asking.commands import cluster, healthcheck
from node.configuration import Configuration, gearmand
from node.configuration.settings import PANELS, SETTINGS
from node.configuration.sources import load
from node.configuration.values import printable, quoted
from node.errors import ConfigurationError, GearmeshError

# typer carried a click of its own from some version on; its public BadParameter is a usage error of whichever it uses.
_UsageError: Final[type[Exception]] = typer.BadParameter.__mro__[1]

app: Final = typer.Typer(
    name="gearmesh",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


_NEXT_HELP: Final = {"gearmesh": "gearmesh serve"}
"""Whose help helps on after a mistake, where it is not the help of the command in which the mistake was made."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    _open_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = app(args=_with_verbose_spelled_out(given), prog_name="gearmesh", standalone_mode=False)
    except _UsageError as error:
        if not (message := getattr(error, "message", None) or str(error)):
            return 1  # it has shown the help of a command that needs another one
        path = getattr(getattr(error, "ctx", None), "command_path", "gearmesh")
        _complain([message, f"Try: {_NEXT_HELP.get(path, path)} --help"])
        return 1
    except GearmeshError as error:
        _complain(str(error).splitlines())
        return 1
    except OSError as error:  # the disk behind stdout is full; what goes wrong in the server ends in `_run`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter tries once more at its end
        _complain([f"cannot write the answer: {error.strerror}"])
        return 1
    return status if isinstance(status, int) else 0


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if wanted:
        from node.version import VERSION  # noqa: PLC0415 - reading it takes as long as all the rest

        typer.echo(f"gearmesh {VERSION}")
        raise typer.Exit


_NO_METAVAR: Final = " "
"""What keeps typer from writing <bool> beside a flag that takes no value."""

_VERSION: Final = typer.Option(
    *("-V", "--version"),
    callback=_version,
    is_eager=True,
    help="Print the version and exit.",
    show_default=False,
    metavar=_NO_METAVAR,
)


@app.callback(invoke_without_command=True, help="A Gearman job server that is a cluster.")
def gearmesh(context: typer.Context, *, version: Annotated[bool, _VERSION] = False) -> int:
    """Print the help where no command is given."""
    del version
    if context.invoked_subcommand is not None:
        return 0
    typer.echo(context.get_help())
    return 1


def _serve_parameters() -> list[inspect.Parameter]:
    """Return the parameters of `serve`: one for each setting, each action, and each option that is refused."""

    def option(name: str, kind: Any, *flags: str, **shown: Any) -> inspect.Parameter:
        shown.setdefault("metavar", _NO_METAVAR)
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[kind | None, typer.Option(*flags, show_default=False, **shown)],
        )

    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        option(
            "config",
            str,
            "--config",
            "--config-file",
            metavar="FILE",
            help="A TOML file with settings. [default: $GEARMESH_CONFIG, or none]",
            rich_help_panel="Configuration",
        ),
        option(
            "check",
            bool,
            "--check-config",
            "--check-args",
            help="Check all settings, say what is wrong, and exit.",
            rich_help_panel="Configuration",
        ),
        option(
            "show",
            bool,
            "--print-config",
            help="Print the settings in effect as TOML, with their origins, and exit.",
            rich_help_panel="Configuration",
        ),
    ]
    for panel in PANELS:
        for setting in SETTINGS:
            if setting.panel != panel:
                continue
            shown: dict[str, Any] = {"help": setting.help.replace("[", r"\["), "rich_help_panel": panel}
            if not setting.metavar:
                both = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
                parameters.append(option(setting.field, bool, both, **shown))
            else:
                kind: Any = list[str] if setting.repeats else str
                flags = (*setting.short, setting.flag)
                parameters.append(option(setting.field, kind, *flags, metavar=setting.metavar, **shown))
            if setting.field == "listen":
                parameters.append(
                    option(
                        "port",
                        str,
                        "-p",
                        "--port",
                        metavar="PORT",
                        help=r"The port where --listen names none. \[default: 4730]",
                        rich_help_panel=panel,
                    )
                )
    parameters.append(
        option(
            "verbose",
            str,
            "-v",
            "--verbose",
            metavar="LEVEL",
            help="gearmand's way to say --log-level; the level may be left out (info, -vv: debug).",
            rich_help_panel="Logging",
        )
    )
    parameters.append(
        option(
            "round_robin",
            bool,
            "-R",
            "--round-robin",
            help="Accepted for gearmand's sake: functions of equal priority always take turns.",
            rich_help_panel="Jobs",
        )
    )
    parameters += [
        option(_refused_name(refused), str if refused.takes_value else bool, *refused.flags, hidden=True)
        for refused in gearmand.REFUSED
    ]
    return parameters


def _refused_name(refused: gearmand.Refused) -> str:
    return "refused_" + refused.flags[-1].removeprefix("--").replace("-", "_")


def serve(context: typer.Context, **given: Any) -> int:
    """Run one node in the foreground until SIGTERM or SIGINT."""
    problems = [
        f"{'/'.join(refused.flags)}: gearmand's option has no meaning here. {refused.hint}"
        for refused in gearmand.REFUSED
        if given[_refused_name(refused)] is not None
    ]
    problems += _unknown(context.args)
    flags = {setting.field: given[setting.field] for setting in SETTINGS if given[setting.field] not in (None, [], ())}
    if given["verbose"] is not None:
        level = gearmand.GEARMAND_LEVELS.get(given["verbose"].lower())
        if "log_level" in flags:
            problems.append("-v/--verbose: --log-level is given too: say one or the other")
        elif level is None:
            problems.append(
                f"-v/--verbose: {quoted(given['verbose'])} is not one of: {', '.join(gearmand.GEARMAND_LEVELS).upper()}"
            )
        else:
            flags["log_level"] = level
    effective = load(flags, config_file=given["config"], port=given["port"], problems=problems)
    if given["show"] or given["check"]:
        if given["show"]:
            typer.echo(effective.as_toml(), nl=False)
        if effective.warnings:
            _complain([f"warning: {warning}" for warning in effective.warnings])
        if given["check"]:
            _check_certificates(effective.configuration)
        return 0
    return _run(effective.configuration, effective.warnings)


serve_with_options: Any = serve
serve_with_options.__signature__ = inspect.Signature(_serve_parameters(), return_annotation=int)
app.command(
    "serve",
    help="Run one node in the foreground until SIGTERM or SIGINT.\n\n"
    "Every setting can also stand in a TOML file (key: the flag with underscores) or in the environment "
    "(GEARMESH_ and the key in capitals). Flags win over the environment, and that over the file.",
    # What typer does not know is told with all other mistakes, not alone and first.
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)(serve_with_options)


app.add_typer(cluster)
app.command("healthcheck", help="Ask a running node whether it lives, for containers: status 0, or 1 and the reason.")(
    healthcheck
)


@app.command(help="Run a cluster on this host, to try things out: Ctrl-C ends it.")
def dev(
    nodes: Annotated[int, typer.Option(metavar="N", help="How many nodes.")] = 3,
    data_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help=r"Where they keep their jobs. \[default: .gearmesh]", show_default=False),
    ] = None,
    listen_base: Annotated[
        int, typer.Option(metavar="PORT", help="Where clients connect to the first node; each next one has 10 more.")
    ] = 4730,
    host: Annotated[str, typer.Option(metavar="HOST", help="The address that they listen on.")] = "127.0.0.1",
) -> int:
    """Run a cluster in this terminal."""
    import node.dev  # noqa: PLC0415 - whoever asks for help does not wait for it

    directory = node.dev.DEFAULT_DIRECTORY if data_dir is None else Path(data_dir)
    return node.dev.dev(nodes=nodes, data_dir=directory, listen_base=listen_base, host=host)


def _check_certificates(configuration: Configuration) -> None:
    """Read the certificates, as a node does when it starts. Raise `ConfigurationError` if that cannot be done."""
    cert, key, authority = configuration.mesh_cert, configuration.mesh_key, configuration.mesh_ca
    if cert is None or key is None or authority is None:
        return
    from cluster.mesh import TlsError, TlsFiles  # noqa: PLC0415 - the libraries for links take long to load
    from cluster.mesh.certificates import Certificates  # noqa: PLC0415 - see above

    try:
        Certificates(TlsFiles(cert, key, authority))
    except TlsError as error:
        raise ConfigurationError([str(error)]) from error


def _run(configuration: Configuration, warnings: Iterable[str]) -> int:
    # Imported here: whoever asks for help does not wait for the server's libraries.
    import structlog  # noqa: PLC0415 - see above

    from cluster.storage import StorageError  # noqa: PLC0415 - see above
    from node import logs, privileges  # noqa: PLC0415 - see above
    from node.server import run  # noqa: PLC0415 - see above

    with logs.logging_to(configuration):
        log = structlog.get_logger()
        for warning in warnings:
            log.warning("doubtful_setting", reason=warning)
        try:
            if configuration.user is not None:
                privileges.find_user(configuration.user)
            privileges.raise_file_descriptor_limit(configuration.file_descriptors)
            return run(configuration)
        except (GearmeshError, StorageError) as error:
            failure = str(error)
            if configuration.log_file is not None:
                log.critical("node_failed", error=failure)
        except Exception:
            log.critical("node_crashed", exc_info=True)
            return 1
    _complain(failure.splitlines())
    return 1


def _unknown(arguments: Iterable[str]) -> list[str]:
    """Return a message for each argument that typer found no use for."""
    known = [f"--{setting.field.replace('_', '-')}" for setting in SETTINGS]
    known += ["--config", "--check-config", "--print-config", "--port", "--verbose", "--round-robin", "--help"]
    problems = []
    after_unknown_option = False
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            flag = argument.partition("=")[0]
            problems.append(f"{printable(flag)}: no such option{gearmand.nearest(flag, known, '--')}")
            after_unknown_option = "=" not in argument
            continue
        if not after_unknown_option:  # else it was meant as that option's value
            hint = ": a configuration file is named with --config FILE" if argument.startswith("@") else ""
            problems.append(f"{printable(argument)}: serve takes options only{hint}")
        after_unknown_option = False
    return problems


def _with_verbose_spelled_out(arguments: Sequence[str]) -> list[str]:
    """Give gearmand's -v and --verbose, whose level may be left out, the level that they mean."""
    spelled: list[str] = []
    for position, argument in enumerate(arguments):
        following = arguments[position + 1].lower() if position + 1 < len(arguments) else ""
        if argument in ("-v", "--verbose") and following not in gearmand.GEARMAND_LEVELS:
            spelled += ["--verbose=info"]
        elif argument in ("-vv", "-vvv"):
            spelled += ["--verbose=debug"]
        else:
            spelled.append(argument)
    return spelled


def _open_standard_streams() -> None:
    """Open /dev/null for each standard stream that is closed.

    Otherwise the next file or socket to be opened gets its number, and what a library writes to "stderr" lands in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - stays open


def _complain(lines: Sequence[str]) -> None:
    text = f"gearmesh: {lines[0]}\n" if len(lines) == 1 else "".join(f"gearmesh: {line}\n" for line in lines)
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # nobody reads it; the exit status says it too
