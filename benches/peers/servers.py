"""The servers that are measured, each with one worker on one core, and their ends."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

# The servers' core and the clients'.
SERVER, CLIENT = "0", "1"
# The extensions sold by Plesk that stay.
SHOWN = ["wp-toolkit", "docker"]


class Server:
    """A process with its port, ended by its id."""

    def __init__(self, name, command, port, core=SERVER, log=None, env=None, tls=False):
        self.name, self.port, self.tls = name, port, tls
        with open(log or os.devnull, "wb") as err:
            self.process = subprocess.Popen(
                ["taskset", "-c", core, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err, env={**os.environ, **(env or {})},
            )
        self.pid = self.process.pid
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.end()
                    raise SystemExit(f"{name} does not start; see {log}")
                time.sleep(0.002)

    def url(self, path):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def processes(self):
        """Itself and its children, theirs included."""
        found = [self.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found

    def cpu(self):
        """Processor time so far, in seconds."""
        ticks = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory(self, field="VmRSS"):
        """Resident memory (or its peak, VmHWM) in MiB."""
        kib = 0
        for pid in self.processes():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(field))
        return kib / 1024

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Servers:
    """All servers of a run; none outlives it."""

    def __init__(self, directory, binary):
        self.directory, self.binary, self.running, self.count = Path(directory), binary, [], 0
        flags = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        # Limits that would stop a bench from one address; only newer versions have them.
        limits = ["--max-connections", "--max-connections-per-address"]
        self.limits = [word for flag in limits if f"{flag} " in flags for word in (flag, "20000")]
        # The proxy watches the directory of its whitelist, so that nothing else may be written there.
        self.whitelist = self.directory / "lists/whitelist.toml"
        self.whitelist.parent.mkdir()
        self.whitelist.write_text(f"extensions = {SHOWN}\n".replace("'", '"'))

    def start(self, *arguments, **options):
        server = Server(*arguments, **options)
        self.running.append(server)
        return server

    def end(self, *servers):
        for server in servers or reversed(self.running[:]):
            server.end()
            self.running.remove(server)

    def certificate(self):
        """A key and a certificate for it, of the kind that ACME clients make today."""
        cert, key = self.directory / "cert.pem", self.directory / "key.pem"
        if not cert.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
                            "-keyout", key, "-out", cert], check=True, capture_output=True)
        return cert, key

    def proxy(self, upstream, *flags, core=SERVER, tls=False):
        port = free_port()
        if tls:
            cert, key = self.certificate()
            flags = [*flags, "--tls-cert", cert, "--tls-key", key]
        command = [
            self.binary, "serve", "--listen", f"127.0.0.1:{port}", "--admin-listen", "off",
            "--upstream", f"http://127.0.0.1:{upstream}", "--whitelist", self.whitelist,
            "--max-feed-size", "256MiB", "--cache-size", "2GiB", *self.limits, *flags,
        ]
        env = {"NO_PROXY": "*", "no_proxy": "*"}
        return self.start("catalog-proxy", command, port, core=core, log=self.directory / "proxy.log", env=env, tls=tls)

    def nginx(self, name, locations, http="", core=SERVER, tls=False):
        """nginx as distributions set it up, without logs and with connections that stay."""
        self.count += 1
        place, port = self.directory / f"nginx{self.count}", free_port()
        for part in ["cache", "body", "proxy", "fastcgi", "uwsgi", "scgi"]:
            (place / part).mkdir(parents=True)
        listen = f"listen 127.0.0.1:{port} backlog=8192"
        if tls:
            cert, key = self.certificate()
            listen += f" ssl http2; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3"
            listen += "; ssl_session_cache shared:tls:4m"
        user = f"user {pwd.getpwuid(0).pw_name} root;" if os.getuid() == 0 else ""
        (place / "nginx.conf").write_text(f"""
            {user} worker_processes 1; worker_rlimit_nofile 16384; daemon off; pid {place}/pid;
            error_log {place}/log;
            events {{ worker_connections 8192; }}
            http {{
                access_log off; default_type application/json; keepalive_requests 100000000;
                sendfile on; tcp_nopush on; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
                fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
                {http.format(place=place)}
                server {{ {listen}; {locations} }}
            }}""")
        return self.start(name, ["nginx", "-p", place, "-c", place / "nginx.conf", "-e", place / "log"], port,
                          core=core, log=place / "output", tls=tls)

    def varnish(self, upstream):
        if not (binary := shutil.which("varnishd")):
            return None
        port, place = free_port(), self.directory / "varnish"
        vcl = self.directory / "varnish.vcl"
        vcl.write_text(f"""vcl 4.1;
            backend default {{ .host = "127.0.0.1"; .port = "{upstream}"; }}
            sub vcl_backend_response {{ set beresp.do_gzip = true; set beresp.ttl = 1h; }}""")
        command = [binary, "-F", "-j", "none", "-a", f"127.0.0.1:{port}", "-f", vcl, "-n", place,
                   "-s", "malloc,256m"]
        return self.start("Varnish", command, port, log=self.directory / "varnish.log")

    def php(self, feed, sample):
        """The sample behind nginx and PHP-FPM, or PHP's own server."""
        env = {"FEED": feed}
        names = ["php-fpm", *(f"php-fpm8.{minor}" for minor in range(9, -1, -1))]
        fpm = next(filter(None, map(shutil.which, names)), None)
        if fpm:
            port, conf = free_port(), self.directory / "fpm.conf"
            conf.write_text(f"""[global]\nerror_log = {self.directory}/fpm.log\ndaemonize = no\n[www]\n
                listen = 127.0.0.1:{port}\npm = static\npm.max_children = 1\nclear_env = no\n""" +
                ("user = root\ngroup = root\n" if os.getuid() == 0 else ""))
            root = ["-R"] if os.getuid() == 0 else []
            worker = self.start("PHP-FPM", [fpm, "-n", "-d", "memory_limit=512M", "-y", conf, *root], port,
                                log=self.directory / "fpm.log", env=env)
            front = self.nginx("PHP sample", f"""location / {{ fastcgi_pass 127.0.0.1:{port};
                fastcgi_param SCRIPT_FILENAME {sample}; fastcgi_param REQUEST_METHOD GET; }}""")
            # Its processor time and memory are both processes'.
            own = front.processes
            front.processes = lambda: own() + worker.processes()
            return front
        if not (php := shutil.which("php")):
            return None
        port = free_port()
        command = [php, "-d", "memory_limit=512M", "-S", f"127.0.0.1:{port}", sample]
        return self.start("PHP sample", command, port, log=self.directory / "php.log", env=env)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
