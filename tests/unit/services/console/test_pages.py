"""The built pages, and what the console loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from features.store.redis_client import StoreUnavailable
from streams.runtime.kafka.log_reader import LedgerUnreachable
from tests.support.console_world import World


def built(folder: Path) -> None:
    (folder / "dist" / "assets").mkdir(parents=True)
    (folder / "dist" / "index.html").write_text('<meta name="csp-nonce" content="__CSP_NONCE__">')
    (folder / "dist" / "assets" / "index-1a2b.js").write_text("1")
    (folder / "dist" / "icon.svg").write_text("<svg/>")
    (folder / "secret").write_text("not for anybody")


def test_every_path_of_the_pages_is_the_one_page_with_a_nonce_of_its_own(
    world: World, tmp_path: Path
) -> None:
    built(tmp_path)
    client = world.client()
    nonces = set()
    for path in ("/", "/queue", "/decisions/a%2Fb", "/welcome"):
        found = client.get(path)
        nonce = found.text.split('content="')[1].rstrip('">')
        assert f"'nonce-{nonce}'" in found.headers["Content-Security-Policy"]
        assert found.headers["Cache-Control"] == "no-store"
        nonces.add(nonce)
    assert len(nonces) == 4


def test_assets_are_kept_for_ever_and_nothing_else_is_served(world: World, tmp_path: Path) -> None:
    built(tmp_path)
    client = world.client()
    asset = client.get("/assets/index-1a2b.js")
    assert (asset.text, asset.headers["Cache-Control"]) == ("1", "public, max-age=31536000, immutable")
    assert client.get("/icon.svg").headers["Cache-Control"] == "no-store"
    assert client.get("/assets/missing.js").status_code == 404
    for path in ("/..%2fsecret", "/assets/..%2f..%2fsecret", "/%2e%2e/secret"):
        assert "not for anybody" not in client.get(path).text
    assert client.get("/api/v2/nothing").json()["reason"] == "no_route"


def test_without_pages_it_says_why(world: World) -> None:
    found = world.client().get("/")
    assert "make setup" in found.text
    assert world.client().get("/healthz").json()["status"] == "alive"


def test_a_part_that_is_away_is_named_without_its_inside(world: World) -> None:
    client = world.client("admin")
    world.outside.fails = LedgerUnreachable("Kafka at 127.0.0.1:1 does not answer")
    away = client.get("/api/v1/status")
    assert (away.status_code, away.json()["reason"], away.headers["Retry-After"]) == (503, "unreachable", "2")

    def fail(*_: object) -> None:
        raise StoreUnavailable("redis://:password@host")

    world.store.call = fail  # type: ignore[method-assign,assignment]
    closed = client.get("/api/v1/status")
    assert (closed.status_code, "password" in closed.text) == (503, False)


def test_a_defect_is_logged_and_not_told(world: World) -> None:
    world.outside.fails = RuntimeError("at /work/secret")
    found = world.client("admin").get("/api/v1/status")
    assert (found.status_code, found.json()["reason"]) == (500, "internal")
    assert "secret" not in found.text


def test_the_console_does_not_load_what_trains_and_scores() -> None:
    """It would take 200 MB more."""
    code = "import services.console.main, sys; print(sorted({'xgboost', 'numba', 'scipy', 'sklearn', 'ray'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
