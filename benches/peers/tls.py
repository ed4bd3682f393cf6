"""Serving from the cache over TLS, with both HTTP versions, beside nginx with the same bytes as files."""

from clients import load_tls
from serving import FEED, feeds, files, head, row, warm

TOOLS = ["nginx", "h2load", "openssl", "taskset"]
PROTOCOLS = {"h1": "HTTP/1.1", "h2": "HTTP/2"}
CODINGS = ["gzip", "identity"]


def measure(servers, options):
    upstream = feeds(servers, options)
    # The same process over plain HTTP tells what to compare with: it has the same bytes.
    plain = servers.proxy(upstream.port)
    answers = {coding: warm(plain, coding) for coding in CODINGS}
    bare = files(servers, answers, "nginx static")
    tags = {plain.name: answers["gzip"].headers["etag"], bare.name: warm(bare, "gzip", "/gzip").headers["etag"]}
    servers.end(plain, bare)
    ours = servers.proxy(upstream.port, tls=True)
    theirs = files(servers, answers, "nginx static", tls=True)
    head("answer over TLS")
    for protocol, name in PROTOCOLS.items():
        for case in ["304", *CODINGS]:
            coding = "gzip" if case == "304" else case
            lines = {server.name: [f"Accept-Encoding: {coding}"] for server in (ours, theirs)}
            if case == "304":
                for server in (ours, theirs):
                    lines[server.name].append(f"If-None-Match: {tags[server.name]}")
            contenders = [(ours, FEED), (theirs, f"/{coding}")]
            # The first request over this connection makes the form.
            for server, path in contenders:
                load_tls(server, path, 1, *lines[server.name], protocol=protocol)
            loads = [[] for _ in contenders]
            for _ in range(options.rounds):
                for (server, path), mine in zip(contenders, loads):
                    mine.append(load_tls(server, path, options.seconds, *lines[server.name], protocol=protocol))
            for (server, _), mine in zip(contenders, loads):
                row(f"{case}, {name}", server, mine, loads[0])
