"""An upstream as the vendor's: feeds with validators, files, errors, and a switch to be down. It prints its address.

POST /-/down makes feeds and files answer 503 until POST /-/up.
"""

import hashlib
import http.server
import sys
from email.utils import formatdate
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "assets" / "sample"
MODIFIED = 1_790_000_000
BODIES = {
    "/api/v4/packages": ("application/json", (SAMPLE / "packages.json").read_bytes()),
    "/api/v4/categories": ("application/json", (SAMPLE / "categories.json").read_bytes()),
    "/file.txt": ("text/plain; charset=utf-8", b"passed through\n" * 200),
    "/broken": ("text/plain; charset=utf-8", b"cannot be had"),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    down = False

    def answer(self, status, body=b"", media_type="text/plain; charset=utf-8", fields=()):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        if Handler.down or path == "/broken":
            return self.answer(503, b"down", fields=[("Retry-After", "60"), ("Cache-Control", "no-store")])
        if path not in BODIES:
            return self.answer(404, b"not here", fields=[("Cache-Control", "max-age=60")])
        media_type, body = BODIES[path]
        tag = '"' + hashlib.sha256(body).hexdigest()[:16] + '"'
        fields = [("ETag", tag), ("Cache-Control", "max-age=600")]
        if path == "/file.txt":
            fields.append(("Last-Modified", formatdate(MODIFIED, usegmt=True)))
        # A date counts only where there is no tag (RFC 9110 §13.1.3); clients send back the date that they got.
        known = self.headers.get("If-None-Match")
        since = self.headers.get("If-Modified-Since")
        if known == tag or known is None and since is not None and path == "/file.txt":
            return self.answer(304, fields=fields)
        return self.answer(200, body, media_type, fields)

    do_HEAD = do_GET

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path in ("/-/down", "/-/up"):
            Handler.down = self.path == "/-/down"
        self.answer(200, b"done", fields=[("Cache-Control", "no-store")])

    def handle(self):
        try:
            super().handle()
        except OSError:
            # The proxy went away in the middle, because its client did.
            pass

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(f"http://127.0.0.1:{server.server_port}", flush=True)
sys.stdout.close()
server.serve_forever()
