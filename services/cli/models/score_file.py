"""``tollgate score``: a file of transactions with scores and decisions. It can be stopped at any time and goes on where it was.

The work is done in parts, each written when it is complete. A run that finds parts of the same work brings the state of cards, merchants
and devices up to them again, and scores only what is missing.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Protocol

import click
import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from features.catalogue import CATALOGUE_HASH
from features.replay import Replay
from features.store.profiles.reader import ProfilesUnavailable, RedisProfiles
from models.policy.policy import DECISIONS
from models.scoring.history import score_rows
from models.scoring.scorer import Scorer
from models.training.dataset import FloatArray
from services.cli.mapping import MAPPING_HELP
from services.cli.models.files import pick_version, read_history, scorer_of, settings_of
from services.cli.models.live_state import LiveState
from services.cli.terminal.exits import BadInput, Unreachable
from services.cli.terminal.options import OUTPUT_FILE, file_argument, home_option, json_option, reply
from streams.runtime.settings import Settings

PART_ROWS = 65_536
State = Literal["history", "live"]
STATES: dict[State, str] = {
    "history": "from the history in the file",
    "live": "from the live store as it is now; the file's rows do not know each other",
}
#: a part is read in 66 steps, each within this time
READ_WITHIN_S = 5.0


class Features(Protocol):
    """A source of features, asked for the rows in order."""

    def until(self, end: int) -> FloatArray:
        """Of the rows from where the last step ended to ``end``, float32 (rows, WIDTH)."""
        ...


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder of parts is for: with another file, model or engine they are of no use."""

    file: str
    bytes: int
    modified_ns: int
    mapping: str
    rows: int
    model_version: str
    policy_version: str
    catalogue: str
    state: State
    part_rows: int = 0


class Parts:
    """The folder beside the result that holds its parts until all are there."""

    def __init__(self, out: Path, work: Work) -> None:
        """Those of other work are deleted."""
        self._folder = out.with_name(f".{out.name}.parts")
        plan, said = self._folder / "work.json", msgspec.json.encode(work)
        if not plan.exists() or plan.read_bytes() != said:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            plan.write_bytes(said)

    def path(self, number: int) -> Path:
        """Of one part, there or not."""
        return self._folder / f"part-{number:06d}.parquet"

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all."""
        tmp = self.path(number).with_suffix(".tmp")
        pq.write_table(table, tmp, compression="zstd")
        tmp.replace(self.path(number))

    def join(self, count: int, out: Path) -> Counter[str]:
        """Write all parts into one file and delete them; returns the number of each decision."""
        tmp = out.with_name(f".{out.name}.tmp")
        decisions: Counter[str] = Counter()
        schema = pq.read_schema(self.path(0))
        csv = out.suffix == ".csv"
        with (
            pyarrow.csv.CSVWriter(tmp, schema)
            if csv
            else pq.ParquetWriter(tmp, schema, compression="zstd") as writer
        ):
            for number in range(count):
                table = pq.read_table(self.path(number))
                writer.write_table(table)
                for found in table["decision"].value_counts().to_pylist():
                    decisions[found["values"]] += found["counts"]
        tmp.replace(out)
        shutil.rmtree(self._folder)
        return decisions


@click.command()
@file_argument
@click.option("--mapping", metavar="M", help=f"{MAPPING_HELP}  Default: the file is a history table.")
@click.option(
    "--out",
    type=OUTPUT_FILE,
    help="Output file (.parquet or .csv); default: ./FILE.scored.parquet.",
)
@click.option("--version", metavar="V", help="Model version; default: the live one.")
@click.option(
    "--state",
    type=click.Choice(list(STATES)),
    default="history",
    show_default=True,
    help="What is known of cards, merchants and devices: by the history in the file, or by the live store now (its stack must be up).",
)
@home_option
@json_option
def score(
    file: Path,
    mapping: str | None,
    out: Path | None,
    version: str | None,
    state: State,
    home: Path,
    as_json: bool,
) -> None:
    """Score a file with the live model. Writes one row per transaction: score, decision, matched rules.

    Stopped with Ctrl-C, the same command goes on where it was.
    """
    out = out or Path(f"{file.stem}.scored.parquet")
    if out.suffix not in (".parquet", ".csv"):
        raise BadInput(f"{out} must end in .parquet or .csv")
    settings = settings_of(home)
    scorer = scorer_of(settings, pick_version(settings, version))
    start = time.perf_counter()
    history = read_history(file, mapping)
    if not history.num_rows:
        raise BadInput(f"{file} has no transactions")
    try:
        summary = score_file(
            file, mapping, history, scorer, out, state, _features(history, state, settings), PART_ROWS
        )
    except ProfilesUnavailable as error:
        raise Unreachable(f"{error}: is the stack in {settings.home} up? (`tollgate status`)") from error
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on from here", err=True)
        raise
    seconds = time.perf_counter() - start
    summary |= {"seconds": round(seconds, 3), "rows_per_s": round(history.num_rows / seconds)}
    counts = ", ".join(f"{count:,} {name}" for name, count in summary["decisions"].items())
    again = f", {summary['resumed_rows']:,} of them from an earlier run" if summary["resumed_rows"] else ""
    reply(
        summary, as_json,
        f"{history.num_rows:,} transactions{again} in {seconds:.1f} s with {scorer.version}: {counts}\n"
        f"state of cards, merchants and devices: {STATES[state]}\n{out}",
    )  # fmt: skip


def _features(history: pa.Table, state: State, settings: Settings) -> Features:
    if state == "live":
        return LiveState(history, RedisProfiles(settings.redis_address, settings.partitions, READ_WITHIN_S))
    going = Replay(history)
    going.learn_history()
    return going


def score_file(
    file: Path,
    mapping: str | None,
    history: pa.Table,
    scorer: Scorer,
    out: Path,
    state: State,
    features: Features,
    part_rows: int,
) -> dict[str, Any]:
    """Score a history in parts, those that are there already left out, and write the result."""
    found, rows = file.stat(), history.num_rows
    work = Work(
        file=str(file.resolve()), bytes=found.st_size, modified_ns=found.st_mtime_ns, mapping=mapping or "", rows=rows,
        model_version=scorer.version, policy_version=scorer.policy.version, catalogue=CATALOGUE_HASH, part_rows=part_rows,
        state=state,
    )  # fmt: skip
    parts = Parts(out, work)
    starts = range(0, rows, part_rows)
    resumed = 0
    for number, start in enumerate(starts):
        end = min(start + part_rows, rows)
        matrix = features.until(end)
        if parts.path(number).exists():
            resumed += end - start
        else:
            parts.write(number, score_rows(history.slice(start, end - start), matrix, scorer))
        click.echo(f"{end:,} of {rows:,} ({end / rows:.0%})", err=True)
    decisions = parts.join(len(starts), out)
    return {
        "out": str(out), "rows": rows, "resumed_rows": resumed, "state": STATES[state], "model_version": scorer.version,
        "policy_version": scorer.policy.version, "decisions": {name: decisions[name] for name in DECISIONS},
    }  # fmt: skip
