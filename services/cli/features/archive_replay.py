"""``tollgate features replay``: computes the features of archived transactions, without Kafka and Redis."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import click

from features.catalogue import CATALOGUE_HASH, NAMES
from services.cli.terminal.exits import CheckFailed
from services.cli.terminal.options import OUTPUT_FILE, home_option, json_option, reply
from streams.runtime.settings import load_settings


@click.command("replay")
@click.argument("out", type=OUTPUT_FILE)
@home_option
@json_option
def replay_archive(out: Path, home: Path, as_json: bool) -> None:
    """Compute all features of all archived transactions with this code, offline, and write them to OUT (Parquet).

    This gives a new feature its values for past transactions. Needs about 1 KB of memory per transaction.
    """
    import pyarrow as pa  # these, and kernels, are slow to import
    import pyarrow.parquet as pq

    from features.replay import replay
    from streams.archive.history_table import archived_history

    archive = load_settings(home).archive_dir
    found = archived_history(archive)
    rows = found.history.num_rows
    if not rows:
        raise CheckFailed(
            f"no transaction is archived in {archive}: the archive first writes about a minute after the first transaction"
        )
    started = perf_counter()
    matrix = replay(
        found.history,
        labels=found.labels,
        progress=lambda done: click.echo(f"{done:,} of {rows:,} ...", err=True),
    )
    took_s = perf_counter() - started
    table = found.history.select(["transaction_id", "event_time", "arrival_time"])
    for column, name in enumerate(NAMES):
        table = table.append_column(name, pa.array(matrix[:, column]))
    # so that a reader can tell which catalogue computed the values
    table = table.replace_schema_metadata({"catalogue": CATALOGUE_HASH})
    part = out.with_name(f"{out.name}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(out)
    value = {"out": str(out), "rows": rows, "features": len(NAMES), "seconds": round(took_s, 3)}
    reply(
        value, as_json,
        f"{len(NAMES)} features of {rows:,} transactions written to {out}, computed in {took_s:.1f} s ({rows / took_s:,.0f} a second)",
    )  # fmt: skip
