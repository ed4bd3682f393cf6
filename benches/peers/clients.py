"""The clients: wrk for rates, sockets where a moment counts."""

import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass
from statistics import median

from servers import CLIENT

# Enough to keep one core busy, few enough that slow peers answer all of them within a second.
CONNECTIONS = 16
GZIP = "Accept-Encoding: gzip"


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes


@dataclass
class Load:
    """One run of wrk."""

    rate: float
    # Latency in ms.
    p99: float
    # Processor time of the server in µs.
    cpu: float
    # Longest of all, in ms, where it is looked at.
    slowest: float = float("nan")


def get(port, path, *lines):
    """Asks once; a connection for each."""
    with connect(port, path, *lines, "Connection: close") as stream:
        data = bytearray()
        while part := stream.recv(1 << 18):
            data += part
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Answer(int(first.split()[1]), headers, body)


def connect(port, path, *lines):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: bench", *lines, "", ""]).encode())
    return stream


def unchunked(body):
    out, at = bytearray(), 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return bytes(out)
        out += body[end + 2:end + 2 + size]
        at = end + 2 + size + 2


def time_to_end(port, path):
    """Seconds until all is there, and its length. Nothing is kept."""
    buffer = bytearray(1 << 20)
    start, length = time.perf_counter(), 0
    with connect(port, path, "Connection: close") as stream:
        while read := stream.recv_into(buffer):
            length += read
    return time.perf_counter() - start, length


def load(server, path, seconds, *lines, connections=CONNECTIONS, script=None):
    """Asks for one path, or what a script names, over and over from the clients' core."""
    words = [word for line in lines for word in ("-H", line)]
    words += ["-s", str(script)] if script else []
    command = ["taskset", "-c", CLIENT, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "--latency", *words, server.url(path)]
    before = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = server.cpu() - before
    requests = int(re.search(r"(\d+) requests in", done)[1])
    wrong = int(match[1]) if (match := re.search(r"Non-2xx or 3xx responses: (\d+)", done)) else 0
    if requests == 0 or wrong:
        raise SystemExit(f"{server.name} {path}: {done}")
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done).groups()
    slowest = re.search(r"Latency\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", done).groups()
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])
    return Load(rate, milliseconds(value, unit), cpu / requests * 1e6, milliseconds(*slowest))


def milliseconds(value, unit):
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


@dataclass
class Burst:
    """One crowd of clients that came at once."""

    # Seconds from the start of the crowd until each had its answer, sorted.
    times: list
    # Clients without a good answer.
    failed: int
    # Processor time of the server in seconds.
    cpu: float

    def share_over(self, seconds):
        late = sum(time > seconds for time in self.times) + self.failed
        return late / (len(self.times) + self.failed)

    def p99(self):
        return self.times[int(len(self.times) * 0.99)]


def h2load(server, path, *lines, options):
    """Runs h2load on the clients' core. Returns the processor time of the server in seconds, and what it printed."""
    words = [word for line in lines for word in ("-H", line)]
    command = ["taskset", "-c", CLIENT, "h2load", "-t1", *map(str, options), *words, server.url(path)]
    before = server.cpu()
    done = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return server.cpu() - before, done


def load_tls(server, path, seconds, *lines, protocol):
    """Asks for one path over and over, over TLS: "h1" or "h2", one request at a time on each connection."""
    options = ["-c", CONNECTIONS, "-m1", "-D", seconds, *(["--h1"] if protocol == "h1" else [])]
    cpu, done = h2load(server, path, *lines, options=options)
    counts = {name: int(count) for count, name in re.findall(r"(\d+) ([\w-]+)", re.search(r"requests: .*", done)[0])}
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done)
    # What is under way when the time is over counts as neither.
    good = int(codes[1]) + int(codes[2])
    if not good or int(codes[3]) or int(codes[4]) or counts["errored"] or counts["timeout"]:
        raise SystemExit(f"{server.name} {path}: {done}")
    return Load(good / seconds, float("nan"), cpu / good * 1e6)


def burst(server, path, clients, *lines, log):
    """Lets clients come at once, each with a new connection and one request."""
    log.unlink(missing_ok=True)
    start = time.time()
    cpu, done = h2load(server, path, *lines, options=["--h1", "-c", clients, "-n", clients, "-m1", f"--log-file={log}"])
    ends = []
    for row in log.read_text().splitlines():
        began, status, took = map(int, row.split("\t")[:3])
        if status in (200, 304):
            ends.append((began + took) / 1e6 - start)
    return Burst(sorted(ends), clients - len(ends), cpu)


def hammer(server, path, seconds, *lines, batch=32):
    """Asks for what is unchanged over and over on one connection, with many requests in each write."""
    os.sched_setaffinity(0, {int(CLIENT)})
    request = "\r\n".join([f"GET {path} HTTP/1.1", "Host: bench", *lines, "", ""]).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as stream:
        before, start, requests = server.cpu(), time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            stream.sendall(request * batch)
            answers = b""
            while answers.count(b"\r\n\r\n") < batch:
                part = stream.recv(1 << 16)
                assert part, f"{server.name} {path}: {answers[-500:]}"
                answers += part
            assert answers.count(b"HTTP/1.1 304 ") == batch, f"{server.name} {path}: {answers[:500]}"
            requests += batch
        cpu = server.cpu() - before
    return Load(requests / elapsed, float("nan"), cpu / requests * 1e6)


def middle(loads):
    return Load(*(median(getattr(load, name) for load in loads) for name in ("rate", "p99", "cpu")))
