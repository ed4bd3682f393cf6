"""`filter` as a whole process, beside jq, PHP and copies that filter nothing."""

import os
import shutil
import subprocess
import time
from statistics import median

from servers import SERVER, SHOWN

JQ = """[.[] | select(((.buy_url | type) != "string") or (.buy_url | test("^https?://go[.]plesk[.]com/") | not)
    or (.code | IN($codes[])))]"""


def measure(servers, options):
    print("| what, 111 MB | GB/s | GB a second of processor time | peak memory MiB |\n| --- | --- | --- | --- |")
    feed = options.feeds / "111.json"
    listing = servers.whitelist
    codes = "[" + ",".join(f'"{code}"' for code in SHOWN) + "]"
    ours = [servers.binary, "filter", "--whitelist", listing]
    row("catalog-proxy filter", ours, feed, options.rounds)
    row("cat", ["cat"], feed, options.rounds)
    row("jq", ["jq", "-c", "--argjson", "codes", codes, JQ], feed, 1)
    if php := shutil.which("php"):
        sample = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.php")
        row("PHP sample", [php, "-d", "memory_limit=-1", sample], feed, 1, env={"FEED": "php://stdin"})


def row(name, command, feed, rounds, env=None):
    length = feed.stat().st_size
    times = [run(command, feed, env) for _ in range(rounds)]
    wall, cpu = (median(length / each[part] for each in times) / 1e9 for part in (0, 1))
    print(f"| {name} | {wall:.2f} | {cpu:.2f} | {run(command, feed, env, read=True)[2]:.1f} |", flush=True)


def run(command, feed, env, read=False):
    """Seconds, and of processor time, with the output thrown away. Peak memory if the output is read, looked
    up while it is: what the system reports at the end counts the parent's as well."""
    with open(feed, "rb") as source, open(os.devnull, "wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", SERVER, *map(str, command)], stdin=source, env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE if read else sink,
        )
        peak = 0
        while read and process.stdout.read1(1 << 16):
            peak = resident(process.pid) or peak
        _, process.returncode, usage = os.wait4(process.pid, 0)
        assert process.returncode == 0, command
        return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, peak


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), None)
