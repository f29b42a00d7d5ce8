"""Tests stand alone: none imports another, and none sets what the code under test keeps to itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
#: modules that share what they have; of `tests.faults` and `tests.attack` those that are no tests, because `make` runs them
SHARED = re.compile(r"tests\.support(\.|$)|tests\.(faults|attack)(\.(?!test_)|$)|tests$")
#: what a process' end is called in the standard library
PUBLIC = {"_exit"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of each import, and of what ``from tests import x`` may mean by x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if node.module == "tests":
                yield from ((node.lineno, f"tests.{alias.name}") for alias in node.names)


def targets(node: ast.AST) -> list[ast.expr]:
    """What a statement sets or deletes."""
    if isinstance(node, ast.Assign | ast.Delete):
        return node.targets
    if isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr):
        return [node.target]
    return []


def of_others(target: ast.expr) -> Iterator[str]:
    """Private attributes through which ``target`` sets something, but for those of self and cls."""
    for part in ast.walk(target):
        if not isinstance(part, ast.Attribute) or not is_private(part.attr):
            continue
        if not (isinstance(part.value, ast.Name) and part.value.id in ("self", "cls")):
            yield part.attr


def replaced(node: ast.AST) -> Iterator[str]:
    """Private names that a call of ``setattr``, ``delattr`` or ``patch`` replaces, of the builtins, pytest or mock."""
    if not isinstance(node, ast.Call):
        return
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("setattr", "delattr", "patch", "object"):
        return
    for argument in node.args[:2]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield from (part for part in argument.value.split(".") if is_private(part))
    if node.args:
        yield from of_others(node.args[0])


def broken(name: str, source: str) -> list[str]:
    """Where a module of the tests breaks the rules, one line each."""
    tree = ast.parse(source)
    found = [
        f"{name}:{line}: imports {module}"
        for line, module in imported(tree)
        if module.startswith((".", "tests")) and not SHARED.match(module)
    ]
    for node in ast.walk(tree):
        private = [attribute for target in targets(node) for attribute in of_others(target)]
        found += [f"{name}:{node.lineno}: sets {attribute}" for attribute in [*private, *replaced(node)]]
    return found


def test_no_test_imports_another_or_sets_what_is_private() -> None:
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 200
    assert [line for path in files for line in broken(str(path.relative_to(TESTS)), path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.streams.test_waiting import Clock",
        "import tests.property.test_parity",
        "from tests import unit",
        "from .test_other import Thing",
        "from tests.faults.test_kill import RATE",
        "thing._clock = 1",
        "thing._parts.clock = 1",
        "first, thing._clock = 1, 2",
        "self.thing._clock += 1",
        "thing._clock: float = 1",
        "del thing._seen[1]",
        "monkeypatch.setattr(module, '_clock', 1)",
        "monkeypatch.setattr('module._clock', 1)",
        "monkeypatch.setattr(thing._stop, 'wait', 1)",
        "setattr(thing, '_clock', 1)",
        "mock.patch.object(thing, '_clock')",
    ],
)
def test_what_breaks_a_rule_is_found(source: str) -> None:
    assert len(broken("it", source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from tests.support.waiting import until",
        "from tests.faults.rounds import Bench",
        "from tests.attack.registry import attacks",
        "self._clock = 1",
        "thing.clock = thing._clock",
        "thing.__doc__ = ''",
        "monkeypatch.setattr(os, '_exit', print)",
        "monkeypatch.setattr(module, 'clock', lambda: thing._clock)",
        "_local = 1",
    ],
)
def test_what_breaks_none_is_not(source: str) -> None:
    assert broken("it", source) == []
