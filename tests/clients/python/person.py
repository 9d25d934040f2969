"""A person with a browser that runs no scripts: logs in, and answers the consent page, by the forms that stand there."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2


class Forms(HTMLParser):
    """The forms of a page, with what a browser would send of them; buttons are not pressed. `refresh` is where the page leads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: dict[str, list[tuple[str, str]]] = {}
        self.refresh: str | None = None
        self._fields: list[tuple[str, str]] | None = None
        self._select: tuple[str, list[tuple[str, bool]]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "meta" and given.get("http-equiv") == "refresh":
            self.refresh = given["content"].removeprefix("0; url=")
        elif tag == "form":
            self._fields = self.forms.setdefault(given.get("action", ""), [])
        elif self._fields is None:
            return
        elif tag == "select":
            self._select = (given["name"], [])
        elif tag == "option" and self._select:
            self._select[1].append((given["value"], "selected" in given))
        elif tag == "input" and "name" in given:
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in given:
                return
            if kind not in ("submit", "button", "file"):
                self._fields.append((given["name"], given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None
        elif tag == "select" and self._select and self._fields is not None:
            name, options = self._select
            chosen = [value for value, selected in options if selected] or [value for value, _ in options[:1]]
            self._fields += [(name, value) for value in chosen]
            self._select = None


class Person:
    def __init__(self, url: str, user: dict[str, str]) -> None:
        self.url = url
        self.user = user
        self.page = ""
        self._browser = httpx2.AsyncClient(timeout=15, follow_redirects=False)
        self._cookies: dict[str, str] = {}

    async def _send(self, method: str, url: str, **more: Any) -> httpx2.Response:
        # Browsers send secure cookies to this computer without TLS; Python's cookie jars do not.
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()), **more.pop("headers", {})}
        response = await self._browser.request(method, url, headers=headers, **more)
        for line in response.headers.get_list("set-cookie"):
            name, value = line.split(";", 1)[0].split("=", 1)
            if value == "" or "max-age=0;" in f"{line.lower()};":
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value
        return response

    async def _submit(self, shown: httpx2.Response, action: str, changes: dict[str, str]) -> httpx2.Response:
        fields = Forms(shown.text).forms.get(action)
        assert fields is not None, f"{shown.url} ({shown.status_code}) has no form to {action}"
        data: dict[str, list[str]] = {}
        for name, value in fields:
            data.setdefault(name, []).append(value)
        data |= {name: [value] for name, value in changes.items()}
        return await self._send("POST", urljoin(self.url, action), data=data, headers={"Origin": self.url})

    async def allow(self, url: str) -> str:
        """Follows an authorization request as a browser does. Gives where it leads in the end, which is not opened."""
        shown = await self._send("GET", url)
        self.page = ""
        for _ in range(10):
            location = shown.headers.get("location") or Forms(shown.text).refresh
            if location:
                location = urljoin(self.url, location)
                if not location.startswith(self.url + "/"):
                    return location
                shown = await self._send("GET", location)
            elif shown.status_code == 200 and shown.url.path == "/login":
                shown = await self._submit(shown, "/login", self.user)
            elif shown.status_code == 200 and not self.page:
                self.page = shown.text
                shown = await self._submit(shown, "/oauth/authorize", {"decision": "allow"})
            else:
                title = re.search(r"<h1[^>]*>([^<]*)", shown.text)
                raise AssertionError(f"{urlsplit(str(shown.url)).path} is answered with {shown.status_code} {title and title[1]}")
        raise AssertionError("the authorization leads in circles")

    async def close(self) -> None:
        await self._browser.aclose()
