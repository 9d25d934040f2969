"""The official Python SDK and FastMCP's client, unmodified, through everything a client does, in both modes.

The server has the fixtures of the conformance suite.
usage: KEY=... matrix.py URL
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
from fastmcp import Client as FastClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

URL = sys.argv[1]
KEY = os.environ["KEY"]
SIMPLE = "This is a simple text response for testing."
MISSED = []


async def step(client: str, name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Prints one line. A step has a deadline, like every wait."""
    line = f"{client:<28}{name:<13}"
    try:
        with anyio.fail_after(20):
            await run()
        print(f"{line}ok", flush=True)
    except Exception as error:
        MISSED.append(name)
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"{line}MISSED: {text}", flush=True)


def same(found: Any, wanted: Any) -> None:
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def answers(schema: dict[str, Any]) -> dict[str, str]:
    """The same name for every question."""
    return {field: "Ada" for field in schema["properties"]}


async def walk(client: str, revision: str, connected: Any, call: Callable[..., Awaitable[Any]], questions: list[str]) -> None:
    async def says(name: str, arguments: dict[str, Any], **options: Any) -> str:
        return (await call(name, arguments, **options)).content[0].text

    async def connect() -> None:
        # It is connected already; in which revision, is the question.
        same(connected.protocol_version, revision)

    async def listed() -> None:
        tools = await connected.list_tools()
        tools = {tool.name: tool for tool in getattr(tools, "tools", tools)}
        assert "test_simple_text" in tools and tools["test_elicitation"].description
        same(tools["test_elicitation"].input_schema["required"], ["message"])

    async def called() -> None:
        same(await says("test_simple_text", {}), SIMPLE)

    async def progress() -> None:
        seen = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            seen.append((progress, total))

        await says("test_tool_with_progress", {}, progress=on_progress)
        same(seen, [(0, 100), (50, 100), (100, 100)])

    async def cancel() -> None:
        started = time.monotonic()
        with anyio.move_on_after(0.5) as scope:
            await call("slow_compute", {"seconds": 30})
        assert scope.cancelled_caught and time.monotonic() - started < 5, "the call ended when it was cancelled"
        same(await says("test_simple_text", {}), SIMPLE)

    async def elicitation() -> None:
        if revision == "2026-07-28":
            same(await says("test_input_required_result_elicitation", {}), "Hello, Ada!")
            same(questions, ["What is your name?"])
        else:
            text = await says("test_elicitation", {"message": "Who are you?"})
            assert text.startswith("User response: ") and "accept" in text and "Ada" in text, text
            same(questions, ["Who are you?"])

    async def resource() -> None:
        read = await connected.read_resource("test://static-text")
        [content] = getattr(read, "contents", read)
        same((str(content.uri), content.mime_type), ("test://static-text", "text/plain"))
        same(content.text, "This is the content of the static text resource.")

    async def prompt() -> None:
        [message] = (await connected.get_prompt("test_simple_prompt")).messages
        same((message.role, message.content.text), ("user", "This is a simple prompt for testing."))

    for name, run in [
        ("connect", connect),
        ("list", listed),
        ("call", called),
        ("progress", progress),
        ("cancel", cancel),
        ("elicitation", elicitation),
        ("resource", resource),
        ("prompt", prompt),
    ]:
        await step(client, name, run)


async def official(name: str, mode: str, revision: str) -> None:
    questions: list[str] = []

    async def answer(_: Any, params: Any) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept", content=answers(params.requested_schema))

    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=mode, elicitation_callback=answer) as client:

            async def call(tool: str, arguments: dict[str, Any], progress: Any = None) -> Any:
                return await client.call_tool(tool, arguments, progress_callback=progress)

            await walk(name, revision, client, call, questions)


async def fast(name: str, mode: str, revision: str) -> None:
    questions: list[str] = []

    async def answer(message: str, _type: Any, params: Any, _context: Any) -> dict[str, str]:
        questions.append(message)
        return answers(params.requested_schema)

    transport = StreamableHttpTransport(URL, headers={"Authorization": f"Bearer {KEY}"})
    async with FastClient(transport, mode=mode, elicitation_handler=answer) as client:

        async def call(tool: str, arguments: dict[str, Any], progress: Any = None) -> Any:
            return await client.call_tool(tool, arguments, progress_handler=progress)

        await walk(name, revision, client, call, questions)


async def main() -> None:
    for kind, run in [("python", official), ("fastmcp", fast)]:
        for mode, revision in [("auto", "2026-07-28"), ("legacy", "2025-11-25")]:
            name = f"{kind}, {'default' if mode == 'auto' else mode}"
            try:
                with anyio.fail_after(120):
                    await run(name, mode, revision)
            except Exception as error:
                MISSED.append(name)
                print(f"{name:<28}{'connection':<13}MISSED: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if MISSED else 0)


asyncio.run(main())
