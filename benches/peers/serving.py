"""Serving from the cache, beside nginx with the same bytes as files and caches that work otherwise."""

import itertools
import math
from pathlib import Path
from statistics import median

from clients import get, load, middle
from servers import CLIENT

FEED = "/api/v2/packages"
HERE = Path(__file__).resolve().parent
CODINGS = ["identity", "gzip", "zstd", "br"]


def feeds(servers, options):
    """The upstream: nginx with a feed of each size, on the clients' core."""
    sizes = zip(["0.4", "2.3", "20", "111"], itertools.count(1))
    files = "".join(
        f"location = /api/v{n}/packages {{ alias {options.feeds.resolve()}/{size}.json; }}" for size, n in sizes
    )
    return servers.nginx("upstream", files, core=CLIENT)


def warm(proxy, coding, path=FEED):
    """Asks until the form is made."""
    accept = f"Accept-Encoding: {coding}"
    while True:
        answer = get(proxy.port, path, accept)
        assert answer.status == 200, answer
        if answer.headers.get("content-encoding", "identity") == coding and "etag" in answer.headers:
            return answer


def measure(servers, options):
    upstream = feeds(servers, options)
    proxy = servers.proxy(upstream.port)
    answers = {coding: warm(proxy, coding) for coding in CODINGS}
    static = files(servers, answers, "nginx static")
    kept_open = files(servers, answers, "nginx open_file_cache", "open_file_cache max=100;")
    cache = servers.nginx(
        "nginx proxy_cache",
        f"""location / {{ proxy_pass http://127.0.0.1:{static.port}/identity; proxy_cache feeds;
            proxy_cache_valid 200 1h; gzip on; gzip_types application/json; gzip_proxied any; }}""",
        http="proxy_cache_path {place}/cache keys_zone=feeds:1m;",
    )
    varnish = servers.varnish(static.port)
    php = servers.php(upstream.url(FEED), HERE / "sample.php")

    def same(server, path):
        return lambda form: (server, path(form), [f"Accept-Encoding: {form}"])

    def unchanged(server, path):
        etag = get(server.port, path, "Accept-Encoding: gzip").headers["etag"]
        lines = ["Accept-Encoding: gzip", f"If-None-Match: {etag}"]
        assert get(server.port, path, *lines).status == 304, server.name
        return server, path, lines

    ours = same(proxy, lambda _: FEED)
    theirs = [same(server, lambda form: f"/{form}") for server in (static, kept_open)]
    cases = {form: [ours(form), *(their(form) for their in theirs)] for form in CODINGS}
    cases["304"] = [unchanged(proxy, FEED), unchanged(static, "/gzip"), unchanged(kept_open, "/gzip")]
    for server, path in [(cache, "/"), (varnish, "/identity")]:
        if server:
            get(server.port, path, "Accept-Encoding: gzip")
            for form in ["identity", "gzip"]:
                cases[form].append((server, path, [f"Accept-Encoding: {form}"]))
            cases["304"].append(unchanged(server, path))
    names = {form: f"{form}, {len(answer.body) // 1000} KB" for form, answer in answers.items()}
    head("answer")
    own = {}
    for case, contenders in cases.items():
        loads = [[] for _ in contenders]
        for _ in range(options.rounds):
            for contender, mine in zip(contenders, loads):
                mine.append(run(contender, options))
        own[case] = loads[0]
        for (server, *_), mine in zip(contenders, loads):
            row(names.get(case, case), server, mine, own[case])
    if php:
        assert len(get(php.port, "/").body) > 100_000
        for case in ["identity", "gzip", "304"]:
            # It knows one answer only, and takes no turns: what it does to the memory makes work for the system
            # that the next ones would feel.
            mine = [run((php, "/", []), options) for _ in range(options.rounds)]
            row(names.get(case, case), php, mine, own[case])


def files(servers, answers, name, http="", tls=False):
    """nginx with the very bytes that the proxy serves."""
    locations = ""
    for coding, answer in answers.items():
        (servers.directory / coding).write_bytes(answer.body)
        field = "" if coding == "identity" else f"add_header Content-Encoding {coding};"
        locations += f"location = /{coding} {{ alias {servers.directory}/{coding}; {field} }}"
    return servers.nginx(name, locations, http, tls=tls)


def run(contender, options):
    server, path, lines = contender
    return load(server, path, options.seconds, *lines)


def head(answer):
    print(f"| {answer} | server | requests/s | CPU µs/request | p99 ms | catalog-proxy is times as fast | least, most "
          "| times its CPU |\n| --- | --- | --- | --- | --- | --- | --- | --- |")


def row(name, server, loads, own):
    ratios = sorted(ours.rate / other.rate for ours, other in zip(own, loads))
    ratio = f"{median(ratios):.2f} | {ratios[0]:.2f}, {ratios[-1]:.2f}" if loads is not own else " | "
    one = middle(loads)
    # CPU time is what a machine that does other work tells best.
    cpu = median(ours.cpu / other.cpu for ours, other in zip(own, loads))
    cpu = f"{cpu:.2f}" if loads is not own else ""
    p99 = "" if math.isnan(one.p99) else f"{one.p99:.2f}"
    print(f"| {name} | {server.name} | {one.rate:,.0f} | {one.cpu:,.0f} | {p99} | {ratio} | {cpu} |", flush=True)
