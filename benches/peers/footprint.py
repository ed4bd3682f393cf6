"""What the proxy takes when it does nothing, and how soon it answers."""

import resource
import socket
import subprocess
import time
from statistics import median

from serving import FEED, feeds, warm

# Idle connections, if this process may have as many.
IDLE = 10_000


def measure(servers, options):
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    upstream = feeds(servers, options)
    print("| what | catalog-proxy |\n| --- | --- |")
    times = []
    for _ in range(options.rounds * 2):
        start = time.perf_counter()
        proxy = servers.proxy(upstream.port)
        stream = ask(proxy.port)
        times.append(time.perf_counter() - start)
        stream.close()
        servers.end(proxy)
    # It counts the shell's work too: taskset, and looking for the port every 2 ms.
    print(f"| first answer after exec | {median(times) * 1e3:.1f} ms (fastest {min(times) * 1e3:.1f}) |", flush=True)
    proxy = servers.proxy(upstream.port)
    ask(proxy.port).close()
    idle = proxy.memory()
    print(f"| memory, idle | {idle:.1f} MiB |")
    count = min(IDLE, most - 1000)
    streams = [ask(proxy.port) for _ in range(count)]
    print(f"| memory with {count:,} idle connections | {proxy.memory():.1f} MiB |", flush=True)
    for stream in streams:
        stream.close()
    servers.end(proxy)
    proxy = servers.proxy(upstream.port)
    for coding in ["identity", "gzip", "zstd"]:
        warm(proxy, coding, FEED)
    print(f"| memory with the 2.3 MB feed, its view, gzip and zstd | {proxy.memory():.1f} MiB |")
    stripped = servers.directory / "stripped"
    subprocess.run(["strip", "-o", stripped, servers.binary], check=True)
    print(f"| binary, stripped | {stripped.stat().st_size / 1e6:.1f} MB |", flush=True)


def ask(port):
    """One answer on a connection that stays."""
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(b"GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n")
    assert stream.recv(1 << 12).startswith(b"HTTP/1.1 200")
    return stream
