"""Signing in through a provider: who comes back with a token that holds is let in, nobody else, and each refusal says why."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from streams.runtime.parts import OidcPart, PartError, Parts, read_settings_file
from tests.support.console_world import World

SECRET = "the client's secret"


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _encoded(found: dict[str, Any]) -> str:
    return _base64(json.dumps(found).encode())


class FakeProvider(ThreadingHTTPServer):
    """An OpenID Connect provider on loopback. ``claims`` go into the next token over those that hold; ``key`` signs it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.key: Any = RSAKey.generate_key(2048, {"kid": "one"})
        self.published = self.key
        self.claims: dict[str, Any] = {}
        self.unsigned = False
        #: what the last authorization asked for
        self.asked: dict[str, str] = {}

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        proof = _base64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if form["code"] != "the code" or proof != self.asked["code_challenge"]:
            return {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "tollgate", "sub": "1", "exp": now + 60, "iat": now, "nonce": self.asked["nonce"],
            "email": "analyst", "email_verified": True,
        } | self.claims  # fmt: skip
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        if self.unsigned:
            signed = f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."
        return {"access_token": "a", "token_type": "Bearer", "id_token": signed}


class _Answers(BaseHTTPRequestHandler):
    server: FakeProvider

    def do_GET(self) -> None:
        base = self.server.issuer
        if self.path == "/keys":
            self._answer({**KeySet([self.server.published]).as_dict(private=False)})
        else:
            addresses = {"authorization_endpoint": "/go", "token_endpoint": "/token", "jwks_uri": "/keys"}
            self._answer({"issuer": base} | {name: base + path for name, path in addresses.items()})

    def do_POST(self) -> None:
        form = {
            k: v[0]
            for k, v in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()
        }
        self._answer(self.server.token(form))

    def _answer(self, found: dict[str, Any]) -> None:
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    served = FakeProvider()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join(5)


@pytest.fixture
def asking(provider: FakeProvider, tmp_path: Path) -> World:
    """A console whose settings name the provider."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    part = OidcPart(issuer=provider.issuer, client_id="tollgate", password_file=str(secret))
    return World(tmp_path / "with", elsewhere=Parts(oidc=part))


def gone(client: TestClient, provider: FakeProvider) -> str:
    """Send a browser to the provider; returns the state that it comes back with."""
    answer = client.get("/api/v1/oidc", follow_redirects=False)
    assert answer.status_code == 303
    url = urlsplit(answer.headers["location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == provider.issuer + "/go"
    provider.asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert provider.asked["redirect_uri"].endswith("/api/v1/oidc/back")
    assert provider.asked["code_challenge_method"] == "S256"
    return provider.asked["state"]


def came_back(client: TestClient, state: str, code: str = "the code", error: str = "") -> str:
    """Where the console sends a browser that the provider sent back."""
    query = {"state": state, "code": code, "error": error}
    # the browser comes from the provider's page
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = client.get("/api/v1/oidc/back", params=query, headers=headers, follow_redirects=False)
    assert answer.status_code == 303
    return str(answer.headers["location"])


def test_who_is_known_to_both_is_let_in_with_the_role_of_the_directory(
    asking: World, provider: FakeProvider
) -> None:
    client = asking.client()
    assert client.get("/api/v1/setup").json()["provider"] == urlsplit(provider.issuer).netloc
    state = gone(client, provider)
    assert came_back(client, state) == "/"
    session = client.get("/api/v1/session").json()
    assert (session["person"], session["role"]) == ("analyst", "analyst")
    # a state is worth one sign-in
    assert came_back(client, state) == "/?signin=too_old"


def test_another_browser_cannot_finish_what_one_began(asking: World, provider: FakeProvider) -> None:
    state = gone(asking.client(), provider)
    victim = asking.client()
    gone(victim, provider)
    assert came_back(victim, state) == "/?signin=too_old"
    assert victim.get("/api/v1/session").status_code == 401


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://elsewhere.example"}, "refused"),
        ({"aud": "another"}, "refused"),
        ({"aud": ["tollgate", "another"]}, "refused"),
        ({"azp": "another"}, "refused"),
        ({"exp": 1_000}, "refused"),
        ({"exp": None}, "refused"),
        ({"nonce": "of another sign-in"}, "refused"),
        ({"email_verified": False}, "refused"),
        ({"email_verified": "true"}, "refused"),
        ({"email": None}, "refused"),
        ({"email": ["analyst"]}, "refused"),
        ({"email": "nobody@here.example"}, "not_known"),
        ({"email": "trainer"}, "not_known"),
    ],
)
def test_a_token_that_does_not_hold_lets_nobody_in(
    asking: World, provider: FakeProvider, claims: dict[str, Any], reason: str
) -> None:
    provider.claims = claims
    client = asking.client()
    assert came_back(client, gone(client, provider)) == f"/?signin={reason}"
    assert client.get("/api/v1/session").status_code == 401


@pytest.mark.parametrize("unsigned", [False, True])
def test_a_token_that_the_provider_did_not_sign_lets_nobody_in(
    asking: World, provider: FakeProvider, unsigned: bool
) -> None:
    provider.key, provider.unsigned = RSAKey.generate_key(2048, {"kid": "one"}), unsigned
    client = asking.client()
    assert came_back(client, gone(client, provider)) == "/?signin=refused"


def test_what_the_provider_says_is_told_in_our_words(asking: World, provider: FakeProvider) -> None:
    client = asking.client()
    assert came_back(client, gone(client, provider), code="", error="<script>") == "/?signin=refused"
    assert came_back(client, gone(client, provider), code="another") == "/?signin=refused"
    assert came_back(client, "nobody's") == "/?signin=too_old"
    provider.shutdown()
    provider.server_close()
    assert client.get("/api/v1/oidc", follow_redirects=False).headers["location"] == "/?signin=away"


def test_passwords_count_beside_the_provider_only_if_settings_say_so(asking: World, tmp_path: Path) -> None:
    body = {"name": "analyst", "password": "wrong wrong wrong"}
    assert asking.client().post("/api/v1/session", json=body).status_code == 403
    part = asking.settings.elsewhere.oidc
    assert part is not None
    both = World(tmp_path / "both", elsewhere=Parts(oidc=msgspec.structs.replace(part, passwords=True)))
    assert both.client().post("/api/v1/session", json=body).status_code == 401


def test_without_a_provider_nobody_is_sent_anywhere(world: World) -> None:
    assert world.client().get("/api/v1/oidc", follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('issuer = "http://login.example"\nclient_id = "t"', "https"),
        ('issuer = "https://login.example"', "client_id"),
        ('issuer = "https://login.example"\nclient_id = "t"\nusername = "u"', "no username"),
        ('issuer = "https://login.example"\nclient_id = "t"\nscope = "email"', "openid"),
        ('issuer = "https://login.example"\nclient_id = "t"\nclaim = "name"', "claim"),
    ],
)
def test_settings_of_a_provider_are_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "settings.toml").write_text(f"[oidc]\n{text}\n")
    with pytest.raises(PartError, match=told):
        read_settings_file(tmp_path)
