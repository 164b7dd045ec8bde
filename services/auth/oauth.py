"""Is a bearer token valid, and whose is it? By asking the authorization server (token introspection, RFC 7662), or by
its signature (a JWT, RFC 7519, with keys of a JWKS, RFC 7517).
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from tubepost.common.system import log
from tubepost.common.accounts.names import fold_name
from tubepost.common.config import Config

from tubepost.services.auth import http
from tubepost.services.auth.backends.base import Unavailable

try:
    import jwt
except ImportError:  # the extra tubepost[oauth]
    jwt = None  # type: ignore[assignment]

# Never a shared secret, never "none": the token itself names the algorithm (RFC 8725 3.1).
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_KEYS_LIFETIME = 3600.0
# A token with an unknown key has the keys fetched anew, but not more often than this.
_KEYS_PAUSE = 30.0
_LEEWAY = 30.0
_CACHE_LIMIT = 10_000
_CACHE_TIME = 60.0


def is_configured(config: Config) -> bool:
    return bool(config.oauth_introspection_url or config.oauth_jwks)


class Tokens:
    """Raises ConfigError when made: a setting is wrong, or a package is missing."""

    def __init__(self, config: Config, name_of: Callable[[str], str], clock: Callable[[], float] = time.time) -> None:
        self._introspection = config.oauth_introspection_url
        self._client = config.oauth_client_id
        self._secret_file = config.oauth_client_secret_file
        self._secret = ""
        self._jwks = config.oauth_jwks
        self._issuers = config.oauth_issuers
        self._audience = config.oauth_audience
        self._scopes = config.oauth_scopes
        self._claim = config.oauth_username_claim
        self._name_of = name_of
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._fetched = -_KEYS_LIFETIME
        self._fetching = asyncio.Lock()
        self._known: dict[bytes, tuple[float, str]] = {}
        if self._jwks and jwt is None:
            raise config.bad_value("oauth_jwks", "signed tokens need a package that is not installed: tubepost[oauth]")
        for name in ("oauth_introspection_url", "oauth_jwks"):
            if (url := config.get(name)).startswith("http://") and not _local(url):
                raise config.bad_value(name, "a token must not go in clear: use https")
        if self._secret_file:
            try:
                with open(self._secret_file, encoding="utf-8") as file:
                    self._secret = file.read().strip()
            except OSError as error:
                raise config.bad_value("oauth_client_secret_file", str(error.strerror)) from None

    async def check(self, token: str, hint: str) -> str | None:
        """The login that the token is of; None: it is not valid, or ``hint`` is another's. Raises Unavailable."""
        now = self._clock()
        digest = hashlib.blake2b(token.encode(), digest_size=20).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > now:
            login = known[1]
        else:
            claims = await self._claims(token)
            if claims is None:
                return None
            found = self._judge(claims)
            if found is None:
                return None
            login = found
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            # _judge has seen that it is a number, or not there.
            self._known[digest] = min(now + _CACHE_TIME, claims.get("exp") or now + _CACHE_TIME), login
        # RFC 7628 3.1: who the client says it is must be whom the token is of.
        if hint and self._name_of(hint) != self._name_of(login):
            log.info(f"the token is of {login}, not of {hint}")
            return None
        return login

    async def _claims(self, token: str) -> dict[str, Any] | None:
        if self._jwks and token.count(".") == 2:
            claims = await self._signed(token)
            if claims is not None or not self._introspection:
                return claims
        return await self._introspect(token) if self._introspection else None

    async def _introspect(self, token: str) -> dict[str, Any] | None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._client:
            # RFC 6749 2.3.1
            pair = f"{quote(self._client, safe='')}:{quote(self._secret, safe='')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        claims = _object(await http.request(self._introspection, headers=headers, body=body), self._introspection)
        # RFC 7662 2.2
        return claims if claims.get("active") is True else None

    async def _signed(self, token: str) -> dict[str, Any] | None:
        try:
            number = str(jwt.get_unverified_header(token).get("kid") or "")
            key = await self._key(number)
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key.key,
                algorithms=[key.algorithm_name] if key.algorithm_name in _ALGORITHMS else [],
                leeway=_LEEWAY,
                # Judged by _judge, the same for both kinds.
                options={"require": ["exp"], "verify_aud": False, "verify_iss": False},
            )
        except jwt.PyJWTError as error:
            log.info(f"a token is refused: {error}")
            return None
        return claims

    async def _key(self, number: str) -> Any:
        """Raises Unavailable."""
        async with self._fetching:
            age = self._clock() - self._fetched
            if age >= _KEYS_LIFETIME or (not self._find(number) and age >= _KEYS_PAUSE):
                await self._fetch()
        return self._find(number)

    def _find(self, number: str) -> Any:
        if number:
            return self._keys.get(number)
        # RFC 7517 4.5: kid is optional; without one there must be no choice.
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _fetch(self) -> None:
        if self._jwks.startswith(("http://", "https://")):
            data = await http.request(self._jwks)
        else:
            try:
                with open(self._jwks, "rb") as file:
                    data = file.read(1 << 20)
            except OSError as error:
                raise Unavailable(f"{self._jwks}: {error.strerror}") from error
        keys: dict[str, Any] = {}
        told = _object(data, self._jwks).get("keys")
        for item in told if isinstance(told, list) else ():
            try:
                # RFC 7517 4.2: a key for encryption signs nothing.
                if item.get("use", "sig") == "sig" and item.get("kty") != "oct":
                    keys[str(item.get("kid") or len(keys))] = jwt.PyJWK(item)
            except (jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
                log.debug(f"{self._jwks}: a key is not understood: {error}")
        self._keys, self._fetched = keys, self._clock()

    def _judge(self, claims: dict[str, Any]) -> str | None:
        """The login, or None where the token is not meant for us."""
        now = self._clock()
        expires, begins = claims.get("exp"), claims.get("nbf")
        if expires is not None and not isinstance(expires, int | float):
            # RFC 7519 4.1.4, RFC 7662 2.2: a number.
            return self._refuse("its time of expiry is not a number")
        if expires is not None and expires + _LEEWAY < now:
            return self._refuse("it has expired")
        if isinstance(begins, int | float) and begins - _LEEWAY > now:
            return self._refuse("it is not valid yet")
        if self._issuers and claims.get("iss") not in self._issuers:
            return self._refuse(f"its issuer is {str(claims.get('iss'))[:100]}")
        if self._audience and not set(self._audience) & _words(claims.get("aud") or claims.get("client_id")):
            return self._refuse("it is for another audience")
        scope = claims.get("scope") or claims.get("scp")
        if not set(self._scopes) <= _words(scope.split() if isinstance(scope, str) else scope):
            return self._refuse("it does not have the scope")
        login = claims.get(self._claim)
        if not isinstance(login, str) or not login:
            return self._refuse(f"it has no {self._claim} (oauth_username_claim)")
        return fold_name(login)

    @staticmethod
    def _refuse(reason: str) -> None:
        log.info(f"a token is refused: {reason}")


def _words(claim: Any) -> set[str]:
    """Of a claim that is a text, or a list of texts (RFC 7519 4.1.3); of anything else none."""
    found = claim if isinstance(claim, list) else [claim]
    return {word for word in found if isinstance(word, str)}


def _local(url: str) -> bool:
    return url.startswith(("http://127.", "http://localhost", "http://[::1]"))


def _object(data: bytes, source: str) -> dict[str, Any]:
    """Raises Unavailable."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{source}: the answer is not a JSON object")
    return found


__all__ = ["Tokens", "is_configured"]
