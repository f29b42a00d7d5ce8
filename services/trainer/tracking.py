"""Logs bundles to MLflow: a run with parameters, metrics, files and the plots of the evidence, and a registered version tagged with its
state, which the aliases ``champion`` (live) and ``challenger`` (waits, or is approved) follow.

A file beside the bundle (``<version>.mlflow.json``) records what was logged. While MLflow is down nothing is lost: versions
without this file, or with another state, are logged later. Run as ``python -m services.trainer.tracking --home H``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec

from models.bundle.content import MODEL, bundle_path
from models.bundle.registry import peek, states
from models.evidence.files import HTML, evidence_path
from services.trainer.jobs import end_with_parent
from streams.access.private_files import write_private
from streams.runtime.process import log_json_lines
from streams.runtime.secured import credentials
from streams.runtime.settings import Settings, load_settings

logger = logging.getLogger(__name__)
EXPERIMENT = "tollgate"
#: alias that a version has in a state
ALIASES = {"live": "champion", "awaiting approval": "challenger", "approved": "challenger"}
HEALTH_S = 2.0


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's run and registered version in MLflow, and the state that the version is tagged with."""

    run_id: str
    registry_version: str
    state: str


def pending(settings: Settings) -> list[str]:
    """Versions that are not in MLflow yet, or are tagged with an older state."""
    out = []
    for version, state in states(settings.bundles_dir, MODEL).items():
        logged = logged_run(settings, version)
        if logged is None or logged.state != state:
            out.append(version)
    return out


def reachable(settings: Settings) -> bool:
    """Whether MLflow's server answers now."""
    try:
        with urllib.request.urlopen(f"{settings.mlflow}/health", timeout=HEALTH_S) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def log_pending(settings: Settings) -> list[str]:
    """Log every pending version; returns these versions.

    Raises:
        MlflowException: the server refused or failed; versions logged before stay recorded.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    own = credentials(settings.mlflow)
    if own is not None:
        # for a server elsewhere they are set by whoever starts this process
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = own
    from mlflow import MlflowClient  # takes seconds to import

    client = MlflowClient(settings.mlflow, settings.mlflow)
    done = []
    for version in pending(settings):
        state = states(settings.bundles_dir, MODEL)[version]
        logged = logged_run(settings, version)
        if logged is None:
            run_id, number = _log(client, settings, version)
        else:
            run_id, number = logged.run_id, logged.registry_version
        for key, value in (("tollgate_version", version), ("state", state)):
            client.set_model_version_tag(MODEL, number, key, value)
        move_alias(client, number, logged.state if logged else "", state)
        _note(settings, version, Logged(run_id=run_id, registry_version=number, state=state))
        done.append(version)
    return done


def move_alias(client: Any, number: str, before: str, state: str) -> None:
    """Give a registered version the alias of its state, and take that of its state before, unless another version has it by now."""
    old, new = ALIASES.get(before), ALIASES.get(state)
    if old is not None and old != new:
        holder = client.get_registered_model(MODEL).aliases.get(old)
        if holder == number:
            client.delete_registered_model_alias(MODEL, old)
    if new is not None:
        client.set_registered_model_alias(MODEL, new, number)


def _log(client: Any, settings: Settings, version: str) -> tuple[str, str]:
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    lineage = peek(settings.bundles_dir, MODEL, version, "lineage.json")
    evaluation = peek(settings.bundles_dir, MODEL, version, "evaluation.json")
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    run = client.create_run(experiment, run_name=f"{MODEL}-{version}", tags={"tollgate_version": version})
    run_id = run.info.run_id
    stamp = run.info.start_time
    parameters = lineage.get("parameters")
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, stamp, 0) for name, value in flatten(evaluation).items()],
        params=[Param(key, str(value)) for key, value in parameters.items()]
        if isinstance(parameters, dict)
        else [],
        tags=[
            RunTag(key, str(lineage.get(key, "")))
            for key in ("data_fingerprint", "code_version", "catalogue_hash")
        ],
    )
    client.log_artifacts(run_id, str(bundle_path(settings.bundles_dir, MODEL, version)), "bundle")
    evidence = evidence_path(settings.bundles_dir, MODEL, version, HTML)
    if evidence.exists():
        client.log_artifact(run_id, str(evidence), "evidence")
    client.set_terminated(run_id)
    try:
        client.create_registered_model(MODEL)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = client.create_model_version(
        MODEL, f"{run.info.artifact_uri}/bundle", run_id, await_creation_for=30
    )
    return run_id, str(made.version)


def flatten(figures: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures as one level, names joined with dots; values that are not numbers are left out."""
    out: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            out |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            out[f"{prefix}{name}"] = float(value)
    return out


def _path(settings: Settings, version: str) -> Path:
    folder = bundle_path(settings.bundles_dir, MODEL, version)
    return folder.with_name(f"{folder.name}.mlflow.json")


def logged_run(settings: Settings, version: str) -> Logged | None:
    """What was logged of a version; None while nothing was."""
    try:
        return msgspec.json.decode(_path(settings, version).read_bytes(), type=Logged)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _note(settings: Settings, version: str, logged: Logged) -> None:
    write_private(_path(settings, version), msgspec.json.encode(logged))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True)
    parser.add_argument("--parent", type=int, help="end when the process with this id ends")
    args = parser.parse_args()
    if args.parent is not None:
        end_with_parent(args.parent)
    os.nice(15)
    log_json_lines("trainer-tracking")
    print(json.dumps({"logged": log_pending(load_settings(args.home))}))


if __name__ == "__main__":
    main()
