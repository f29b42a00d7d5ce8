"""Redis' users for the table of rights (``streams.log.rights``), as lines of its ACL file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from streams.log.rights import Rights

#: what a connection begins and ends with
_EVERY_CONNECTION = ("auth", "hello", "client|setname", "quit")


def acl_file(rights: Mapping[str, Rights], password_of: Callable[[str], str]) -> str:
    """The file's text: nobody comes in without a name, and each principal has its own keys and commands. It holds hashes only."""
    lines = ["user default reset off"]
    lines += [_line(name, has, password_of(name)) for name, has in rights.items() if has.redis]
    return "".join(f"{line}\n" for line in lines)


def _line(principal: str, has: Rights, password: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    words = ["user", principal, "reset", "on", f"#{digest}"]
    words += [f"~{pattern}" for pattern in has.keys]
    words += [f"%R~{pattern}" for pattern in has.read_keys]
    words += ["-@all", *(f"+{command}" for command in (*_EVERY_CONNECTION, *has.commands))]
    return " ".join(words)
