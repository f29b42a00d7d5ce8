"""Closes the HAProxy configuration that Ray Serve writes, then becomes HAProxy with the same arguments.

Serve's template (ray 2.60, ``serve/_private/haproxy_templates.py``) has no settings for what is changed here: its metrics and
statistics pages listen on all addresses (the statistics are left out), its admin socket has mode 666, a client may send a request as slowly as it likes, and one
address may hold every connection. Serve starts this through ``haproxy.sh`` at each start and reload. Standard library only: it runs
without the project's packages.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

#: environment: the binary to become, the folder of HAProxy's own answers, and the most connections of one client address
BINARY, ANSWERS, PER_ADDRESS = "TOLLGATE_HAPROXY", "TOLLGATE_HAPROXY_ANSWERS", "TOLLGATE_HAPROXY_PER_ADDRESS"
#: a request, head and body, must be complete this long after its first byte, as in ``http.scoring_routes``. Of a body larger than
#: HAProxy's buffer (16 KB) the edge times the rest
REQUEST_WITHIN_S = 5
#: a longer body is refused by its head (413), as in ``http.scoring_routes``: an answer of the edge before its end would break the connection
MAX_BODY = 16 * 2**20
#: section of the statistics: nothing reads them
LEFT_OUT = "listen stats"
#: file of the answer that HAProxy itself gives, by status
FILES = {
    408: "too_slow.http",
    413: "too_large.http",
    502: "no_replica.http",
    503: "no_replica.http",
    504: "no_replica.http",
}


class UnknownConfiguration(Exception):
    """Serve's configuration does not have a line that must be changed: it would stay open."""


def closed(text: str, answers: Path, per_address: int) -> str:
    """Serve's configuration with its openings closed.

    Args:
        answers: folder of ``FILES``.
        per_address: the most connections of one client address.

    Raises:
        UnknownConfiguration: the configuration has another form, after an upgrade of Ray for example.
    """
    text = _replaced(rf"^{LEFT_OUT}\n(?:[ \t]+.*\n|[ \t]*\n)*", "", text)
    text = _replaced(r"^(frontend prometheus\n[ \t]+bind )\S*:", r"\g<1>127.0.0.1:", text)
    # a log line per request, to whatever process listens on syslog's port
    text = _replaced(r"^[ \t]+log \S+ local0 info\n", "", text)
    text = _replaced(r"^([ \t]+stats socket .*) mode 666 ", r"\1 mode 600 ", text)
    text = re.sub(r"^[ \t]+errorfile .*\n", "", text, flags=re.MULTILINE)
    own = "".join(f"    errorfile {status} {answers / name}\n" for status, name in FILES.items())
    text = _replaced(
        r"^defaults\n",
        f"defaults\n    timeout http-request {REQUEST_WITHIN_S}s\n    option http-buffer-request\n{own}",
        text,
    )
    return _replaced(
        r"^(frontend http_frontend\n[ \t]+bind .*\n)",
        r"\1"
        "    stick-table type ipv6 size 100k expire 60s store conn_cur\n"
        "    tcp-request connection track-sc0 src\n"
        f"    tcp-request connection reject if {{ sc0_conn_cur gt {per_address} }}\n"
        f"    http-request deny deny_status 413 if {{ req.hdr_val(content-length) gt {MAX_BODY} }}\n",
        text,
    )


def _replaced(pattern: str, by: str, text: str) -> str:
    """Raises: UnknownConfiguration: the pattern does not occur exactly once."""
    text, count = re.subn(pattern, by, text, flags=re.MULTILINE)
    if count != 1:
        raise UnknownConfiguration(
            f"{count} places match {pattern!r} in Ray Serve's HAProxy configuration, where there must be 1: "
            "services/scoring/ray/closed_haproxy.py does not know this version of Ray"
        )
    return text


def main(arguments: list[str]) -> None:
    """Close the configuration file named after ``-f``, then become HAProxy."""
    path = Path(arguments[arguments.index("-f") + 1])
    text = closed(path.read_text(), Path(os.environ[ANSWERS]), int(os.environ[PER_ADDRESS]))
    # under the same name, in one step: Serve finds its processes by this path
    whole = path.with_suffix(".closed")
    whole.write_text(text)
    whole.replace(path)
    os.execv(os.environ[BINARY], [os.environ[BINARY], *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
