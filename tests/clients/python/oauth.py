"""The official Python SDK and FastMCP's client, unmodified, from the 401 to a tool that they have to ask for.

usage: DEV=dev.json REDIRECT=... DOCUMENTS=... oauth.py
"""

import asyncio
import json
import os
import time
import webbrowser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from fastmcp import Client as FastClient
from fastmcp.client.auth import OAuth
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from person import Person
from report import finish, missed, same, step

with open(os.environ["DEV"], encoding="utf-8") as file:
    DEV = json.load(file)
URL = DEV["mcp_url"]
PATH = urlsplit(URL).path
REDIRECT = os.environ["REDIRECT"]


class Storage:
    """What an application keeps for its SDK."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        self.client = client_info


class Wire:
    """Notes what goes over the wire: method and path with its status, the grants of token requests, and challenges."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.grants: list[str] = []
        self.challenges: list[str] = []

    async def note(self, response: httpx2.Response) -> None:
        path = response.request.url.path
        self.seen.append((f"{response.request.method} {path}", response.status_code))
        if path == "/oauth/token" and response.status_code == 200:
            self.grants += parse_qs(response.request.content.decode())["grant_type"]
        if response.status_code == 403:
            self.challenges.append(response.headers["www-authenticate"])


def scopes(text: str | None) -> list[str]:
    return sorted((text or "").split())


class Answering:
    """Sends the person to the page and hands their answer to the SDK."""

    def __init__(self) -> None:
        self.person = Person(DEV["base_url"], DEV["user"])
        self.asked: list[dict[str, str]] = []
        self.answer: dict[str, str] = {}

    async def redirect(self, url: str) -> str:
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(url).query).items()})
        location = await self.person.allow(url)
        self.answer = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        return location

    async def callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**{name: self.answer.get(name) for name in ("code", "state", "iss")})


async def official(name: str, mode: str, document: str | None) -> None:
    storage, wire, person = Storage(), Wire(), Answering()
    metadata = OAuthClientMetadata(client_name="Python client", redirect_uris=[REDIRECT])
    auth = OAuthClientProvider(URL, metadata, storage, person.redirect, person.callback, client_metadata_url=document)
    async with httpx2.AsyncClient(auth=auth, timeout=20, event_hooks={"response": [wire.note]}) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=mode) as client:

            async def works(tool: str) -> None:
                result = await client.call_tool(tool, {"text": "grüße"})
                assert not result.is_error, result
                same(result.content[0].text, "grüße")

            async def discover() -> None:
                same(wire.seen[0], (f"POST {PATH}", 401))
                for wanted in [f"/.well-known/oauth-protected-resource{PATH}", "/.well-known/oauth-authorization-server/oauth"]:
                    assert (f"GET {wanted}", 200) in wire.seen, wire.seen

            async def register() -> None:
                same(("POST /oauth/register", 201) in wire.seen, document is None)
                if document:
                    same(storage.client.client_id, document)
                else:
                    assert storage.client.client_id.startswith("tl_dcr_"), storage.client.client_id

            async def consent() -> None:
                [asked] = person.asked
                wanted = {"code_challenge_method": "S256", "resource": URL}
                same({field: asked[field] for field in wanted}, wanted)
                assert "tools:read" in scopes(asked["scope"]) and "tools:write" not in scopes(asked["scope"]), asked["scope"]
                same(person.answer["iss"], DEV["issuer"])

            async def token() -> None:
                same(wire.grants, ["authorization_code"])
                same(storage.tokens.scope, "tools:read")

            async def listed() -> None:
                same(sorted(tool.name for tool in (await client.list_tools()).tools), ["echo", "time", "weather"])

            async def refresh() -> None:
                before = storage.tokens
                # As if the time of the token had passed.
                auth.context.token_expiry_time = time.time() - 1
                await works("echo")
                same(wire.grants[1:], ["refresh_token"])
                assert storage.tokens.access_token != before.access_token
                assert storage.tokens.refresh_token != before.refresh_token

            async def step_up() -> None:
                await works("note")
                assert "insufficient_scope" in wire.challenges[0], wire.challenges
                assert {"tools:read", "tools:write"} <= set(scopes(person.asked[1]["scope"])), person.asked[1]
                news = person.person.page.split("It asks for", 1)[1].split("</fieldset>", 1)[0]
                assert "tools:write" in news and "tools:read" not in news, "the consent shows what is new"
                await works("echo")
                same(scopes(storage.tokens.scope), ["tools:read", "tools:write"])

            async def called() -> None:
                await works("echo")

            for what, run in [
                ("discover", discover),
                ("register", register),
                ("consent", consent),
                ("token", token),
                ("list", listed),
                ("call", called),
                ("refresh", refresh),
                ("step-up", step_up),
            ]:
                await step(name, what, run)
    await person.person.close()


class Browser(webbrowser.BaseBrowser):
    """What FastMCP opens: the person, who goes on to FastMCP's own listener."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = Answering()
        self.coming: set[asyncio.Task[None]] = set()

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self.coming.add(asyncio.get_running_loop().create_task(self._visit(url)))
        return True

    async def _visit(self, url: str) -> None:
        location = await self.answering.redirect(url)
        async with httpx2.AsyncClient(timeout=10) as browser:
            for _ in range(50):
                try:
                    await browser.get(location)
                    return
                except httpx2.ConnectError:
                    await asyncio.sleep(0.1)


async def fast(name: str, mode: str) -> None:
    auth, browser = OAuth(), Browser()
    webbrowser.register(name, None, browser, preferred=True)
    async with FastClient(URL, auth=auth, mode=mode) as client:

        async def works(tool: str) -> None:
            same((await client.call_tool(tool, {"text": "grüße"})).content[0].text, "grüße")

        async def listed() -> None:
            same(sorted(tool.name for tool in await client.list_tools()), ["echo", "time", "weather"])

        async def called() -> None:
            await works("echo")

        async def refresh() -> None:
            before = auth.context.current_tokens.refresh_token
            auth.context.token_expiry_time = time.time() - 1
            await works("echo")
            assert auth.context.current_tokens.refresh_token != before

        async def step_up() -> None:
            await works("note")
            same(scopes(auth.context.current_tokens.scope), ["tools:read", "tools:write"])

        for what, run in [("list", listed), ("call", called), ("refresh", refresh), ("step-up", step_up)]:
            await step(name, what, run)
    await browser.answering.person.close()


async def main() -> None:
    document = f"{os.environ['DOCUMENTS']}/python"
    for name, run in [
        ("python, default, DCR", lambda name: official(name, "auto", None)),
        ("python, default, CIMD", lambda name: official(name, "auto", document)),
        ("python, legacy, DCR", lambda name: official(name, "legacy", None)),
        ("python, legacy, CIMD", lambda name: official(name, "legacy", f"{document}-legacy")),
        ("fastmcp, default, DCR", lambda name: fast(name, "auto")),
        ("fastmcp, legacy, DCR", lambda name: fast(name, "legacy")),
    ]:
        try:
            with anyio.fail_after(45):
                await run(name)
        except BaseException as error:
            missed(name, "connection", error)
    finish()


asyncio.run(main())
