"""What each role may do, and what each of the stack's own services may do. One table; everything that checks asks ``may``.

Four eyes, and who may approve what he proposed: ``models/rollout/transitions.py`` and ``services/rollout/process.py``.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["analyst", "reviewer", "approver", "operator", "admin", "service"]
Permission = Literal[
    "propose",  # train a model by hand, publish rules: both await approval
    "approve",  # make a version live (also: promote)
    "reject",
    "rollback",
    "retrain",  # ask the trainer for a new model
    "access",  # add and revoke people and API keys
    "operate",  # the console: silence an alert, send dead letters again
    "serve",  # write `rollouts` and `audit`
    "score",  # the HTTP edge: have transactions decided
    "label",  # the HTTP edge and the console: post labels; the console: work the queue
    "read",  # the HTTP edge: read decisions and the served model; the console: see it
]

ROLES: tuple[Role, ...] = get_args(Role)
MAY: dict[Role, frozenset[Permission]] = {
    "analyst": frozenset({"propose", "label", "read"}),
    "reviewer": frozenset({"reject", "label", "read"}),
    "approver": frozenset({"approve", "reject", "rollback", "read"}),
    "operator": frozenset(
        {"propose", "approve", "reject", "rollback", "retrain", "operate", "score", "label", "read"}
    ),
    "admin": frozenset(
        {"propose", "approve", "reject", "rollback", "retrain", "access", "operate", "score", "label", "read"}
    ),
    # a company's own program; the stack's services are below
    "service": frozenset({"retrain", "score", "label", "read"}),
}

#: the stack's own services: each may do one thing
SERVICES: dict[str, frozenset[Permission]] = {
    "rollout": frozenset({"serve"}),
    "drift": frozenset({"retrain"}),
}


def may(name: str, role: Role, permission: Permission) -> bool:
    """Whether a person or service of this name and role may do this."""
    if role == "service" and name in SERVICES:
        return permission in SERVICES[name]
    return permission in MAY[role]


def roles_with(permission: Permission) -> list[Role]:
    """The roles that include a permission."""
    return [role for role in ROLES if permission in MAY[role]]
