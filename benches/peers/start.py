"""A start with many copies on disk: how soon a feed is served when the upstream is gone."""

import time
from statistics import median

from clients import get
from growth import PATH, Variants

TOOLS = ["nginx", "taskset"]
COPIES = 200


def measure(servers, options):
    print(f"| start with {COPIES} copies of 0.4 MB on disk, upstream gone | first feed after exec, ms | all after, ms "
          "| memory then, MiB |\n| --- | --- | --- | --- |")
    with Variants((options.feeds / "0.4.json").read_bytes(), True) as upstream:
        gone = upstream.server_port
        directory = servers.directory / "copies"
        directory.mkdir()
        makers = {
            "catalog-proxy": lambda: servers.proxy(gone, "--cache-dir", directory),
            "nginx proxy_cache": lambda: cache(servers, gone),
        }
        for make in makers.values():
            server = make()
            for number in range(COPIES):
                assert get(server.port, f"{PATH}?{number}").status == 200
            # Copies are written behind the answers; a proxy that ends writes what is left.
            servers.end(server)
    for name, make in makers.items():
        firsts, alls = [], []
        for _ in range(options.rounds):
            start = time.perf_counter()
            server = make()
            assert get(server.port, f"{PATH}?0").status == 200
            firsts.append(time.perf_counter() - start)
            for number in range(COPIES):
                assert get(server.port, f"{PATH}?{number}").status == 200, number
            alls.append(time.perf_counter() - start)
            memory = server.memory()
            servers.end(server)
        print(f"| {name} | {median(firsts) * 1e3:.0f} | {median(alls) * 1e3:,.0f} | {memory:.0f} |", flush=True)


def cache(servers, upstream):
    place = servers.directory / "nginx-copies"
    return servers.nginx(
        "nginx proxy_cache",
        f"location / {{ proxy_pass http://127.0.0.1:{upstream}; proxy_cache feeds; proxy_cache_valid 200 1h; }}",
        http=f"proxy_cache_path {place} keys_zone=feeds:1m;",
    )
