"""Requests to `pocketsam serve` that no page sends: python benchmarks/hostile_requests.py [--requests N]

Broken and huge photos, prompts and masks of any kind of JSON, paths out of the folder, headers and bodies that are no
HTTP. Prints how often each status was the response. The exit code is 1 when one was 500 or above, but for 503 with
Retry-After; when the server ended, or took more than 2 GB of memory; or when a response holds a file of the disk.
"""

import argparse
import io
import json
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

from pocketsam.utils.progress import Progress

ROOT = Path(__file__).parents[1]
SECRET = "the content of a file beside the photos"
MOST_MEMORY = 2000  # MB


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--schemathesis", help="its program; then requests made from /api/openapi.json, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret.txt").write_text(SECRET)
        (folder / "cap.jpg").write_bytes((ROOT / "samples" / "cap.jpg").read_bytes())
        command = [sys.executable, "-m", "pocketsam", "serve", folder / "cap.jpg", "-o", folder / "out"]
        command += ["--no-browser", "--port", "0"]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
        ):
            try:
                address = re.match(r"\S+", server.stdout.readline()).group()
                attack = Attack(address, random.Random(options.seed))
                with Progress("requests", options.requests) as progress:
                    for _ in range(options.requests):
                        attack.one()
                        progress.advance()
                if options.schemathesis:
                    run_schemathesis(options.schemathesis, address, attack.photo, folder)
                attack.report(server, (folder / "log").read_text())
            finally:
                server.terminate()


def run_schemathesis(program: str, address: str, photo: str, folder: Path) -> None:
    """Requests that schemathesis makes from the server's own description. Ends the program when one fails."""
    config = folder / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.id" = "{photo}"\n')
    command = [program, f"--config-file={config}", "run", f"{address}api/openapi.json", "--max-examples=300"]
    checks = "--checks=not_a_server_error,response_schema_conformance"
    rest = [
        "--phases=coverage,fuzzing",
        "--request-timeout=120",
        "--exclude-path-regex=everything",
        "--suppress-health-check=all",
    ]
    subprocess.run([*command, checks, *rest, "--seed=1"], check=True)


