"""A hub for tests: a private PostgreSQL cluster, a home folder, a running `holdfast serve`, REST.

Everything lives under one temporary folder and on free ports; nothing is left running. Started by
root, PostgreSQL and the hub run as the user holdfast.
"""
import atexit
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pwd
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PG_BIN = "/usr/lib/postgresql/15/bin"
USER = "holdfast"


def program():
    return os.environ.get("HF_BIN", os.path.join(ROOT, "build", "holdfast"))


def wait_for(condition, timeout=10.0, what="condition", interval=0.02):
    """Calls condition() until it is true and returns what it gave; never longer than timeout."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come about within {timeout} s")
        time.sleep(interval)


def free_port():
    """A port of 127.0.0.1 that nobody has now, and hardly anybody takes while it is closed for a restart: it
    is none of those that the kernel hands out itself, to the clients of other tests for example."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def as_user():
    """The words before a command that make it run as the user holdfast, where we are root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]


def chown(path):
    if os.geteuid() == 0:
        who = pwd.getpwnam(USER)
        os.chown(path, who.pw_uid, who.pw_gid)


def temp_folder(prefix="hf-"):
    folder = tempfile.mkdtemp(prefix=prefix, dir=os.environ.get("HF_TMP") or "/tmp")
    os.chmod(folder, 0o755)
    chown(folder)
    if not os.environ.get("HF_KEEP"):
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Postgres:
    """A private cluster on a Unix socket, with the two roles of make run."""

    def __init__(self, folder=None, settings=()):
        self.folder = folder or temp_folder("hfpg-")
        self.data = os.path.join(self.folder, "data")
        self.settings = list(settings)
        self.running = False
        subprocess.run(
            as_user() + [f"{PG_BIN}/initdb", "-D", self.data, "-A", "trust", "-U", "holdfast_owner",
                         "-E", "UTF8", "--locale=C", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, cwd="/")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf8") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                       "shared_buffers = 128MB\nmax_wal_size = 2GB\nlog_min_messages = warning\n")
            for line in self.settings:
                conf.write(line + "\n")
        self.start()
        atexit.register(self.stop, "immediate")
        self.sql("CREATE ROLE holdfast_hub LOGIN", db="postgres")
        self.sql("CREATE DATABASE holdfast", db="postgres")

    def _ctl(self, *words, check=True):
        return subprocess.run(as_user() + [f"{PG_BIN}/pg_ctl", "-D", self.data, "-s", *words],
                              check=check, cwd="/", stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)

    def start(self):
        self._ctl("-l", os.path.join(self.folder, "log"), "-w", "-t", "60", "start")
        self.running = True

    def stop(self, mode="fast"):
        if self.running:
            self.running = False
            self._ctl("-m", mode, "-w", "stop", check=False)

    @property
    def pid(self):
        with open(os.path.join(self.data, "postmaster.pid"), encoding="utf8") as f:
            return int(f.readline())

    def pids(self):
        """The postmaster and its children."""
        main = self.pid
        found = [main]
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{name}/stat", encoding="utf8") as f:
                        if int(f.read().rsplit(")", 1)[1].split()[1]) == main:
                            found.append(int(name))
        return found

    def signal_all(self, sig):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)

    def kill(self):
        """SIGKILL of everything, as when the machine loses the processes."""
        self.running = False
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            wait_for(lambda p=pid: not alive(p), 10, f"end of {pid}")
        # Whoever adopted them may not have waited for them yet, and then the dead postmaster's number
        # still counts as a process to the next one.
        os.remove(os.path.join(self.data, "postmaster.pid"))
        os.remove(os.path.join(self.folder, ".s.PGSQL.5432.lock"))

    def url(self, role="holdfast_hub"):
        return f"postgresql://{role}@/holdfast?host={urllib.parse.quote(self.folder, safe='')}"

    def sql(self, text, db="holdfast", role="holdfast_owner"):
        """Runs SQL, returns the rows as lists of strings."""
        out = subprocess.run(
            ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-A", "-t", "-F", "\x1f", "-h", self.folder,
             "-U", role, "-d", db, "-c", text],
            check=True, capture_output=True, text=True, cwd="/",
            env=dict(os.environ, PGOPTIONS="-c search_path=holdfast,public")).stdout
        return [line.split("\x1f") for line in out.splitlines() if line]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf8") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Hub:
    """A home and a `holdfast serve` on free ports of 127.0.0.1."""

    def __init__(self, postgres=None, env=None, home=None, start=True):
        self.pg = postgres or Postgres()
        self.folder = temp_folder("hfhub-")
        self.home = home or os.path.join(self.folder, "home")
        self.extra = dict(env or {})
        self.process = None
        self.log_path = os.path.join(self.folder, "hub.log")
        self.https_port, self.mqtts_port, self.mqtt_port = free_port(), free_port(), None
        self.command("init")
        self.command("migrate")
        if start:
            self.start()
        atexit.register(self.kill)

    def env(self):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        keep.update({
            "HOLDFAST_HOME": self.home,
            "HOLDFAST_DATABASE_URL": self.pg.url(),
            "HOLDFAST_DATABASE_OWNER_URL": self.pg.url("holdfast_owner"),
            "HOLDFAST_MQTT_TLS_LISTEN": f"127.0.0.1:{self.mqtts_port}",
            "HOLDFAST_HTTPS_LISTEN": f"127.0.0.1:{self.https_port}",
        })
        keep.update(self.extra)
        return keep

    def command(self, *words, check=True):
        return subprocess.run(as_user() + [program(), *words], env=self.env(), check=check,
                              cwd=self.folder, capture_output=True, text=True)

    def start(self, timeout=20):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                as_user() + [program(), "serve"], env=self.env(), cwd=self.folder,
                stdout=subprocess.PIPE, stderr=log)
        line = self._ready_line(timeout)
        words = dict(w.split("=", 1) for w in line.split()[2:5])
        self.https_port = urllib.parse.urlsplit(words["https"]).port
        self.mqtts_port = urllib.parse.urlsplit(words["mqtts"]).port
        if self.extra.get("HOLDFAST_MQTT_PLAIN_LISTEN"):
            self.mqtt_port = int(self.extra["HOLDFAST_MQTT_PLAIN_LISTEN"].rsplit(":", 1)[1])
        return self

    def _ready_line(self, timeout):
        os.set_blocking(self.process.stdout.fileno(), False)
        got = b""
        end = time.monotonic() + timeout
        while b"\n" not in got:
            got += self.process.stdout.read() or b""
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the hub did not come up: {self.log()[-3000:]}")
            time.sleep(0.005)
        line = got.split(b"\n")[0].decode()
        if not line.startswith("holdfast ready "):
            raise RuntimeError(f"unexpected first line: {line}")
        return line

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        with open(self.log_path, encoding="utf8", errors="replace") as f:
            return f.read()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self, timeout=20):
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(timeout)

    def rss_kib(self):
        with open(f"/proc/{self.pid}/status", encoding="utf8") as f:
            for line in f:
                if line.startswith("VmRSS"):
                    return int(line.split()[1])
        return 0

    # ---- REST ----
    def secret(self, name):
        with open(os.path.join(self.home, "secrets", name), encoding="utf8") as f:
            return f.read().strip()

    @property
    def owner(self):
        return "Bearer " + self.secret("owner.token")

    def tls(self):
        context = ssl.create_default_context(cafile=os.path.join(self.home, "tls", "ca.pem"))
        return context

    def request(self, method, path, body=None, auth="owner", headers=None, timeout=30):
        """One request on a connection of its own; path below /api/v1 unless it begins with '//'."""
        all_headers = dict(headers or {})
        if auth == "owner":
            all_headers["Authorization"] = self.owner
        elif auth:
            all_headers["Authorization"] = auth
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            all_headers.setdefault("Content-Type", "application/json")
        path = path[1:] if path.startswith("//") else "/api/v1" + path
        connection = http.client.HTTPSConnection("localhost", self.https_port, timeout=timeout,
                                                 context=self.tls())
        try:
            connection.request(method, path, body, all_headers)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "//readyz", auth=None, timeout=2).status == 200
        return False

    def device(self, device_id, **doc):
        """Creates a device and returns its document."""
        r = self.request("POST", "/devices", dict(doc, deviceId=device_id))
        if r.status != 201:
            raise AssertionError(f"create {device_id}: {r}")
        return r.json

    def telemetry(self, device_id, **query):
        """All stored messages of a device, oldest first, over every page."""
        items = []
        query = dict({"order": "asc", "limit": 1000}, **query)
        while True:
            r = self.request("GET", f"/devices/{urllib.parse.quote(device_id, safe='')}/telemetry?"
                             + urllib.parse.urlencode(query))
            if r.status != 200:
                raise AssertionError(f"telemetry {device_id}: {r}")
            page = r.json
            items += page["items"]
            if not page["nextCursor"]:
                return items
            query["cursor"] = page["nextCursor"]

    def metric(self, name):
        r = self.request("GET", "//metrics")
        for line in r.body.decode().splitlines():
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)


def sas(resource, key, seconds=3600, policy=None, expiry=None):
    """A SharedAccessSignature over the encoded resource, as the SDKs make it."""
    expiry = int(time.time()) + seconds if expiry is None else expiry
    sr = urllib.parse.quote(resource, safe="")
    mac = hmac.new(base64.b64decode(key), f"{sr}\n{expiry}".encode(), hashlib.sha256).digest()
    token = f"SharedAccessSignature sr={sr}&sig={urllib.parse.quote(base64.b64encode(mac), safe='')}" \
            f"&se={expiry}"
    return token + (f"&skn={policy}" if policy else "")


def device_sas(device_id, key, hub="localhost", **more):
    return sas(f"{hub}/devices/{device_id}", key, **more)


def key_of(connection_string):
    return connection_string.split("SharedAccessKey=", 1)[1]
