"""What shops cost: a prefix for each request, and 64 shops in memory, at start and at a reload.

Its client writes many requests at once, so that a request is little more than its way through the proxy.
"""

import json
import os
import signal
import time
from statistics import median

from clients import get, hammer
from footprint import ask
from growth import PATH, Variants
from serving import warm

TOOLS = ["taskset"]
SHOPS = 64
# As many codes as a shop's list has, about.
CODES = 40


def measure(servers, options):
    with Variants((options.feeds / "0.4.json").read_bytes(), False) as upstream:
        prefixes(servers, upstream, options)
        many(servers, upstream, options)


def write(directory, shop, shown):
    """Writes a list that shows some packages of the feed."""
    codes = ", ".join(f'"{code}"' for code in [*shown, *(f"code-{shop}-{n}" for n in range(CODES - len(shown)))])
    new = directory.parent / "new.toml"
    new.write_text(f"extensions = [{codes}]\nhosts = [\"{shop}.example\"]\n")
    new.rename(directory / f"{shop}.toml")


def files(servers, name, count, codes):
    directory = servers.directory / name
    directory.mkdir()
    for n in range(count):
        # No two show the same, so that no two share a view.
        write(directory, f"shop-{n}", [codes[n % len(codes)], codes[-1 - n // len(codes)]])
    return directory


def prefixes(servers, upstream, options):
    directory = files(servers, "few", 2, ["wp-toolkit", "docker"])
    proxy = servers.proxy(upstream.server_port, "--shops", directory)
    plain = servers.proxy(upstream.server_port)
    cases = [("`/`, no shops", plain, PATH), ("`/`", proxy, PATH), ("`/shop-0`", proxy, f"/shop-0{PATH}")]
    etags = [warm(server, "gzip", path).headers["etag"] for _, server, path in cases]
    loads = [[] for _ in cases]
    for _ in range(options.rounds):
        for (_, server, path), etag, mine in zip(cases, etags, loads):
            lines = ["Accept-Encoding: gzip", f"If-None-Match: {etag}"]
            mine.append(hammer(server, path, options.seconds, *lines))
    print("| 304 under | requests/s | CPU µs/request | rate to that of `/` | CPU to that of `/` | least, most "
          "|\n| --- | --- | --- | --- | --- | --- |")
    for (name, *_), mine in zip(cases, loads):
        rate = median(one.rate / other.rate for one, other in zip(mine, loads[1]))
        cpu = sorted(one.cpu / other.cpu for one, other in zip(mine, loads[1]))
        print(f"| {name} | {median(one.rate for one in mine):,.0f} | {median(one.cpu for one in mine):.2f} "
              f"| {rate:.2f} | {median(cpu):.2f} | {cpu[0]:.2f}, {cpu[-1]:.2f} |", flush=True)
    servers.end(proxy, plain)
    print()


def many(servers, upstream, options):
    codes = plesk_codes(options.feeds / "0.4.json")
    print("| shops | first answer after exec, ms | memory, idle, MiB | with a view of 0.4 MB for each, MiB "
          "| an edit is in force after, ms | `SIGHUP` takes CPU ms |\n| --- | --- | --- | --- | --- | --- |")
    for count in [1, SHOPS]:
        directory = files(servers, f"shops-{count}", count, codes)
        flags = ["--shops", directory]
        starts = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            proxy = servers.proxy(upstream.server_port, *flags)
            ask(proxy.port).close()
            starts.append(time.perf_counter() - start)
            servers.end(proxy)
        proxy = servers.proxy(upstream.server_port, *flags)
        ask(proxy.port).close()
        idle = proxy.memory()
        for n in range(count):
            assert get(proxy.port, f"/shop-{n}{PATH}").status == 200
        full = proxy.memory()
        edits = [edit(proxy, directory, [codes[n]]) for n in range(1, options.rounds + 1)]
        before = proxy.cpu()
        for _ in range(options.rounds):
            os.kill(proxy.pid, signal.SIGHUP)
            time.sleep(0.5)
        reload = (proxy.cpu() - before) / options.rounds
        servers.end(proxy)
        print(f"| {count} | {median(starts) * 1e3:.0f} | {idle:.1f} | {full:.1f} | {median(edits) * 1e3:.0f} "
              f"| {reload * 1e3:.0f} |", flush=True)


def edit(proxy, directory, shown):
    """Seconds until a shop's answer is another."""
    path = f"/shop-0{PATH}"
    former = get(proxy.port, path).headers["etag"]
    start = time.perf_counter()
    write(directory, "shop-0", shown)
    while get(proxy.port, path).headers["etag"] == former:
        time.sleep(0.001)
    return time.perf_counter() - start


def plesk_codes(feed):
    packages = json.loads(feed.read_text())
    return [package["code"] for package in packages if "go.plesk.com" in (package.get("buy_url") or "")]
