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
    print("| what, 111 MB | GB/s | peak memory MiB |\n| --- | --- | --- |")
    feed = options.feeds / "111.json"
    listing = servers.directory / "whitelist.toml"
    codes = "[" + ",".join(f'"{code}"' for code in SHOWN) + "]"
    ours = [servers.binary, "filter", "--whitelist", listing]
    row("catalog-proxy filter", ours, feed, options.rounds)
    row("cat", ["cat"], feed, options.rounds)
    row("wc -l", ["wc", "-l"], feed, options.rounds)
    row("jq", ["jq", "-c", "--argjson", "codes", codes, JQ], feed, 1)
    if php := shutil.which("php"):
        sample = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample.php")
        row("PHP sample", [php, "-d", "memory_limit=-1", sample], feed, 1, env={"FEED": "php://stdin"})


def row(name, command, feed, rounds, env=None):
    length = feed.stat().st_size
    speed = median(length / run(command, feed, env)[0] for _ in range(rounds)) / 1e9
    print(f"| {name} | {speed:.2f} | {run(command, feed, env, read=True)[1]:.1f} |", flush=True)


def run(command, feed, env, read=False):
    """Seconds with the output thrown away; or peak memory, looked up while the output is read."""
    with open(feed, "rb") as source, open(os.devnull, "wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", SERVER, *map(str, command)], stdin=source, env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE if read else sink,
        )
        peak = 0
        while read and process.stdout.read1(1 << 16):
            peak = resident(process.pid) or peak
        assert process.wait() == 0, command
        return time.perf_counter() - start, peak


def resident(pid):
    with open(f"/proc/{pid}/status") as status:
        return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")), None)
