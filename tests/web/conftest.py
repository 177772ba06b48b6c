"""A host of static files that notes what it is asked for."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Host(SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        self.server.paths.append(self.path)


@pytest.fixture
def host():
    """Serves a folder: gives its address, and the server, whose `paths` are those that were asked for."""
    running = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Host, directory=folder))
        server.paths = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_port}/", server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
