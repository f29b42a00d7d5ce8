"""Every way in which the drill breaks a stack: which alert must fire and when, whom it is about, and what mends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from infra.stack.supervisor import Supervisor
from streams.runtime.settings import Settings
from tests.faults.drill import breakages
from tests.support.running import pid_of, stand_still
from tests.support.waiting import until

#: breaks the stack; returns what undoes it, where no command of the runbook does
Break = Callable[[Settings], Callable[[], None] | None]


def frozen(name: str) -> Break:
    """The process stands still, with those that it started: alive for its supervisor, silent for everybody else."""

    def freeze(settings: Settings) -> None:
        pid = until(lambda: pid_of(settings, name), 60, f"{name} to have a pid")
        for process in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
            stand_still(process)

    return freeze


def dead(name: str) -> Break:
    """The process is killed, and does not come back by itself."""

    def kill(settings: Settings) -> None:
        pid = until(lambda: pid_of(settings, name), 60, f"{name} to have a pid")
        Supervisor(settings).stop(name)
        os.kill(pid, signal.SIGKILL)

    return kill


@dataclass(frozen=True)
class Drill:
    """A way to break a stack. ``victim``: the process that is broken, if one is. ``names_it``: whether the alert does so too, which is one for
    many processes. ``mend``: the command of the alert's runbook that ends the harm, as it stands there; empty where the stack mends
    itself, or what was broken is undone.
    """

    fault: str
    break_it: Break
    alert: str
    within_s: float
    mend: str = ""
    victim: str = ""
    names_it: bool = False
    #: whether the alert comes of the traffic, so that it must last until then
    of_traffic: bool = False
    #: an alert that fires beside it and says why: the doctor names that one first
    cause: str = ""

    @property
    def process(self) -> str:
        """Whom the alert names, or ""."""
        return self.victim if self.names_it else ""


#: ended by their supervisor when they stand still; MLflow is not ours
OURS = ("labels-0", "archive-0", "drift-0", "trainer-0", "rollout-0")
RESTART = "tollgate restart <process>"
MORE_MEMORY = "REDISCLI_AUTH=$(cat <home>/keys/redis.password) redis-cli -p PORT config set maxmemory 8gb"
REPAIR = 'tollgate reconcile --repair --why "what happened"'
REBUILD = "tollgate features rebuild"
#: in this order: for six minutes after a part was away that decisions need, alerts of late and missing decisions are its backlog's
DRILLS = (
    Drill("dead letters surging", breakages.bad_records, "DeadLettersRising", 60),
    Drill("forged header", breakages.forged_header, "ForgeryRefused", 60),
    Drill("the HTTP edge without a model", breakages.no_model, "DecisionsNotScored", 60, cause="BundleRefused"),
    Drill("late decisions", breakages.stutter, "DecisionLatencyHigh", 120, of_traffic=True),
    Drill("a decision of no transaction", breakages.unknown_decision, "ReconciliationBroken", 120, REPAIR),
    Drill("consumer slower than traffic", dead("archive-0"), "ConsumerLagGrowing", 120, "tollgate restart NAME", "archive-0", of_traffic=True),
    Drill("a proposal waits", breakages.proposal, "ModelAwaitsApproval", 60),
    Drill("a damaged bundle is approved", breakages.damaged_bundle, "BundleRefused", 60),
    Drill("Redis nearly full", breakages.nearly_full_store, "RedisMemoryHigh", 120, victim="redis"),
    Drill("Redis full", breakages.full_store, "StoreFull", 60, MORE_MEMORY, "redis"),
    Drill("Redis empty", breakages.empty_store, "StateLost", 120, REBUILD, "redis"),
    *(Drill(f"{name} dead", dead(name), "ProcessDown", 90, RESTART, name, True) for name in (*OURS, "mlflow")),
    Drill("mlflow frozen", frozen("mlflow"), "ProcessDown", 90, RESTART, "mlflow", True),
    *(Drill(f"{name} frozen", frozen(name), "ProcessStoodStill", 60, victim=name, names_it=True) for name in OURS),
    Drill("HTTP edge frozen", frozen("scoring-http-0"), "HttpEdgeDown", 60, victim="scoring-http-0"),
    Drill("stream scorer frozen", frozen("scoring-stream-0"), "StreamScoringDown", 60, victim="scoring-stream-0"),
    Drill("HTTP edge dead", dead("scoring"), "HttpEdgeDown", 60, "tollgate restart scoring", "scoring"),
    Drill("scoring dead", dead("scoring"), "StreamScoringDown", 60, "tollgate restart scoring", "scoring"),
    Drill("processor frozen", frozen("processor-0"), "ProcessorDown", 60, victim="processor-0"),
    Drill("processor dead", dead("processor-0"), "ProcessorDown", 60, "tollgate restart processor-0", "processor-0"),
    Drill("Redis frozen", frozen("redis"), "RedisDown", 60, "tollgate restart redis", "redis"),
    Drill("Redis dead", dead("redis"), "RedisDown", 60, "tollgate restart redis", "redis"),
    Drill("Kafka frozen", frozen("kafka"), "KafkaDown", 60, "tollgate restart kafka", "kafka"),
    Drill("Kafka dead", dead("kafka"), "KafkaDown", 60, "tollgate restart kafka", "kafka"),
)  # fmt: skip
