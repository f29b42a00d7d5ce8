"""The runbooks' commands: found in their text, with values in place of their placeholders."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from infra.stack.servers.monitoring import alert_rules
from infra.stack.tools import CHECKOUT

FOLDER = CHECKOUT / "infra" / "runbooks"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
#: what stands for something that only the reader knows, in texts of commands
PLACEHOLDERS = {
    "VERSION": "1.0.0",
    "NAME": "archive-0",
    "<process>": "archive-0",
    "TEXT": "because",
    "REASON": "field",
    "TOPIC": "transactions",
    "PARTITION": "0",
    "OFFSET": "5",
    "TOPIC/PARTITION/OFFSET": "transactions/0/5",
    "FIELD=VALUE": "currency=EUR",
    "PID": "1",
    "ID": "tx-1",
}


def spans(text: str) -> list[str]:
    """What stands between single backticks, on one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


#: what a shell runs, besides ``tollgate``. Not among them are those that go on until somebody stops them (``top``, ``iostat -x 1``)
PROGRAMS = ("tollgate", "tail", "grep", "df", "du", "redis-cli", "REDISCLI_AUTH", "py-spy", "openssl")
#: first words of commands that only look
LOOKS = (
    "status", "pages", "doctor", "reconcile", "drift", "performance", "models list", "models show", "models evidence", "decisions tail",
    "dashboard", "dead-letters list", "access list", "audit verify", "keys list", "rules list", "features late", "rollout status",
)  # fmt: skip


def typed(text: str) -> list[str]:
    """What a person types, in the order of the text: commands of ``tollgate`` and of the shell, and queries of Prometheus, as they stand
    there, each once.
    """
    found = [
        span
        for span in spans(text)
        if is_query(span) or (" " in span and re.split(r"[ =]", span)[0] in PROGRAMS)
    ]
    return list(dict.fromkeys(found))


def is_query(text: str) -> bool:
    """Whether it is a question to Prometheus, and no mere name of a metric."""
    return re.match(r"(sum|max|histogram_quantile)\b.*\(|tollgate_\w+\{", text) is not None


def looks(command: str) -> bool:
    """Whether a command, as a page has it, changes nothing."""
    if not command.startswith("tollgate "):
        return "config set" not in command
    rest = command.removeprefix("tollgate ")
    return "--repair" not in rest and any(rest == words or rest.startswith(f"{words} ") for words in LOOKS)


def commands(text: str) -> list[list[str]]:
    """The arguments of every ``tollgate`` command of a text, as they stand there."""
    return [shlex.split(span)[1:] for span in spans(text) if span.split()[0] == "tollgate" and " " in span]


def all_commands() -> list[tuple[str, list[str]]]:
    """(page, arguments) of the runbooks, and of the alerts' own texts; each command once a page."""
    found = [(page, words) for page, text in PAGES.items() for words in commands(text)]
    for rule in alert_rules():
        text = "".join(rule["annotations"].values())
        found += [(rule["alert"], words) for words in commands(text) if "{{" not in " ".join(words)]
    return [
        (page, list(words)) for page, words in dict.fromkeys((page, tuple(words)) for page, words in found)
    ]


def filled(words: list[str], file: Path) -> list[str]:
    """The arguments with values in place of placeholders; ``file``: for FILE."""
    return [str(file) if word == "FILE" else PLACEHOLDERS.get(word, word) for word in words]
