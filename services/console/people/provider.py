"""Signing in through a company's OpenID Connect provider: authorization code with PKCE (RFC 7636), the ID token's signature checked.

Every sign-in asks the provider for its addresses and keys anew: three small requests, and no key is used that it has withdrawn.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from typing import Any

import msgspec
import requests
from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from streams.runtime.parts import OidcPart, PartError

logger = logging.getLogger(__name__)
WITHIN_S = 5.0
#: a person may take so long at the provider
BEGUN_LIVES_S = 600
_ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "RS384", "RS512", "ES384", "ES512")
#: clocks of provider and console may differ
_LEEWAY_S = 60
_AWAY = (requests.RequestException, AuthlibBaseError, JoseError, PartError, ValueError, KeyError, TypeError)


class SignInRefused(Exception):
    """``reason`` says why to the sign-in page: ``away``, ``refused``, ``not_known``, ``too_old``; the text is for the log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that went to the provider. ``browser``: SHA-256 of the cookie of the browser that began it."""

    nonce: str
    verifier: str
    browser: str


class Provider:
    """The provider that settings name. ``back``: the console's address to which it sends people back."""

    def __init__(self, part: OidcPart, back: str) -> None:
        self._part, self._back = part, back

    def begin(self) -> tuple[str, str, str, Begun]:
        """Where to send a browser, the state that comes back with it, the browser's cookie, and what to remember under the state.

        Raises:
            SignInRefused: ``away``.
        """
        browser, nonce, verifier = (
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(32),
            secrets.token_urlsafe(48),
        )
        try:
            address = self._discovered()["authorization_endpoint"]
            with self._session() as session:
                url, state = session.create_authorization_url(address, nonce=nonce, code_verifier=verifier)
        except _AWAY as error:
            raise SignInRefused("away", f"{self._part.issuer} cannot be asked: {error}") from error
        return url, state, browser, Begun(nonce, verifier, _digest(browser))

    def finish(self, begun: Begun, browser: str, code: str) -> str:
        """The name that the provider gives the person who comes back with a code.

        Raises:
            SignInRefused: ``too_old`` for another browser, ``away``, ``refused`` for a token that does not hold.
        """
        if not hmac.compare_digest(_digest(browser), begun.browser):
            raise SignInRefused("too_old", "another browser came back than the one that began")
        try:
            found = self._discovered()
            with self._session() as session:
                token = session.fetch_token(
                    found["token_endpoint"], code=code, code_verifier=begun.verifier, timeout=WITHIN_S
                )
            published: Any = self._get(found["jwks_uri"])
            keys = KeySet.import_key_set(published)
            claims = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS).claims
            self._check(claims, begun.nonce)
        except requests.RequestException as error:
            raise SignInRefused("away", f"{self._part.issuer} cannot be asked: {error}") from error
        except _AWAY as error:
            raise SignInRefused(
                "refused", f"the answer of {self._part.issuer} does not hold: {error}"
            ) from error
        return self._name(claims)

    def _name(self, claims: dict[str, Any]) -> str:
        name = claims.get(self._part.claim)
        if not isinstance(name, str) or not name:
            raise SignInRefused("refused", f"the token has no claim {self._part.claim}")
        if self._part.claim == "email" and claims.get("email_verified") is not True:
            # whoever registers another's address there would be that person here
            raise SignInRefused("refused", "the provider has not verified the person's email address")
        return name

    def _check(self, claims: dict[str, Any], nonce: str) -> None:
        registry = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": self._part.issuer},
            aud={"essential": True, "value": self._part.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(claims)
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._part.client_id:
            raise ValueError("the token was made for another client")

    def _session(self) -> OAuth2Session:
        session = OAuth2Session(
            self._part.client_id, self._part.password or None, scope=self._part.scope, redirect_uri=self._back,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if self._part.password else "none",
        )  # fmt: skip
        session.verify = self._part.ca_file or True
        return session

    def _discovered(self) -> dict[str, Any]:
        found = self._get(self._part.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found["issuer"] != self._part.issuer:
            raise ValueError(f"the provider calls itself {found['issuer']!r}")
        return found

    def _get(self, address: str) -> dict[str, Any]:
        answer = requests.get(
            address, timeout=WITHIN_S, verify=self._part.ca_file or True, allow_redirects=False
        )
        answer.raise_for_status()
        found = answer.json()
        if answer.status_code != 200 or not isinstance(found, dict):
            raise ValueError(f"{address} gives no JSON object")
        return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
