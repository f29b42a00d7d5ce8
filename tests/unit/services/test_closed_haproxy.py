"""The HAProxy configuration of Ray Serve, closed: what it listens on, who may steer it, how long a request may take."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.scoring.http.scoring_routes import MAX_DROPPED_BYTES
from services.scoring.ray import environment
from services.scoring.ray.closed_haproxy import ANSWERS, BINARY, PER_ADDRESS, UnknownConfiguration, closed
from streams.runtime.settings import Settings

#: as Ray Serve 2.60 writes it, shortened
SERVES = """global
    # Access/event log at `info`.
    log 127.0.0.1:514 local0 info
    stats socket {folder}/s mode 666 level admin expose-fd listeners
    stats timeout 30s
    maxconn 100
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s

    log global
    option httplog
    errorfile 502 {folder}/500.http
    errorfile 503 {folder}/500.http
    errorfile 504 {folder}/500.http
    balance leastconn
frontend prometheus
    bind :25430
    mode http
    http-request use-service prometheus-exporter if {{ path /metrics }}
    no log
frontend http_frontend
    bind 127.0.0.1:25403
    use_backend edge
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain lf-string "not found"
backend edge
    server replica 127.0.0.1:25411
listen stats
  bind *:25431
  stats enable
  stats uri /stats
  stats refresh 1s
"""


def test_only_the_edge_and_its_metrics_listen_and_only_the_owner_steers_it(tmp_path: Path) -> None:
    text = closed(SERVES.format(folder=tmp_path), tmp_path, 75)
    assert re.findall(r"^\s*bind (.*)$", text, re.MULTILINE) == ["127.0.0.1:25430", "127.0.0.1:25403"]
    assert "mode 600 level admin" in text
    assert "mode 666" not in text
    assert "/stats" not in text
    assert ":514" not in text
    assert "sc0_conn_cur gt 75" in text
    assert "timeout http-request 5s" in text
    assert f"deny_status 413 if {{ req.hdr_val(content-length) gt {MAX_DROPPED_BYTES} }}" in text


def test_serves_own_template_has_every_line_that_is_changed() -> None:
    ray = importlib.util.find_spec("ray")
    assert ray is not None and ray.origin is not None
    template = (Path(ray.origin).parent / "serve" / "_private" / "haproxy_templates.py").read_text()
    text = template[template.index('HAPROXY_CONFIG_TEMPLATE = """') :].split('"""')[1]
    shown = closed(re.sub(r"\{\{.*?\}\}", "x", text), Path("/answers"), 75)
    assert re.findall(r"^\s*bind (.*)$", shown, re.MULTILINE) == ["127.0.0.1:x", "x:x", "x:x proto h2"]


@pytest.mark.parametrize(
    "gone", ["mode 666", "listen stats", "log 127.0.0.1", "frontend prometheus", "defaults\n"]
)
def test_another_form_is_refused(gone: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownConfiguration, match="does not know this version of Ray"):
        closed(SERVES.format(folder=tmp_path).replace(gone, "other\n"), tmp_path, 75)


def test_haproxy_itself_takes_the_closed_configuration(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path / "home"), temp=str(tmp_path))
    variables = environment.ray_environment(settings)
    answers = environment.write_answers(settings)
    assert variables[ANSWERS] == str(answers)
    config = tmp_path / "haproxy.cfg"
    config.write_text(SERVES.format(folder=tmp_path))
    done = subprocess.run(
        [variables["RAY_SERVE_HAPROXY_BINARY_PATH"], "-c", "-f", str(config)],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stick-table" in config.read_text()
    assert variables["TOLLGATE_PYTHON"] == sys.executable
    assert variables[BINARY].endswith("haproxy")
    assert int(variables[PER_ADDRESS]) < int(variables["RAY_SERVE_HAPROXY_MAXCONN"])


def test_haproxys_own_answers_are_the_edges_problems(tmp_path: Path) -> None:
    folder = environment.write_answers(Settings(home=str(tmp_path / "home"), temp=str(tmp_path)))
    for name, status, header in (("no_replica.http", 503, "retry-after: 1"), ("too_large.http", 413, "Connection: close"), ("too_slow.http", 408, "Connection: close")):  # fmt: skip
        head, _, body = (folder / name).read_bytes().decode().partition("\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert header in head
        assert f"Content-Length: {len(body)}" in head
        assert f'"status":{status}' in body


@pytest.mark.parametrize(
    ("open_files", "connections"), [(-1, 16_384), (20_000, 7_880), (100_000, 16_384), (256, 64)]
)
def test_connections_follow_the_limit_of_open_files(open_files: int, connections: int) -> None:
    assert environment.max_connections(open_files) == connections


def test_no_variable_of_ray_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "disabled")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    environment.apply(Settings(home=str(tmp_path / "home"), temp=str(tmp_path)))
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert "RAY_ADDRESS" not in os.environ


def test_two_stacks_share_no_port_of_ray(tmp_path: Path) -> None:
    def ports(base: int) -> set[str]:
        settings = Settings(home=str(tmp_path / str(base)), port_base=base, temp=str(tmp_path))
        return {value for name, value in environment.ray_environment(settings).items() if "_PORT" in name}

    assert len(ports(21000)) == 9
    assert not ports(21000) & ports(21100)
