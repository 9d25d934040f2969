"""Authlib, a general OAuth client that knows nothing of MCP: metadata, code flow, refresh, introspection, revocation.

usage: DEV=dev.json REDIRECT=... independent.py
"""

import asyncio
import json
import os
from typing import Any
from urllib.parse import urlencode

import httpx2
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import KeySet

from person import Person
from report import finish, same, step

with open(os.environ["DEV"], encoding="utf-8") as file:
    DEV = json.load(file)
REDIRECT = os.environ["REDIRECT"]
RESOURCE = DEV["mcp_url"]
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


class Session(httpx2.Client):
    """The HTTP library that Authlib is given: lets Authlib write its authentication into the request."""

    def post(self, url: str, *, data: dict[str, str], headers: dict[str, str], auth: Any, **_: Any) -> httpx2.Response:
        url, headers, body = auth.prepare("POST", url, headers, urlencode(data))
        return self.request("POST", url, content=body, headers=headers)


async def main() -> None:
    name = "authlib"
    http = httpx2.Client(timeout=15)
    person = Person(DEV["base_url"], DEV["user"])
    server: dict[str, Any] = {}
    kept: dict[str, Any] = {}

    async def discover() -> None:
        found = http.get(get_well_known_url(DEV["issuer"], external=True))
        same(found.status_code, 200)
        server.update(found.json())
        metadata = AuthorizationServerMetadata(server)
        # Everything that RFC 8414 says of its members; only https is not to be had on this computer.
        for key in metadata.REGISTRY_KEYS:
            try:
                getattr(metadata, f"validate_{key}")()
            except ValueError as error:
                assert '"https" scheme' in str(error) or "https" in str(error), f"{key}: {error}"
        same(server["issuer"], DEV["issuer"])

    async def register() -> None:
        metadata = {"client_name": "Authlib", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": "client_secret_basic"}
        answer = http.post(server["registration_endpoint"], json=metadata)
        same(answer.status_code, 201)
        kept.update(answer.json())
        kept["client"] = OAuth2Client(
            session=Session(timeout=15),
            client_id=kept["client_id"],
            client_secret=kept["client_secret"],
            redirect_uri=REDIRECT,
            code_challenge_method="S256",
            token_endpoint=server["token_endpoint"],
        )

    async def code() -> None:
        client = kept["client"]
        url, state = client.create_authorization_url(
            server["authorization_endpoint"], code_verifier=VERIFIER, resource=RESOURCE, scope="tools:read"
        )
        location = await person.allow(url)
        token = client.fetch_token(
            server["token_endpoint"], authorization_response=location, state=state, code_verifier=VERIFIER, resource=RESOURCE
        )
        same((token["token_type"], token["scope"]), ("Bearer", "tools:read"))
        kept["token"] = dict(token)

    async def claims() -> None:
        keys = KeySet.import_key_set(http.get(server["jwks_uri"]).json())
        token = jwt.decode(kept["token"]["access_token"], keys, algorithms=["EdDSA", "Ed25519", "ES256"])
        same((token.header["typ"], token.claims["aud"], token.claims["iss"]), ("at+jwt", RESOURCE, DEV["issuer"]))

    async def refresh() -> None:
        before = kept["token"]
        kept["token"] = dict(kept["client"].refresh_token(server["token_endpoint"], before["refresh_token"]))
        assert kept["token"]["refresh_token"] != before["refresh_token"]

    async def introspect() -> None:
        said = kept["client"].introspect_token(server["introspection_endpoint"], kept["token"]["access_token"]).json()
        same((said["active"], said["aud"]), (True, RESOURCE))

    async def revoke() -> None:
        client = kept["client"]
        hint = {"token_type_hint": "refresh_token"}
        same(client.revoke_token(server["revocation_endpoint"], kept["token"]["refresh_token"], **hint).status_code, 200)
        same(client.introspect_token(server["introspection_endpoint"], kept["token"]["access_token"]).json(), {"active": False})

    for what, run in [
        ("discover", discover),
        ("register", register),
        ("code", code),
        ("claims", claims),
        ("refresh", refresh),
        ("introspect", introspect),
        ("revoke", revoke),
    ]:
        await step(name, what, run)
    await person.close()
    finish()


asyncio.run(main())