class Attack:
    """Random requests to a server, and what came back."""

    def __init__(self, address: str, choice: random.Random) -> None:
        self.client = httpx2.Client(base_url=address, timeout=300)
        self.port = int(address.rpartition(":")[2].strip("/"))
        self.choice = choice
        self.photo = self.client.get("api/photos").json()[0]["id"]
        self.counts: dict[str, Counter[int]] = {}
        self.faults: list[str] = []

    def one(self) -> None:
        """Sends one request of a random kind."""
        kinds: list[Callable[[], httpx2.Response | int]] = [
            self.upload,
            self.prompt,
            self.prompt,
            self.annotations,
            self.path,
            self.headers,
            self.body,
            self.raw,
        ]
        kind = self.choice.choice(kinds)
        response = kind()
        status = response if isinstance(response, int) else response.status_code
        self.counts.setdefault(kind.__name__, Counter())[status] += 1
        if isinstance(response, int):
            return
        if status >= 500 and not (status == 503 and "retry-after" in response.headers):
            self.faults.append(f"{kind.__name__}: {status} {response.request.url} {response.text[:200]}")
        if SECRET in response.text or "root:" in response.text:
            self.faults.append(f"{kind.__name__}: {response.request.url} gives a file of the disk")

    def upload(self) -> httpx2.Response:
        """A photo that is broken, huge or none."""
        name = self.choice.choice(
            ["x.png", "../../x.png", "a" * 300, "", "\0", "x\n.jpg", "☃.webp", "CON", "/etc/passwd"]
        )
        return self.client.post("api/photos", params={"name": name}, content=self.content())

    def content(self) -> bytes:
        file = io.BytesIO()
        kind = self.choice.choice(
            ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "bomb", "random", "text"]
        )
        if kind == "bomb":
            return bomb(self.choice.choice([50_000, 100_000, 2**31 - 1]))
        if kind == "random":
            return self.choice.randbytes(self.choice.choice([0, 1, 100, 10_000]))
        if kind == "text":
            return self.choice.choice(
                [b"<svg/>", b"%PDF-1.4", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"PK\3\4"]
            )
        size = self.choice.randint(1, 40), self.choice.randint(1, 40)
        Image.new("RGB", size, (9, 99, 199)).save(file, kind)
        content = bytearray(file.getvalue())
        for _ in range(self.choice.randint(0, 8)):
            content[self.choice.randrange(len(content))] = self.choice.randrange(256)
        return bytes(
            content[: self.choice.randint(1, len(content))] if self.choice.random() < 0.5 else content
        )

    def value(self, depth: int = 0) -> Any:
        """Any JSON, and what Python takes for JSON."""
        simple = [
            0,
            1,
            -1,
            1e308,
            -1e308,
            10**400,
            float("nan"),
            float("inf"),
            "",
            "x" * 1000,
            "\0",
            None,
            True,
            0.5,
            [],
            {},
        ]
        if depth > 2 or self.choice.random() < 0.6:
            return self.choice.choice(simple)
        if self.choice.random() < 0.5:
            return [self.value(depth + 1) for _ in range(self.choice.randint(0, 5))]
        return {str(self.value(9))[:40]: self.value(depth + 1) for _ in range(self.choice.randint(0, 4))}

    def maybe(self, good: Any) -> Any:
        return good if self.choice.random() < 0.93 else self.value()

    def number(self) -> float:
        if self.choice.random() < 0.95:
            return self.choice.uniform(0, 400)
        return self.choice.choice([0, 1, 399.999, 400, -1, 1e-300, 1e30, -0.0])

    def prompt(self) -> httpx2.Response:
        """Prompts with coordinates, labels, lengths and types of any kind."""
        count = self.choice.choice([0, 1, 1, 2, 3, 50, 200, 201, 5000])
        points = [
            [self.number() for _ in range(self.choice.choice([2] * 200 + [1, 3]))] for _ in range(count)
        ]
        labels = [
            self.choice.choice([0, 1] * 100 + [-1, 2])
            for _ in range(self.choice.choice([count, count, count + 1]))
        ]
        one = {"points": self.maybe(points), "labels": self.maybe(labels), "name": self.maybe("x")}
        one["box"] = self.maybe([self.number() for _ in range(4)])
        many = self.choice.choice([1, 1, 1, 2, 64, 65]) if count < 4 else 1
        body = {
            "objects": self.maybe([one] * many),
            "multimask": self.maybe(False),
            "include": self.maybe(["png", "rle"]),
        }
        return self.post(f"api/photos/{self.photo}/masks", body)

    def annotations(self) -> httpx2.Response:
        """Run lengths that are damaged or of another photo, strokes and colours of any kind."""
        letters = [chr(self.choice.randint(40, 120)) for _ in range(self.choice.choice([0, 1, 5, 200]))]
        counts = self.choice.choice(["".join(letters), "o" * 100_000, "0" * 10, "PPYn4"])
        size = self.choice.choice([[534, 400], [1, 1], [0, 0], [-1, -1], [2**31, 2**31], [10**30, 1]])
        stroke = {"points": self.maybe([[self.number(), self.number()]]), "radius": self.maybe(self.number())}
        one = {
            "rle": {"size": self.maybe(size), "counts": self.maybe(counts)},
            "strokes": self.maybe([stroke]),
        }
        one |= {
            "name": self.maybe("x"),
            "colour": self.maybe("#00ff00"),
            "predicted_iou": self.maybe(self.number()),
        }
        return self.send("PUT", f"api/photos/{self.photo}/annotations", {"objects": self.maybe([one])})

    def path(self) -> httpx2.Response:
        """Paths that may lead out of the folder, by any method."""
        up = self.choice.choice(
            ["../", "..%2f", "%2e%2e/", "..\\", "%252e%252e%252f", "....//", "/", "%00", "~/"]
        )
        aim = self.choice.choice(["secret.txt", "etc/passwd", "proc/self/environ", "app.py", "cap.jpg"])
        start = self.choice.choice(
            ["", "static/", "api/", "api/photos/", f"api/photos/{self.photo}/", "api/photos/../"]
        )
        query = self.choice.choice(
            ["", "?suffix=.json", "?suffix=/../x.json", "?token=x", "?" + "a=b&" * 500]
        )
        method = self.choice.choice(
            ["GET", "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"]
        )
        path = start + up * self.choice.randint(0, 4) + aim + query
        return self.client.request(method, f"http://127.0.0.1:{self.port}/{path}")

    def headers(self) -> httpx2.Response:
        """Headers of other sites, of ranges, of tokens."""
        name = self.choice.choice(
            [
                "Host",
                "Origin",
                "Range",
                "Cookie",
                "Authorization",
                "Sec-Fetch-Site",
                "If-None-Match",
                "Accept-Encoding",
            ]
        )
        values = [
            "",
            "x",
            "null",
            "bytes=0-,1-,2-,3-",
            "bytes=99999999999-",
            "a" * 8000,
            "pocketsam=\xff;;==",
            "[::1",
            "http://evil",
        ]
        path = self.choice.choice(["", "static/main.js", "api/photos", f"api/photos/{self.photo}/image"])
        return self.client.get(path, headers={name: self.choice.choice(values).encode("latin-1")})

    def body(self) -> httpx2.Response:
        """Bodies that are no JSON, or very much of it."""
        deep = self.choice.choice([10, 1000, 100_000])
        bodies = [
            b"",
            b"{",
            b"[" * deep,
            b'{"objects":' * deep,
            b"\xff\xfe{}",
            b"1" * deep,
            b'"' + b"\\u0000" * deep + b'"',
        ]
        route = self.choice.choice(["masks", "everything", "everything/events", "annotations"])
        method = "PUT" if route == "annotations" else "POST"
        kind = self.choice.choice(
            ["application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"]
        )
        path = f"api/photos/{self.choice.choice([self.photo, self.photo, 'x', '%00'])}/{route}"
        return self.client.request(
            method, path, content=self.choice.choice(bodies), headers={"content-type": kind}
        )

    def raw(self) -> int:
        """Bytes that are no HTTP, or only its beginning. The status, or 0 where the server closes the connection."""
        lines = [
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
            b"POST /api/photos?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
            b"POST /api/photos?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /api/photos?name=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nbroken off",
            b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            self.choice.randbytes(200),
        ]
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.settimeout(0.2)
            connection.sendall(self.choice.choice(lines))
            try:
                found = re.match(rb"HTTP/1.1 (\d+)", connection.recv(100))
            except OSError:  # it waits for the rest, and this client leaves
                return 0
        return int(found.group(1)) if found else 0

    def post(self, path: str, body: Any) -> httpx2.Response:
        return self.send("POST", path, body)

    def send(self, method: str, path: str, body: Any) -> httpx2.Response:
        return self.client.request(
            method, path, content=json.dumps(body), headers={"content-type": "application/json"}
        )

    def report(self, server: subprocess.Popen[str], log: str) -> None:
        for kind, counts in sorted(self.counts.items()):
            said = ", ".join(f"{count} × {status or 'closed'}" for status, count in sorted(counts.items()))
            print(f"{kind}: {said}")
        if server.poll() is not None:
            sys.exit("the server has ended")
        status = Path(f"/proc/{server.pid}/status").read_text()
        most = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024
        print(
            f"{sum(map(Counter.total, self.counts.values()))} requests; memory of the server: at most {most:.0f} MB"
        )
        if "Traceback" in log:
            self.faults.append("the server logged an error: " + log[log.index("Traceback") :][:2000])
        if most > MOST_MEMORY:
            self.faults.append("the server took too much memory")
        if not self.client.post(
            f"api/photos/{self.photo}/masks", json={"objects": [{"points": [[200, 150]], "labels": [1]}]}
        ).is_success:
            self.faults.append("the server does not segment any more")
        if self.faults:
            sys.exit("\n".join(self.faults[:20]))


def bomb(side: int) -> bytes:
    """A small PNG file of side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


if __name__ == "__main__":
    main()
