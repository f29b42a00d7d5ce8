"""``tollgate``: the command line. A command's module is imported when the command is called, so that help is fast.

Exit codes: 0 done, 1 the check failed, 2 bad usage or bad input, 3 a part cannot be reached, 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from services.cli.terminal.options import FullHelpGroup
from streams.contracts.text.card_numbers import mask_text

DONE, CHECK_FAILED, BAD_INPUT, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Entry:
    """A command: its module, the name of the click object in it, one line of help."""

    module: str
    attribute: str
    help: str


def _entries(module: str, commands: dict[str, str]) -> dict[str, Entry]:
    name = f"services.cli.{module}"
    return {command: Entry(name, command.replace("-", "_"), text) for command, text in commands.items()}


COMMANDS: dict[str, Entry] = {
    **_entries(
        "stack",
        {
            "up": "Start the local stack: Kafka, Redis, stream processors, scoring, monitoring.",
            "down": "Stop the processes that `up` started, and no others.",
            "status": "Show state, addresses and processes of the stack.",
            "doctor": "Check this machine, or with --live a running stack; say how to fix problems.",
        },
    ),
    **_entries(
        "operating.pages",
        {
            "pages": "Show the alerts that fire now, pages first.",
            "silence": "Send no pages of one alert for a while.",
            "restart": "Restart one process of the stack; a frozen one is killed.",
        },
    ),
    **_entries(
        "operating.backups",
        {
            "backup": "Copy the stack into a folder while traffic flows.",
            "restore": "Restore a backup into a new folder.",
        },
    ),
    **_entries(
        "operating.dashboards", {"dashboard": "Draw a dashboard in the terminal, or write all for Grafana."}
    ),
    **_entries("operating.tracing", {"trace": "Show where the time of one transaction went."}),
    **_entries("operating.profiling", {"profile": "Write a flame graph of a running process."}),
    **_entries(
        "demo.command", {"demo": "Run the whole system once: train a model, send live traffic, show results."}
    ),
    **_entries(
        "traffic",
        {
            "simulate": "Send simulated transactions at a fixed rate; report latency, losses and duplicates.",
            "replay": "Stream a Parquet or CSV file through the stack.",
        },
    ),
    **_entries(
        "decisions",
        {
            "reconcile": "Check in Kafka's topics that every transaction has exactly one outcome.",
            "decisions": "Show the newest decisions, or one whole; explain one, make one again.",
            "dead-letters": "List refused records, correct them, send them again.",
        },
    ),
    **_entries(
        "models.commands",
        {
            "train": "Train, evaluate, sign and publish a model for approval.",
            "models": "List, compare, approve, reject, promote and roll back models; show their evidence.",
            "evaluate": "Train a model on some days of a file and test it on others.",
        },
    ),
    **_entries("models.score_file", {"score": "Score a file with the live model."}),
    **_entries(
        "models.rollouts", {"rollout": "Follow a rollout, pause, resume or undo it, take its next step."}
    ),
    **_entries(
        "models.performance",
        {"performance": "Show how good live decisions were, once their labels have matured."},
    ),
    **_entries("mapping", {"mapping": "Write a mapping for a file of your own, and check it."}),
    **_entries("audit", {"audit": "Read and verify the audit of what is served and of who may do what."}),
    **_entries("access.commands", {"access": "Say who may change what: people, their roles and keys."}),
    **_entries("rules.commands", {"rules": "Check, test, publish, list and export rules and lists."}),
    **_entries("operating.keys", {"keys": "Rotate the keys that seal the HTTP edge's decisions."}),
    **_entries("operating.skip", {"skip": "Set aside a record that stops its worker."}),
    **_entries("models.retrain", {"retrain": "Ask the trainer for a new model, with a reason."}),
    **_entries(
        "models.drift", {"drift": "Show what drifts, since when and how often, and retraining requests."}
    ),
    **_entries(
        "features.commands",
        {
            "features": "Show the catalogue or an entity's features; rebuild, replay and prepare state.",
            "parity": "Recompute served features from the log and compare them bit by bit.",
        },
    ),
}

#: exceptions that mean "a part cannot be reached", by full name: comparing types would import their modules
_UNREACHABLE = frozenset(
    {
        "streams.runtime.settings.SettingsError",
        "streams.log.topics.TopicError",
        "streams.runtime.kafka.clients.DeliveryError",
        "cimpl.KafkaException",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "httpx.TransportError",
        "builtins.ConnectionError",
    }
)
_BAD_INPUT = frozenset({"streams.contracts.invalid_event.InvalidEvent"})
#: a file or folder that was named, and that this user may not read or write
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
)


class CommandError(click.ClickException):
    """A command's module cannot be loaded."""

    exit_code = UNREACHABLE


class _Masking(logging.Formatter):
    """Errors may quote what they refuse, which may be a card number."""

    def format(self, record: logging.LogRecord) -> str:
        return mask_text(super().format(record))


class LazyGroup(FullHelpGroup):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        entry = COMMANDS.get(name)
        if entry is None:
            return None
        try:
            command = getattr(importlib.import_module(entry.module), entry.attribute)
        except (ImportError, AttributeError) as error:
            raise CommandError(f"`tollgate {name}` cannot be loaded: {error}") from error
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Tollgate: streaming fraud scoring. Every command takes --home DIR, the folder of a stack."""


def exit_code(error: BaseException) -> int | None:
    """The exit code for an error, or None for a defect of the program."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & _UNREACHABLE:
        return UNREACHABLE
    refused = isinstance(error, OSError) and error.errno in _REFUSED
    return BAD_INPUT if refused or names & _BAD_INPUT else None


def run(args: list[str]) -> int:
    """Run one command and return its exit code; never raises."""
    # what a command writes holds payments or keys: it is for this user alone
    os.umask(0o077)
    state: dict[str, Any] = {}
    try:
        result = cli.main(args=args, prog_name="tollgate", standalone_mode=False, obj=state)
        return result if type(result) is int else DONE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader (head, less) went away; the interpreter's own flush at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # noqa: BLE001 - the process edge: log, print one line, exit
        return _report(error, state.get("home"))


def _report(error: Exception, home: Path | None) -> int:
    code = exit_code(error)
    if code is not None:
        click.echo(f"tollgate: {error}", err=True)
        return code
    if home is None or not home.is_dir():
        logging.getLogger("tollgate").error("command failed", exc_info=error)
        return CHECK_FAILED
    log = home / "logs" / "cli.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("tollgate")
    handler = logging.FileHandler(log)
    handler.setFormatter(_Masking())
    logger.addHandler(handler)
    logger.propagate = False
    logger.error("command failed", exc_info=error)
    click.echo(mask_text(f"tollgate: {type(error).__name__}: {error} (traceback in {log})"), err=True)
    return CHECK_FAILED


def main() -> None:
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
