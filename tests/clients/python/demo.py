"""The official Python SDK against a running platform, unmodified: lists and calls the three demo tools in both eras.

usage: demo.py DEV_JSON
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def check(url: str, key: str, mode: str, revision: str) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            assert client.protocol_version == revision, client.protocol_version
            tools = [tool.name for tool in (await client.list_tools()).tools]
            assert tools == ["echo", "time", "weather"], tools
            echo = await client.call_tool("echo", {"text": "grüße"})
            assert not echo.is_error and echo.content[0].text == "grüße", echo
            time = await client.call_tool("time", {"offset_minutes": 60})
            assert not time.is_error and time.content[0].text.endswith("+01:00"), time
            weather = await client.call_tool("weather", {"city": "São Paulo/../x"})
            assert json.loads(weather.content[0].text)["city"] == "São Paulo/../x", weather
            wrong = await client.call_tool("weather", {"town": "Lisbon"})
            assert wrong.is_error and "city" in wrong.content[0].text, wrong
    print(f"python sdk, {revision}: listed and called {', '.join(tools)}")


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        dev = json.load(file)
    for mode, revision in [("auto", "2026-07-28"), ("legacy", "2025-11-25")]:
        asyncio.run(check(dev["mcp_url"], dev["api_key"], mode, revision))


main()
