"""How cost grows with the feed's size, with cached variants and with connections: a table and a plot."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

import plot
from clients import GZIP, get, load, middle, time_to_end
from pipe import run
from serving import feeds, warm

SIZES = [(1, "0.4"), (2, "2.3"), (3, "20"), (4, "111")]
VARIANTS = [1, 10, 100, 1000]
CONNECTIONS = [64, 256, 1024, 4096]
PATH = "/api/v1/packages"


def measure(servers, options):
    upstream = feeds(servers, options)
    panels = [*sizes(servers, upstream, options), variants(servers, options),
              *connections(servers, upstream, options)]
    if options.plot:
        options.plot.write_text(plot.svg(panels))


def sizes(servers, upstream, options):
    print("| feed, MB | `filter`, GB/s | its peak MiB | cold fetch, ms | proxy's memory after it, MiB "
          "| gzip, requests/s | 304, requests/s |\n| --- | --- | --- | --- | --- | --- | --- |")
    command = [servers.binary, "filter", "--whitelist", servers.whitelist]
    pipes, colds = [], []
    for version, size in SIZES:
        feed, path = options.feeds / f"{size}.json", f"/api/v{version}/packages"
        length = feed.stat().st_size
        pipe = median(length / run(command, feed, None)[0] for _ in range(options.rounds)) / 1e9
        peak = run(command, feed, None, read=True)[2]
        proxy = servers.proxy(upstream.port)
        cold = median(time_to_end(proxy.port, f"{path}?{n}")[0] for n in range(options.rounds)) * 1e3
        servers.end(proxy)
        proxy = servers.proxy(upstream.port)
        time_to_end(proxy.port, path)
        memory = proxy.memory()
        etag = warm(proxy, "gzip", path).headers["etag"]
        gzip, unchanged = rates(proxy, path, etag, options)
        servers.end(proxy)
        print(f"| {size} | {pipe:.2f} | {peak:.1f} | {cold:.1f} | {memory:.0f} "
              f"| {gzip.rate:,.0f} | {unchanged.rate:,.0f} |", flush=True)
        pipes.append((length / 1e6, pipe * 1e3))
        colds.append((length / 1e6, cold))
    print()
    return [plot.Panel("filter, MB/s", "size of the feed, MB", {"filter": pipes}),
            plot.Panel("cold fetch, ms", "size of the feed, MB", {"cold fetch": colds})]


def rates(proxy, path, etag, options, **more):
    runs = [(load(proxy, path, options.seconds, GZIP, **more),
             load(proxy, path, options.seconds, GZIP, f"If-None-Match: {etag}", **more))
            for _ in range(max(1, options.rounds // 2))]
    return map(middle, zip(*runs))


def variants(servers, options):
    """Keys asked for in turn: with one body for all, as is usual, and with one for each."""
    print("| cached variants of 0.4 MB | bodies | memory, MiB | gzip, requests/s | 304, requests/s "
          "|\n| --- | --- | --- | --- | --- |")
    lines = {}
    for bodies in ["equal", "distinct"]:
        with Variants((options.feeds / "0.4.json").read_bytes(), bodies == "distinct") as upstream:
            for count in VARIANTS:
                proxy = servers.proxy(upstream.server_port)
                # One form of each only: the plain one is made, gzip where it is asked for.
                for number in range(count):
                    answer = get(proxy.port, f"{PATH}?{number}", "Accept-Encoding: identity", 'If-None-Match: "x"')
                    assert answer.status == 200
                memory = proxy.memory()
                etag = [warm(proxy, "gzip", f"{PATH}?{number}").headers["etag"] for number in range(count)][-1]
                script = servers.directory / "variants.lua"
                script.write_text(f"""local n = -1
                    request = function() n = (n + 1) % {count}; return wrk.format(nil, "{PATH}?" .. n) end""")
                gzip, _ = rates(proxy, PATH, etag, options, script=script)
                # One validator fits all only where all bodies are equal.
                unchanged = load(proxy, f"{PATH}?{count - 1}", options.seconds, GZIP, f"If-None-Match: {etag}")
                servers.end(proxy)
                print(f"| {count:,} | {bodies} | {memory:.0f} | {gzip.rate:,.0f} | {unchanged.rate:,.0f} |", flush=True)
                lines.setdefault(f"{bodies} bodies", []).append((count, memory))
    print()
    return plot.Panel("memory, MiB", "cached variants of 0.4 MB", lines)


class Variants(ThreadingHTTPServer):
    """An upstream whose feeds have one more package, named by their query if they are to differ."""

    def __init__(self, feed, differ):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                name = self.path.partition("?")[2] if differ else ""
                body = feed.rstrip()[:-1] + b',{"code":"variant-%s"}]' % name.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def connections(servers, upstream, options):
    print("| connections | gzip, requests/s | p99, ms | 304, requests/s | p99, ms | peak memory, MiB "
          "|\n| --- | --- | --- | --- | --- | --- |")
    rate, peak = {}, []
    for count in CONNECTIONS:
        proxy = servers.proxy(upstream.port)
        etag = warm(proxy, "gzip", PATH).headers["etag"]
        gzip, unchanged = rates(proxy, PATH, etag, options, connections=count)
        memory = proxy.memory("VmHWM")
        servers.end(proxy)
        print(f"| {count:,} | {gzip.rate:,.0f} | {gzip.p99:.1f} | {unchanged.rate:,.0f} | {unchanged.p99:.1f} "
              f"| {memory:.0f} |", flush=True)
        rate.setdefault("gzip", []).append((count, gzip.rate))
        rate.setdefault("304", []).append((count, unchanged.rate))
        peak.append((count, memory))
    return [plot.Panel("requests/s", "connections", rate), plot.Panel("peak memory, MiB", "connections", {"gzip and 304": peak})]
