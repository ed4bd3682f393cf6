"""A thousand clients that read slowly, and how a quick one fares meanwhile."""

import selectors
import socket
import threading
import time
from statistics import median

from clients import connect, get
from serving import FEED, feeds, files, warm

TOOLS = ["nginx", "taskset"]
READERS = 1000
# Bytes that each takes in a second: 1.4 MB take 20 s.
RATE = 70_000
# Each takes as long as its readers do.
ROUNDS = 3
# Between two reads of a client, in seconds.
PAUSE = 0.5


def measure(servers, options):
    upstream = feeds(servers, options)
    proxy = servers.proxy(upstream.port)
    answers = {coding: warm(proxy, coding) for coding in ["identity", "gzip"]}
    static = files(servers, answers, "nginx static")
    print(f"| {READERS:,} slow readers of {len(answers['identity'].body) // 1000:,} KB | quick client alone, ms "
          "| beside them, ms | its slowest, ms | server's CPU s | peak memory MiB | cut off |\n"
          "| --- | --- | --- | --- | --- | --- | --- |")
    contenders = [(proxy, FEED, FEED), (static, "/identity", "/gzip")]
    runs = [[] for _ in contenders]
    for _ in range(min(options.rounds, ROUNDS)):
        for contender, mine in zip(contenders, runs):
            mine.append(run(*contender, len(answers["identity"].body)))
    for (server, *_), mine in zip(contenders, runs):
        alone, beside, slowest, cpu, wrong = map(median, zip(*mine))
        print(f"| {server.name} | {alone * 1e3:.2f} | {beside * 1e3:.2f} | {slowest * 1e3:.0f} | {cpu:.2f} "
              f"| {server.memory('VmHWM'):.0f} | {wrong:.0f} |", flush=True)


def run(server, path, quick, length):
    alone = [ask(server, quick) for _ in range(200)]
    before = server.cpu()
    crowd = Crowd(server, path)
    times = []
    while not crowd.done.is_set():
        times.append(ask(server, quick))
        time.sleep(0.02)
    wrong = sum(got < length for got in crowd.lengths)
    return median(alone), median(times), max(times), server.cpu() - before, wrong


def ask(server, path):
    start = time.perf_counter()
    assert get(server.port, path, "Accept-Encoding: gzip").status == 200
    return time.perf_counter() - start


class Crowd:
    """Readers in a thread of their own."""

    def __init__(self, server, path):
        self.done, self.lengths = threading.Event(), []
        streams = []
        for _ in range(READERS):
            stream = connect(server.port, path, "Accept-Encoding: identity", "Connection: close")
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            stream.setblocking(False)
            streams.append(stream)
        threading.Thread(target=self.read, args=(streams,), daemon=True).start()

    def read(self, streams):
        waiting, buffer = {stream: 0 for stream in streams}, bytearray(int(RATE * PAUSE))
        while waiting:
            start = time.monotonic()
            with selectors.DefaultSelector() as ready:
                for stream in waiting:
                    ready.register(stream, selectors.EVENT_READ)
                for key, _ in ready.select(PAUSE):
                    stream = key.fileobj
                    try:
                        length = stream.recv_into(buffer)
                    except OSError:
                        length = 0
                    waiting[stream] += length
                    if not length:
                        self.lengths.append(waiting.pop(stream))
                        stream.close()
            time.sleep(max(0, start + PAUSE - time.monotonic()))
        self.done.set()
