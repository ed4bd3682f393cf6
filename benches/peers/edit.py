"""Edits of the whitelist under load: how long the longest answer takes while lists are reloaded and views are made."""

import threading
from statistics import median

from clients import GZIP, load
from serving import FEED, feeds, files, warm

TOOLS = ["nginx", "wrk", "taskset"]
# Between two edits, in seconds: many times what people do.
PAUSE = 0.25


def measure(servers, options):
    upstream = feeds(servers, options)
    proxy = servers.proxy(upstream.port)
    answers = {"gzip": warm(proxy, "gzip")}
    static = files(servers, answers, "nginx static")
    whitelist, file = servers.whitelist, servers.directory / "gzip"
    lists = [f'extensions = ["wp-toolkit", "docker", "code-{n}"{more}]\n' for n in (1, 2)
             for more in ("", ', "offer-*"')]
    bytes_of_file = file.read_bytes()
    print("| gzip under load | server | requests/s | longest answer, ms | edits |\n| --- | --- | --- | --- | --- |")
    for server, path, target, contents in [(proxy, FEED, whitelist, [text.encode() for text in lists]),
                                           (static, "/gzip", file, [bytes_of_file])]:
        for edits in [False, True]:
            loads, count = [], 0
            for _ in range(options.rounds):
                with Edits(target, contents if edits else []) as running:
                    loads.append(load(server, path, options.seconds, GZIP))
                count += running.count
            name = "edited four times a second" if edits else "not edited"
            print(f"| {name} | {server.name} | {median(one.rate for one in loads):,.0f} "
                  f"| {median(one.slowest for one in loads):.1f} | {count} |", flush=True)


class Edits:
    """Renames new contents over a file, in turn, until it is closed."""

    def __init__(self, target, contents):
        self.target, self.contents, self.count, self.over = target, contents, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while self.contents and not self.over.wait(PAUSE):
            new = self.target.with_suffix(".new")
            new.write_bytes(self.contents[self.count % len(self.contents)])
            new.rename(self.target)
            self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
