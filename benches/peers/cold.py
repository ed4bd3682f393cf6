"""What is not in the cache: cold feeds, and what is only passed through."""

import socket
import threading
import time
from statistics import median

from clients import connect, time_to_end
from servers import CLIENT
from serving import feeds

# 100 Mbit/s, in bytes a second.
LINE = 12_500_000
# What passes through, and how much of it is sent at once.
DOWNLOAD = 1 << 30


def measure(servers, options):
    print("| what | catalog-proxy | beside it | ratio |\n| --- | --- | --- | --- |")
    first_package(servers, options)
    over_a_line(servers, options)
    upstream = feeds(servers, options)
    on_loopback(servers, upstream, options)
    servers.end(upstream)
    passed_through(servers, options)


def first_package(servers, options):
    """The upstream sends one package and waits until it is there."""
    feed = (options.feeds / "0.4.json").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The proxy's check of its upstream, if any, is not ours.
        proxy = servers.proxy(listener.getsockname()[1])
        times = []
        for number in range(max(20, options.rounds)):
            with connect(proxy.port, f"/api/v4/packages?{number}", "Connection: close") as client:
                upstream, _ = listener.accept()
                with upstream:
                    upstream.recv(1 << 16)
                    package = b'{"code":"first","name":"' + b"x" * 3000 + b'"}'
                    start = time.perf_counter()
                    upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n["
                                     + package + b",")
                    got = b""
                    while package not in got:
                        got += client.recv(1 << 16)
                    times.append(time.perf_counter() - start)
                    upstream.sendall(feed[1:])
                while client.recv(1 << 18):
                    pass
        print(f"| first package after upstream's | {median(times) * 1e3:.2f} ms | | |", flush=True)
        servers.end(proxy)


def over_a_line(servers, options):
    """A fetch of the 2.3 MB feed over 100 Mbit/s, and the same without the proxy."""
    feed = (options.feeds / "2.3.json").read_bytes()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=paced, args=(listener, feed), daemon=True).start()
    proxy = servers.proxy(listener.getsockname()[1])
    cold, direct = [], []
    for number in range(options.rounds * 2):
        cold.append(time_to_end(proxy.port, f"/api/v4/packages?{number}")[0])
        direct.append(time_to_end(listener.getsockname()[1], "/")[0])
    row("cold fetch, 2.3 MB over 100 Mbit/s (ms)", cold, direct, 1e3, "directly")
    servers.end(proxy)
    listener.close()


def paced(listener, body):
    """Answers every connection once, at the speed of the line."""
    while True:
        try:
            stream, _ = listener.accept()
        except OSError:
            return
        with stream:
            stream.recv(1 << 16)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                           b"Connection: close\r\n\r\n" % len(body))
            start = time.perf_counter()
            for sent in range(0, len(body), 1 << 14):
                time.sleep(max(0, start + sent / LINE - time.perf_counter()))
                stream.sendall(body[sent:sent + (1 << 14)])


def on_loopback(servers, upstream, options):
    """Without a line nothing hides what filtering costs."""
    proxy = servers.proxy(upstream.port)
    for version, size in [(2, "2.3"), (3, "20")]:
        cold, direct = [], []
        for number in range(options.rounds * 2):
            cold.append(time_to_end(proxy.port, f"/api/v{version}/packages?{number}")[0])
            direct.append(time_to_end(upstream.port, f"/api/v{version}/packages")[0])
        row(f"cold fetch, {size} MB on loopback (ms)", cold, direct, 1e3, "directly")
    servers.end(proxy)


def passed_through(servers, options):
    download = servers.directory / "download"
    with open(download, "wb") as file:
        file.truncate(DOWNLOAD)
    upstream = servers.nginx("upstream", f"location / {{ root {servers.directory}; }}", core=CLIENT)
    proxy = servers.proxy(upstream.port)
    nginx = servers.nginx("nginx proxy_pass", f"""location / {{ proxy_pass http://127.0.0.1:{upstream.port};
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; }}""")
    ours, theirs = [], []
    for _ in range(options.rounds):
        for server, times in [(proxy, ours), (nginx, theirs)]:
            seconds, length = time_to_end(server.port, "/download")
            assert length > DOWNLOAD
            times.append(DOWNLOAD / seconds)
    row("pass-through of 1 GiB (GB/s)", ours, theirs, 1e-9, "nginx proxy_pass")
    peak, other = proxy.memory("VmHWM"), nginx.memory("VmHWM")
    print(f"| its peak memory | {peak:.1f} MiB | nginx {other:.1f} MiB | {peak / other:.2f} |", flush=True)


def row(name, ours, theirs, unit, peer):
    ratio = median(mine / other for mine, other in zip(ours, theirs))
    print(f"| {name} | {median(ours) * unit:.2f} | {peer} {median(theirs) * unit:.2f} | {ratio:.3f} |", flush=True)
