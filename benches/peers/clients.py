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
    p99 = float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return Load(float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1]), p99, cpu / requests * 1e6)


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
