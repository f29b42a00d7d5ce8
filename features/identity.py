"""The identity of a transaction: its tenant and its id, as one text. Each tenant numbers its own payments.

Whatever finds a transaction again finds it by this text: the edge's records, the decision index, labels, a card's newest payments,
the archive and the books. Of the default tenant it is the id itself.
"""

from __future__ import annotations

from collections.abc import Sequence

DEFAULT_TENANT = "default"
#: not printable, so it stands in no tenant and in no id
BETWEEN = "\x1f"


def identity_of(tenant: str, transaction_id: str) -> str:
    """The identity of one transaction."""
    return transaction_id if tenant == DEFAULT_TENANT else f"{tenant}{BETWEEN}{transaction_id}"


def identities_of(tenants: Sequence[str], transaction_ids: Sequence[str]) -> Sequence[str]:
    """The identities of many."""
    if set(tenants) <= {DEFAULT_TENANT}:
        return transaction_ids
    return list(map(identity_of, tenants, transaction_ids))
