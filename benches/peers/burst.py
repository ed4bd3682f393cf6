"""A night's burst: thousands of servers that ask at once, each over a new connection."""

from statistics import median

from clients import burst
from serving import FEED, feeds, files, warm

TOOLS = ["nginx", "h2load", "openssl", "taskset"]
CLIENTS = 4000
# A lost SYN is sent again after a second: whoever takes longer than this has lost one, or nearly.
LATE_SECONDS = 0.9


def measure(servers, options):
    upstream = feeds(servers, options)
    print(f"| {CLIENTS:,} clients at once | server | over {LATE_SECONDS} s | p99 ms | all served after ms "
          "| CPU ms | peak memory MiB |\n| --- | --- | --- | --- | --- | --- | --- |")
    for tls in [False, True]:
        plain = servers.proxy(upstream.port)
        answers = {"gzip": warm(plain, "gzip")}
        bare = files(servers, answers, "nginx static")
        tags = [answers["gzip"].headers["etag"], warm(bare, "gzip", "/gzip").headers["etag"]]
        ours, theirs = plain, bare
        if tls:
            servers.end(plain, bare)
            ours = servers.proxy(upstream.port, tls=True)
            theirs = files(servers, answers, "nginx static", tls=True)
        contenders = [(ours, FEED, tags[0]), (theirs, "/gzip", tags[1])]
        for case in ["304", "gzip"]:
            crowds = [[] for _ in contenders]
            for _ in range(options.rounds):
                for (server, path, tag), mine in zip(contenders, crowds):
                    lines = ["Accept-Encoding: gzip", *([f"If-None-Match: {tag}"] if case == "304" else [])]
                    mine.append(burst(server, path, CLIENTS, *lines, log=servers.directory / "burst.log"))
            for (server, *_), mine in zip(contenders, crowds):
                over = median(crowd.share_over(LATE_SECONDS) for crowd in mine)
                print(f"| {case}, {'TLS' if tls else 'plain'} | {server.name} | {over:.1%} "
                      f"| {median(crowd.p99() for crowd in mine) * 1e3:,.0f} "
                      f"| {median(crowd.times[-1] for crowd in mine) * 1e3:,.0f} "
                      f"| {median(crowd.cpu for crowd in mine) * 1e3:,.0f} | {server.memory('VmHWM'):.0f} |", flush=True)
        servers.end(ours, theirs)
