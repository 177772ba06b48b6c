"""Many users of `pocketsam serve` at once: python benchmarks/server_load.py [--clients 100] [--seconds 60]

Starts a server on the sample photos. Each client has a loopback address of its own and uploads a photo of its own.
Until the time is over it opens that photo or a sample, gets the picture, clicks ten times and saves the last mask of
its own photo; every sixth photo gets everything mode. Prints how many requests had which status, how long they took,
and the server's memory. The exit code is 1 when a request had another status than 2xx, 429 and 503 with Retry-After,
when one got no response, and when a photo's annotations are not those that its client saved last.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import numpy as np

ROOT = Path(__file__).parents[1]
BUSY = (429, 503)
Call: TypeAlias = Callable[..., Awaitable[dict | None]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    command = [sys.executable, "-m", "pocketsam", "serve", ROOT / "samples", "--no-browser", "--port", "0"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "-o", folder], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            address = re.match(r"\S+", server.stdout.readline()).group()
            log = asyncio.run(load(address, server.pid, options.clients, options.seconds))
        finally:
            server.terminate()
    log.report(options.clients, options.seconds)


class Log:
    """What happened."""

    def __init__(self) -> None:
        self.statuses: dict[str, Counter[int | str]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.memory: list[float] = []
        self.faults: list[str] = []

    def add(self, what: str, status: int | str, seconds: float) -> None:
        self.statuses.setdefault(what, Counter())[status] += 1
        if status == 200:
            self.seconds.setdefault(what, []).append(seconds)

    def report(self, clients: int, seconds: float) -> None:
        print(f"{clients} clients for {seconds:g} s")
        for what, counts in self.statuses.items():
            took = self.seconds.get(what, [])
            times = (
                f"; median {np.median(took):.2f} s, 95 % within {np.quantile(took, 0.95):.2f} s"
                if took
                else ""
            )
            print(f"{what}: " + ", ".join(f"{count} × {status}" for status, count in counts.items()) + times)
        print(f"memory of the server: {self.memory[0]:.0f} MB before, at most {max(self.memory):.0f} MB")
        if self.faults:
            sys.exit("\n".join(self.faults[:20]))


async def load(address: str, process: int, clients: int, seconds: float) -> Log:
    log = Log()
    end = time.monotonic() + seconds
    watching = asyncio.create_task(watch_memory(process, log))
    async with httpx2.AsyncClient(base_url=address) as client:
        photos = [one["id"] for one in (await client.get("api/photos")).json()]
    await asyncio.gather(*(user(address, i, photos, end, log) for i in range(clients)))
    watching.cancel()
    return log


async def watch_memory(process: int, log: Log) -> None:
    while True:
        resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text()).group(1)
        log.memory.append(int(resident) / 1024)
        await asyncio.sleep(0.5)


async def user(address: str, number: int, samples: list[str], end: float, log: Log) -> None:
    """One client, from its first request to the check of what it has saved."""
    source = httpx2.AsyncHTTPTransport(local_address=f"127.0.{1 + number // 250}.{1 + number % 250}")
    choice = random.Random(number)
    async with httpx2.AsyncClient(base_url=address, transport=source, timeout=600) as client:
        call = partial(request, client, log)
        own = (await until_done(call, "upload", "POST", "api/photos?name=own.jpg", content=upload(number)))[
            "id"
        ]
        saved = None
        while time.monotonic() < end:
            photo = own if choice.random() < 0.5 else choice.choice(samples)
            mask = await annotate(call, choice, photo)
            if mask and photo == own:
                body = {"objects": [{"rle": mask["rle"], "name": "own"}]}
                await until_done(call, "save", "PUT", f"api/photos/{photo}/annotations", json=body)
                saved = mask["rle"]
            if choice.random() < 1 / 6:
                await call("everything", "POST", f"api/photos/{photo}/everything", json={})
        back = await until_done(call, "annotations", "GET", f"api/photos/{own}/annotations")
        if [one["rle"] for one in back["objects"]] != ([saved] if saved else []):
            log.faults.append(f"client {number}: what it saved is not there")


def upload(number: int) -> bytes:
    """A sample photo, told apart from those of other clients by bytes behind its end."""
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    return photos[number % len(photos)].read_bytes() + f"client {number}".encode()


async def annotate(call: Call, choice: random.Random, photo: str) -> dict | None:
    """Opens a photo and clicks on it ten times; the last mask."""
    opened = await call("open", "GET", f"api/photos/{photo}")
    await call("picture", "GET", f"api/photos/{photo}/image")
    mask = None
    for _ in range(10 if opened else 0):
        point = [choice.uniform(0, opened["width"] - 1), choice.uniform(0, opened["height"] - 1)]
        body = {"objects": [{"points": [point], "labels": [1]}]}
        found = await call("click", "POST", f"api/photos/{photo}/masks", json=body)
        mask = found["masks"][0] if found else mask
    return mask


async def until_done(call: Call, *what: str, **more: Any) -> dict:
    """The response of a request that is sent again while the server is busy."""
    while (response := await call(*what, **more)) is None:
        pass
    return response


async def request(
    client: httpx2.AsyncClient, log: Log, what: str, method: str, path: str, **more: Any
) -> dict | None:
    """The JSON of the response, {} where it has none; None where the server was busy, after the wait it asks for."""
    began = time.monotonic()
    try:
        response = await client.request(method, path, **more)
    except httpx2.HTTPError as error:
        sys.exit(f"{what}: no response ({error!r})")
    log.add(what, 200 if response.is_success else response.status_code, time.monotonic() - began)
    if response.status_code in BUSY and "retry-after" in response.headers:
        await asyncio.sleep(float(response.headers["retry-after"]))
        return None
    if not response.is_success:
        sys.exit(f"{what}: {response.status_code} {response.text[:200]}")
    return (
        response.json()
        if response.headers.get("content-type") == "application/json" and response.content
        else {}
    )


if __name__ == "__main__":
    main()
