"""The trainer: one answer per request, whatever happens; a bundle that awaits approval; refusals that say why."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from features.catalogue import INDEX
from features.transaction import from_ms
from infra.embedded.mock_cluster import MockCluster
from models.bundle.content import bundle_path, load_bundle
from models.bundle.registry import VersionState, states, write_state
from models.evidence.pack import read_pack
from models.training.archived import save_seed
from models.training.dataset import DAY_MS, Dataset, join
from models.training.label_states import MATURITY_MS
from services.cli.main import run
from services.trainer import work
from services.trainer.answers import Answers
from services.trainer.jobs import JobFailed, run_job
from services.trainer.learning import seed_dir
from services.trainer.main import Trainer
from services.trainer.tracking import flatten, pending, reachable
from streams.access.identity import acting, add_person, service
from streams.access.signatures import signed
from streams.access.signed_record import Signed, headers
from streams.contracts.invalid_event import InvalidEvent
from streams.contracts.retraining import RetrainingRequest
from streams.contracts.text.json_encoding import encode
from streams.log.rollouts.feed import RolloutsUnreachable
from streams.log.topics import ALL, RETRAINING
from streams.runtime.kafka.clients import flush, new_producer
from streams.runtime.metrics import FORGERIES, RETRAINING_RUNS
from streams.runtime.settings import Settings
from tests.support.bundle_samples import publish_sample
from tests.support.metric_values import total
from tests.support.models_data import START_MS, make_dataset

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NO_STOP = threading.Event()
ROOT = Path(__file__).parents[2]


def request(
    key: str = "drift-1", *, at: datetime = NOW, cooldown_s: float = 3600, model: str = "fraud"
) -> RetrainingRequest:
    return RetrainingRequest(
        model=model, reason="drift", evidence=[{"feature": "amount", "p_value": 1e-9}], data_from=NOW - timedelta(days=365), data_to=NOW,
        requested_at=at, dedupe_key=key, cooldown_s=cooldown_s, requested_by="drift",
    )  # fmt: skip


def by_drift(home: Path, asked: RetrainingRequest) -> Signed:
    """The request, signed as the drift process does."""
    return signed(service(home / "access", "drift", NOW), RETRAINING.name, encode(asked))


def settings_at(home: Path, **more: Any) -> Settings:
    # nothing listens on port 1: what needs a broker or MLflow must do without
    return Settings(home=str(home), **{"kafka": "127.0.0.1:1", "mlflow": "http://127.0.0.1:1", **more})


def give_seed(settings: Settings, data: Dataset | None = None) -> None:
    data = make_dataset(8_000) if data is None else data
    table = pa.table(
        {
            "card_id": pa.array(data.card, pa.string()),
            "event_time": pa.array(data.event_ms, pa.timestamp("ms", tz="UTC")),
            "label": pa.array(np.where(data.fraud, "fraud", "legit")),
            "label_time": pa.array(data.event_ms, pa.timestamp("ms", tz="UTC")),
        }
    )
    save_seed(table, data.matrix, seed_dir(settings), START_MS + 20 * DAY_MS + MATURITY_MS, "honest")


def in_this_process(path: Path, settings: Settings, stop: threading.Event) -> dict[str, Any]:
    return work.answer(settings, msgspec.json.decode(path.read_bytes(), type=RetrainingRequest), NOW)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no broker: the live version is that of the states on disk, at once."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise RolloutsUnreachable("there is no broker")

    monkeypatch.setattr(work, "newest_rollout", unreachable)


@pytest.mark.usefixtures("quick")
def test_a_request_becomes_a_signed_bundle_that_awaits_approval(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings)
    publish_sample(tmp_path, "1.0.0")
    write_state(settings.bundles_dir, "fraud", "1.0.0", VersionState(state="live", since=NOW, by="ada"))
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request()), NOW)
    assert states(settings.bundles_dir, "fraud") == {"1.0.0": "live", "1.1.0": "awaiting approval"}
    bundle = load_bundle(bundle_path(settings.bundles_dir, "fraud", "1.1.0"), settings.keys_dir / "trusted")
    assert bundle.lineage["request"]["dedupe_key"] == "drift-1"
    assert (
        bundle.lineage["data"]["source"] == "seed"
        and "only 0 archived rows" in bundle.lineage["data"]["note"]
    )
    assert bundle.lineage["compared_with"] == "1.0.0"
    assert bundle.evaluation["live"]["rows"] == bundle.evaluation["rows"] > 0
    assert "average_precision" in bundle.evaluation["difference"]
    assert bundle.policy.version == "2"
    gates = bundle.evaluation["gates"]
    assert (gates["verdict"], gates["live"]) == ("pass", "1.0.0") and gates["rows"] > 0
    pack, _ = read_pack(settings.bundles_dir, settings.keys_dir / "trusted", "fraud", "1.1.0")
    assert pack.judgement is not None and pack.judgement.verdict == "pass"
    assert pack.expires_at == NOW + timedelta(days=7)


def flipped(data: Dataset) -> Dataset:
    """One label in twenty is wrong, and most frauds are left out: of a rare class nearly all labels are then by lot."""
    wrong = np.random.default_rng(6).random(len(data)) < 0.05
    kept = ~data.fraud | (np.arange(len(data)) % 4 == 0)
    return dataclasses.replace(data, fraud=data.fraud ^ wrong).take(kept)


def repeated(data: Dataset) -> Dataset:
    """Every fraud is there three times."""
    return join([data, data.take(data.fraud), data.take(data.fraud)])


def leaking(data: Dataset) -> Dataset:
    """A column knows the label."""
    matrix = data.matrix.copy()
    matrix[:, INDEX["night"]] = data.fraud
    return dataclasses.replace(data, matrix=matrix)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("poison", "gate"),
    [(flipped, "ranking_of_record"), (repeated, "leak_repeated"), (leaking, "leak_feature")],
)
def test_a_model_of_poisoned_data_is_rejected_with_its_reason_and_asks_nobody(
    tmp_path: Path, poison: Callable[[Dataset], Dataset], gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings, poison(make_dataset(8_000)))
    publish_sample(tmp_path, "1.0.0")
    write_state(settings.bundles_dir, "fraud", "1.0.0", VersionState(state="live", since=NOW, by="ada"))
    asking = total(RETRAINING_RUNS, result="published")
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request()), NOW)
    assert states(settings.bundles_dir, "fraud") == {"1.0.0": "live", "1.1.0": "rejected"}
    answer = Answers(tmp_path / "trainer").find("drift-1")
    assert answer is not None and (answer.result, answer.version) == ("rejected", "1.1.0")
    assert gate in answer.reason
    assert total(RETRAINING_RUNS, result="published") == asking, "ModelAwaitsApproval does not fire"
    assert run(["models", "list", "--home", str(tmp_path)]) == 0
    assert f"rejected for {gate}" in capsys.readouterr().out
    # with another policy it is the same model
    assert run(["models", "rebase", "1.1.0", "--home", str(tmp_path)]) == 1
    assert "is rejected" in capsys.readouterr().err
    # the same data give the same model: it is not trained again until there are others
    later = NOW + timedelta(hours=2)
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request(at=later)), later)
    again = Answers(tmp_path / "trainer").find("drift-1")
    assert again is not None and again.result == "refused" and "since 1.1.0" in again.reason


@pytest.mark.usefixtures("quick")
def test_one_class_publishes_nothing(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    data = make_dataset(4_000)
    give_seed(settings, data.take(~data.fraud))
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request()), NOW)
    answer = Answers(tmp_path / "trainer").find("drift-1")
    assert answer is not None and answer.result == "refused" and "0 frauds" in answer.reason
    assert states(settings.bundles_dir, "fraud") == {}
    assert not list(settings.bundles_dir.rglob("*.evidence.*"))


@pytest.mark.usefixtures("quick")
def test_a_run_that_died_before_it_said_what_becomes_of_its_model_is_done_again(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings)
    assert work.answer(settings, request("crashed"), NOW)["version"] == "1.0.0"
    for path in settings.bundles_dir.rglob("1.0.0.*"):
        path.unlink()
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request("crashed")), NOW)
    assert states(settings.bundles_dir, "fraud") == {"1.0.0": "published", "1.1.0": "awaiting approval"}


def test_one_key_is_answered_once_over_restarts_and_a_soon_one_is_refused(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    runs: list[str] = []

    def train(path: Path, *_: Any) -> dict[str, Any]:
        runs.append(msgspec.json.decode(path.read_bytes())["dedupe_key"])
        return {"result": "published", "version": f"1.{len(runs)}.0"}

    trainer = Trainer(settings, NO_STOP, train)
    assert trainer.handle(by_drift(tmp_path, request("a")), NOW) and trainer.handle(
        by_drift(tmp_path, request("a")), NOW
    )
    again = Trainer(settings, NO_STOP, train)
    assert again.handle(by_drift(tmp_path, request("a")), NOW)
    assert again.handle(by_drift(tmp_path, request("soon", at=NOW + timedelta(minutes=59))), NOW)
    assert again.handle(by_drift(tmp_path, request("later", at=NOW + timedelta(minutes=61))), NOW)
    assert runs == ["a", "later"]
    answers = Answers(tmp_path / "trainer")
    soon, later = answers.find("soon"), answers.find("later")
    assert soon is not None and soon.result == "refused" and "cooling down" in soon.reason
    assert later is not None and later.version == "1.2.0"


@pytest.mark.usefixtures("quick")
def test_a_bundle_published_before_a_crash_is_found_again(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings)
    assert work.answer(settings, request("crashed"), NOW) == {"result": "published", "version": "1.0.0"}
    assert Trainer(settings, NO_STOP, in_this_process).handle(by_drift(tmp_path, request("crashed")), NOW)
    assert list(states(settings.bundles_dir, "fraud")) == ["1.0.0"]


@pytest.mark.usefixtures("quick")
def test_nothing_to_learn_from_is_refused_with_its_reason(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    trainer = Trainer(settings, NO_STOP, in_this_process)
    assert trainer.handle(by_drift(tmp_path, request("empty")), NOW) and trainer.handle(
        by_drift(tmp_path, request("other", model="x")), NOW
    )
    assert trainer.handle(Signed(b"nonsense"), NOW)
    answers = Answers(tmp_path / "trainer")
    empty, other = answers.find("empty"), answers.find("other")
    assert empty is not None and "no matured labels" in empty.reason
    assert other is not None and "unknown model x" in other.reason
    assert states(settings.bundles_dir, "fraud") == {}


@pytest.mark.usefixtures("quick")
def test_the_same_data_are_not_trained_on_twice(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings)
    assert work.answer(settings, request("first"), NOW)["result"] == "published"
    again = work.answer(settings, request("second"), NOW)
    assert again["result"] == "refused" and "have not changed since 1.0.0" in again["reason"]
    # a policy that was published since is no training; other rows are other data
    lineage = load_bundle(
        bundle_path(settings.bundles_dir, "fraud", "1.0.0"), settings.keys_dir / "trusted"
    ).lineage
    assert (
        lineage["data_fingerprint"] == lineage["data"]["fingerprint"]
        and lineage["data"]["label_coverage"] == 1.0
    )
    newer = msgspec.structs.replace(request("third"), data_from=from_ms(START_MS + DAY_MS))
    assert work.answer(settings, newer, NOW) == {"result": "published", "version": "1.1.0"}


@pytest.mark.usefixtures("quick")
def test_only_the_rows_of_the_requests_window_are_learnt_from(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    give_seed(settings)
    first, last = START_MS + 2 * DAY_MS, START_MS + 12 * DAY_MS
    asked = msgspec.structs.replace(request(), data_from=from_ms(first), data_to=from_ms(last))
    assert work.answer(settings, asked, NOW)["result"] == "published"
    data = load_bundle(
        bundle_path(settings.bundles_dir, "fraud", "1.0.0"), settings.keys_dir / "trusted"
    ).lineage["data"]
    assert data["window"] == {"from_ms": first, "to_ms": last}
    assert first <= data["from_ms"] < first + DAY_MS and last - DAY_MS < data["to_ms"] <= last
    before = msgspec.structs.replace(request("empty"), data_from=NOW, data_to=NOW)
    refused = work.answer(settings, before, NOW)
    assert refused["result"] == "refused" and "from 2026-01-02" in refused["reason"]


def test_what_failed_or_was_rejected_may_be_asked_again_and_a_storm_is_one(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    publish_sample(tmp_path, "1.0.0")
    runs: list[str] = []
    results = iter(
        [{"result": "refused", "reason": "no labels"}, *[{"result": "published", "version": "1.0.0"}] * 2]
    )

    def train(path: Path, *_: Any) -> dict[str, Any]:
        runs.append(msgspec.json.decode(path.read_bytes())["dedupe_key"])
        return next(results)

    def ask(minutes: int) -> int:
        at = NOW + timedelta(minutes=minutes)
        for _ in range(3):
            assert Trainer(settings, NO_STOP, train).handle(
                by_drift(tmp_path, request(at=at)), at + timedelta(seconds=30)
            )
        return len(runs)

    assert ask(0) == 1
    assert ask(1) == 2
    # it led to a model
    assert ask(120) == 2
    write_state(settings.bundles_dir, "fraud", "1.0.0", VersionState(state="rejected", since=NOW, by="ada"))
    assert ask(121) == 3


def test_what_nobody_may_ask_for_trains_nothing(tmp_path: Path) -> None:
    runs: list[Path] = []

    def train(path: Path, *_: Any) -> dict[str, Any]:
        runs.append(path)
        return {"result": "published", "version": "1.0.0"}

    folder = tmp_path / "access"
    for name, role in (("ana", "analyst"), ("olga", "operator")):
        add_person(folder, name, role, by="x", now=NOW)  # type: ignore[arg-type]
    trainer = Trainer(settings_at(tmp_path), NO_STOP, train)
    value, good = encode(request()), by_drift(tmp_path, request())
    refused = total(FORGERIES, what=RETRAINING.name)
    forged = [
        Signed(value),
        Signed(value, "drift", b"x" * 64),
        Signed(value.replace(b"3600", b"0000"), good.signed_by, good.signature),
        Signed(value, "nobody", good.signature),
        signed(acting(folder, "ana", NOW), RETRAINING.name, value),
        signed(service(folder, "rollout", NOW), RETRAINING.name, value),
        by_drift(tmp_path.with_name("another-stack"), request()),
    ]
    for one in forged:
        assert trainer.handle(one, NOW)
    assert total(FORGERIES, what=RETRAINING.name) - refused == len(forged)
    # well signed, but with a pause that nobody can ask for
    for cooldown_s in (-1.0, -1e300, 1e9, float("nan"), float("inf")):
        with pytest.raises(InvalidEvent):
            trainer.handle(by_drift(tmp_path, request(cooldown_s=cooldown_s)), NOW)
    assert runs == [] and Answers(tmp_path / "trainer").find("drift-1") is None
    assert trainer.handle(
        signed(acting(folder, "olga", NOW), RETRAINING.name, encode(request("by-hand"))), NOW
    )
    assert trainer.handle(good, NOW) and len(runs) == 1, "the second is refused: cooling down"


def test_a_run_that_fails_is_tried_again_and_then_counted(tmp_path: Path) -> None:
    tries: list[int] = []

    def train(*_: Any) -> dict[str, Any]:
        tries.append(1)
        raise JobFailed("killed")

    assert Trainer(settings_at(tmp_path), NO_STOP, train).handle(by_drift(tmp_path, request()), NOW)
    answer = Answers(tmp_path / "trainer").find("drift-1")
    assert len(tries) == 2 and answer is not None and (answer.result, answer.reason) == ("failed", "killed")


def test_a_stop_leaves_the_request_unanswered(tmp_path: Path) -> None:
    assert not Trainer(settings_at(tmp_path), NO_STOP, lambda *_: None).handle(
        by_drift(tmp_path, request()), NOW
    )
    assert Answers(tmp_path / "trainer").find("drift-1") is None


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that writes its process id and then takes a minute."""
    text = (
        "import os, pathlib, sys, time\n"
        "from services.trainer.jobs import end_with_parent\n"
        "end_with_parent(int(sys.argv[sys.argv.index('--parent') + 1]))\n"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "sleeper_job.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "sleeper_job"


def test_jobs_have_deadlines_and_end_on_stop(sleeper: str, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="exited with code 2"):
        run_job("services.trainer.work", ["--nonsense"], stop=NO_STOP, timeout_s=60)
    with pytest.raises(JobFailed, match="did not finish within"):
        run_job(sleeper, [str(tmp_path / "a")], stop=NO_STOP, timeout_s=0.5)
    stopped = threading.Event()
    stopped.set()
    assert run_job(sleeper, [str(tmp_path / "b")], stop=stopped, timeout_s=60) is None


def test_a_job_does_not_outlive_a_killed_trainer(sleeper: str, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys, threading; from services.trainer.jobs import run_job; "
        "run_job(sys.argv[1], [sys.argv[2]], stop=threading.Event(), timeout_s=60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, sleeper, str(note)], cwd=ROOT)
    deadline = time.monotonic() + 60
    try:
        while not note.exists() or not note.read_text():
            assert time.monotonic() < deadline and starter.poll() is None
            time.sleep(0.05)
    finally:
        starter.kill()
        starter.wait(10)
    job = Path(f"/proc/{note.read_text()}/stat")
    # an ended process that nobody has waited for stays in the table as a zombie
    while job.exists() and job.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "the job outlived its trainer"
        time.sleep(0.05)


def test_what_mlflow_would_be_told(tmp_path: Path) -> None:
    settings = settings_at(tmp_path)
    publish_sample(tmp_path, "1.0.0")
    assert pending(settings) == ["1.0.0"] and not reachable(settings)
    assert flatten({"a": 1, "b": {"c": 0.5, "d": None}, "e": "text", "f": True}) == {"a": 1.0, "b.c": 0.5}


def test_the_process_answers_from_the_topic(tmp_path: Path, free_port_base: Callable[[], int]) -> None:
    cluster = MockCluster({topic.name: 1 for topic in ALL})
    settings = settings_at(tmp_path, kafka=cluster.bootstrap, port_base=free_port_base())
    settings.save()
    give_seed(settings)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.trainer.main", "--home", str(tmp_path)], cwd=ROOT, stderr=log
        )
    try:
        producer = new_producer(settings.kafka, "test")
        for key in ("one", "one"):
            record = by_drift(tmp_path, request(key))
            producer.produce(RETRAINING.name, record.value, b"fraud", headers=headers(record))
        flush(producer, 20)
        deadline = time.monotonic() + 90
        while (
            "1.0.0" not in states(settings.bundles_dir, "fraud")
            or not (tmp_path / "trainer/answers.json").exists()
        ):
            assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "log").read_text()[
                -3000:
            ]
            time.sleep(0.1)
        add_person(settings.access_dir, "olga", "operator", by="x", now=NOW)
        add_person(settings.access_dir, "ana", "analyst", by="x", now=NOW)
        asked = [
            sys.executable,
            "-m",
            "services.cli.main",
            "retrain",
            "--home",
            str(tmp_path),
            "--json",
            "--wait",
            "60",
        ]
        again = subprocess.run(
            [*asked, "--as", "olga", "--why", "a new kind of fraud"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        denied = subprocess.run(
            [*asked, "--as", "ana", "--why", "me too"], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
    finally:
        os.kill(process.pid, signal.SIGTERM)
        code = process.wait(30)
        cluster.close()
    assert code == 0
    # what a person asks for is answered like what drift asks for: nothing is archived here
    told = json.loads(again.stdout)
    assert (again.returncode, told["requested_by"], told["answer"]["result"]) == (1, "olga", "refused"), (
        again.stderr
    )
    assert "wait for labels" in told["answer"]["reason"]
    assert denied.returncode == 1 and "analyst" in denied.stderr
    assert states(settings.bundles_dir, "fraud") == {"1.0.0": "awaiting approval"}
