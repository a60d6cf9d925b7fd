"""Serves one file by ranges of bytes, from a process of its own: its threads never meet HDF5's lock."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """Yield the address of a file while it is served."""
    with subprocess.Popen([sys.executable, __file__, str(path)], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/{path.name}"
        finally:
            server.kill()


class _Ranges(SimpleHTTPRequestHandler):
    content: bytes

    def do_GET(self) -> None:
        span = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        start, stop = int(span[0]), min(int(span[1] or len(self.content) - 1) + 1, len(self.content))
        self.send_response(206)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.wfile.write(self.content[start:stop])

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    handler = type("Handler", (_Ranges,), {"content": Path(sys.argv[1]).read_bytes()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        print(running.server_port, flush=True)
        running.serve_forever(0.01)
