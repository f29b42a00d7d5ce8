"""``tollgate features show``: what is stored about one card, merchant, device, address or customer."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from features.catalogue import FEATURES, INDEX
from features.currencies import amount_text, money_text
from features.describe import describe_payer, describe_shared_entity, last_event_ms
from features.feature import MINOR_UNITS
from features.identifiers import canonical_id, canonical_ip
from features.profile.codec import read_profiles
from features.profile.records import FRAUDS, PAYER, SHARED_ENTITY, new_arena
from features.store.keys import key
from features.store.redis_client import RespClient, StoreUnavailable
from features.store.views import FRAUDS_OF, JOIN_KEYS, PAYMENTS_OF
from features.transaction import epoch_ms, from_ms, rfc3339
from services.cli.terminal.exits import CheckFailed, Unreachable
from services.cli.terminal.options import home_option, json_option, reply
from services.cli.terminal.times import Moment
from streams.runtime.settings import Settings, load_settings

STORE_WITHIN_S = 5.0


@click.command()
@home_option
@json_option
@click.argument("entity", type=click.Choice(list(JOIN_KEYS)))
@click.argument("entity_id", metavar="ID")
@click.option(
    "--at",
    type=Moment(),
    metavar="TIME",
    help="Show windows as of this moment (RFC 3339); default: the last event.",
)
def show(home: Path, as_json: bool, entity: str, entity_id: str, at: datetime | None) -> None:
    """Show what is stored about one card, merchant, device, ip or customer."""
    at_ms = epoch_ms(at) if at else None
    settings = load_settings(home)
    entity_id = _canonical(entity, entity_id)
    profile = _with_currencies(read_profile(settings, entity, entity_id, at_ms), settings)
    reply(profile, as_json, _lines(profile))


def _canonical(entity: str, entity_id: str) -> str:
    """An entity's id as its profile is stored under."""
    try:
        return canonical_ip(entity_id) if entity == "ip" else canonical_id(entity_id)
    except ValueError as error:
        raise click.BadParameter(f"{entity_id!r} {error}", param_hint="ID") from None


def read_profile(settings: Settings, entity: str, entity_id: str, at_ms: int | None) -> dict[str, Any]:
    """One entity's profile from Redis as plain values; windows as of ``at_ms``, or of its last event.

    Raises:
        CheckFailed: nothing is stored. Unreachable: Redis does not answer. ProfileError: a profile of another version.
    """
    is_payer = entity in FRAUDS_OF
    views = [PAYMENTS_OF[entity], *([FRAUDS_OF[entity]] if is_payer else [])]
    client = RespClient(settings.redis_address, STORE_WITHIN_S)
    try:
        stored = client.call([("MGET", *(key(view, entity_id, settings.partitions) for view in views))])[0]
    except StoreUnavailable as error:
        raise Unreachable(f"{error}: is the stack in {settings.home} up? (`tollgate status`)") from error
    finally:
        client.close()
    if isinstance(stored, Exception):
        raise Unreachable(f"Redis refused the read: {stored}")
    main, frauds = new_arena(PAYER if is_payer else SHARED_ENTITY, 1), new_arena(FRAUDS, 1)
    if not stored[0]:
        raise CheckFailed(f"nothing is stored about {entity} {entity_id}")
    for arena, profile in zip((main, frauds), stored, strict=False):
        read_profiles(arena, np.array([0]), [profile])
    moment = last_event_ms(main) if at_ms is None else at_ms
    known = describe_payer(main, frauds, moment) if is_payer else describe_shared_entity(main, entity, moment)
    return {"entity": entity, "id": entity_id, "at": rfc3339(from_ms(moment)), **known}


def _with_currencies(profile: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The same with the currencies of the entity's archived payments, all of them and of each last event: a profile holds none."""
    from streams.archive.payments_of import amounts_of  # Arrow is slow to import

    until_ms = epoch_ms(datetime.fromisoformat(profile["last_event"]))
    found = amounts_of(settings.archive_dir, JOIN_KEYS[profile["entity"]], profile["id"], until_ms)
    rows = zip(
        *(found[name].to_pylist() for name in ("event_timestamp", "amount_minor", "currency")), strict=True
    )
    by_event = {(rfc3339(at), minor): currency for at, minor, currency in rows}
    events = [
        {**event, "currency": by_event.get((event["time"], event["amount_minor"]))}
        for event in profile.get("last_events", [])
    ]
    profile |= {"currencies": sorted(set(by_event.values()))}
    return profile | ({"last_events": events} if "last_events" in profile else {})


def _money(minor: float | None, currency: str | None) -> str:
    if minor is None:
        return "unknown"
    return amount_text(minor, None) if currency is None else money_text(minor, currency)


def _lines(profile: dict[str, Any]) -> list[str]:
    lines = [f"{profile['entity']} {profile['id']}, as of {profile['at']}", ""]
    for name, value in profile.items():
        if name in (
            "entity",
            "id",
            "at",
            "windows",
            "last_events",
            "features",
            "frauds_by_day",
            "currencies",
        ):
            continue
        shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
        lines.append(f"  {name.replace('_', ' '):<20} {'unknown' if value is None else shown}")
    currencies = profile["currencies"]
    # of one currency all is money; of several the past adds minor units as they are
    currency = currencies[0] if len(currencies) == 1 else None
    lines.append(f"  {'money':<20} {_unit(currencies)}")
    if "windows" in profile:
        lines += ["", f"  {'window':<8} {'payments':>9} {'sum':>26}"]
        lines += [
            f"  {w:<8} {v['count']:>9} {_money(v['sum_minor'], currency):>26}"
            for w, v in profile["windows"].items()
        ]
        lines += ["", "  last events"]
        for event in profile["last_events"]:
            lines.append(
                f"  {event['time']} {_money(event['amount_minor'], event['currency'] or currency):>26}"
            )
    if "features" in profile:
        lines += ["", "  features"]
        for name, value in profile["features"].items():
            is_money = FEATURES[INDEX[name]].unit == MINOR_UNITS
            shown = _money(value, currency) if is_money else "unknown" if value is None else value
            lines.append(f"  {name:<32} {shown}")
        frauds = profile["frauds_by_day"]
        lines += ["", "  reported frauds by day of the payment" if frauds else "  no reported frauds"]
        lines += [f"  {day} {count:>6}" for day, count in frauds.items()]
    return lines


def _unit(currencies: list[str]) -> str:
    if not currencies:
        return "in minor units (12.34 EUR is 1,234): no archived payment says in which currency"
    if len(currencies) == 1:
        return f"in {currencies[0]}, the currency of all its archived payments"
    return f"minor units of {', '.join(currencies)}, added as they are: the sums are of no currency"
