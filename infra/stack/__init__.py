"""The local stack: all processes of Tollgate on this machine, supervised, with their data in one folder.

from infra.stack import start, stop, settings_for, processes
"""

from infra.stack.elsewhere import refuse_edited, with_parts
from infra.stack.errors import StackError, StackUsageError
from infra.stack.health.status import no_stack, processes, report, served_model
from infra.stack.lifecycle import check_room, existing, is_running, start, stop
from infra.stack.ports import free_port_base, settings_for
from infra.stack.restarting import restart, restart_all
from infra.stack.turn import turn_to_start

__all__ = [
    "StackError",
    "StackUsageError",
    "check_room",
    "existing",
    "free_port_base",
    "is_running",
    "no_stack",
    "processes",
    "refuse_edited",
    "report",
    "restart",
    "restart_all",
    "served_model",
    "settings_for",
    "start",
    "stop",
    "turn_to_start",
    "with_parts",
]
