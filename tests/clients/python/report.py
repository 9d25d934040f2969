"""What the flows print: one line per client and step."""

import sys
from collections.abc import Awaitable, Callable

import anyio

MISSED: list[str] = []


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


def missed(client: str, name: str, error: BaseException) -> None:
    """Notes what went wrong outside of a step."""
    MISSED.append(name)
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    print(f"{client:<28}{name:<13}MISSED: {type(error).__name__}: {error}", flush=True)


def not_offered(client: str, name: str, why: str) -> None:
    print(f"{client:<28}{name:<13}not offered by the client: {why}", flush=True)


def same(found: object, wanted: object) -> None:
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def finish() -> None:
    """To be called last: the exit code says whether a step was missed."""
    sys.exit(1 if MISSED else 0)
