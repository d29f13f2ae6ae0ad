"""Who takes part in a bench: our hub, the floor, mosquitto, and any broker that HF_PEERS names.

HF_PEERS='name=command; name=command': the command is run as the user holdfast with {port}, {tlsport},
{cert} and {key} replaced; it stays in the foreground and lets anybody in. Where it knows no {tlsport},
the peer takes part in the plain benches alone."""
import atexit
import os
import shlex
import shutil
import socket
import subprocess
import time

from lib.hub import Hub, Postgres, as_user, chown, free_port, sas, temp_folder, wait_for

PASSWORD = "bench-password"
# All brokers may have as much under way to one subscriber, and queue as much for it; and a bench makes
# few clients do what many would.
WIDE = {"HOLDFAST_MQTT_MAX_INFLIGHT": "60000", "HOLDFAST_MQTT_MAX_QUEUED_MESSAGES": "100000",
        "HOLDFAST_MQTT_MAX_CONNECT_RATE": "0",
        "HOLDFAST_HUB_THREADS": os.environ.get("HF_THREADS", "0")}


def client_certificate(folder):
    """One certificate for all clients of a bench, its own authority: [certificate, key]."""
    names = [f"{folder}/client.pem", f"{folder}/client.key"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=client", "-days", "30", "-out", names[0], "-keyout", names[1]],
                   check=True, capture_output=True)
    chown(names[0])
    return names


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def tls_words(tls, ca):
    return ["--tls", "--tls-version", "1.3", "--cafile", ca, "--sni", "localhost"] if tls else []


class Ours:
    """A hub that stores no telemetry, so that it is compared as a broker. Devices send a signed token,
    subscribers are back ends with an access key, policy judges each topic."""

    name = "holdfast"
    tls = True

    def __init__(self, env=None):
        self.pg = Postgres()
        self.port = free_port()
        self.hub = Hub(self.pg, env={"HOLDFAST_MQTT_PLAIN_LISTEN": f"127.0.0.1:{self.port}",
                                     "HOLDFAST_TELEMETRY_STORE": "", **WIDE, **(env or {})})
        self.ca = f"{self.hub.home}/tls/ca.pem"
        self.tokens = [sas("localhost", self.hub.request("GET", f"/access-keys/{who}").json["primaryKey"],
                           seconds=86400, policy=who) for who in ("device", "service")]

    def words(self, tls):
        return ["--port", self.hub.mqtts_port if tls else self.port, "--user", "%c", "--pass", self.tokens[0],
                "--sub-user", "key/service", "--sub-pass", self.tokens[1], *tls_words(tls, self.ca)]

    @property
    def pids(self):
        return [self.hub.pid]

    def restart(self):
        self.hub.stop()
        self.hub.start()

    def stop(self):
        self.hub.stop()
        self.pg.stop("immediate")


class Program:
    """A contender that is one process."""

    def __init__(self, name, ours, command, tls=True):
        self.name, self.tls, self.command, self.ca = name, tls, command, ours.ca
        self.port, self.tlsport = free_port(), free_port()
        self.folder = temp_folder("hfpeer-")
        for f in ("server.pem", "server.key"):
            shutil.copy(f"{ours.hub.home}/tls/{f}", self.folder)
            chown(f"{self.folder}/{f}")
        self.processes = []
        self.start()
        atexit.register(self.stop)

    def commands(self):
        fields = {"port": self.port, "tlsport": self.tlsport, "cert": f"{self.folder}/server.pem",
                  "key": f"{self.folder}/server.key"}
        return [[w.format(**fields) for w in shlex.split(self.command)]]

    def start(self):
        for command in self.commands():
            self.processes.append(subprocess.Popen(
                as_user() + command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        for port in [self.port] + [self.tlsport] * self.tls:
            wait_for(lambda p=port: listens(p), 10, f"{self.name} on port {port}")

    def words(self, tls):
        return ["--port", self.tlsport if tls else self.port, *tls_words(tls, self.ca)]

    @property
    def pids(self):
        return [p.pid for p in self.processes]

    def stop(self):
        for p in self.processes:
            p.kill()
            p.wait()
        self.processes = []

    def restart(self):
        self.stop()
        self.start()


class Floor(Program):
    """Two processes, because TLS or not is one program's choice; only one of them works at a time."""

    def __init__(self, ours, program, threads=1):
        self.program, self.threads = program, threads
        super().__init__("floor", ours, "")

    def commands(self):
        words = [self.program, str(self.port), str(self.threads)]
        return [words, [self.program, str(self.tlsport), str(self.threads), f"{self.folder}/server.pem",
                        f"{self.folder}/server.key"]]


class Mosquitto(Program):
    """Debian's, with an open door or with a password file."""

    def __init__(self, ours, password=False, client_ca=None):
        self.password, self.client_ca = password, client_ca
        super().__init__("mosquitto 2.0", ours, "mosquitto -c m.conf")

    def commands(self):
        door = "allow_anonymous true\n"
        if self.password:
            subprocess.run(["mosquitto_passwd", "-b", "-c", f"{self.folder}/passwd", "bench", PASSWORD],
                           check=True, capture_output=True)
            chown(f"{self.folder}/passwd")
            door = f"allow_anonymous false\npassword_file {self.folder}/passwd\n"
        with open(f"{self.folder}/m.conf", "w", encoding="utf8") as f:
            f.write(f"per_listener_settings false\n{door}max_inflight_messages 0\nmax_queued_messages 100000\n"
                    f"set_tcp_nodelay true\nlistener {self.port} 127.0.0.1\nlistener {self.tlsport} 127.0.0.1\n"
                    f"certfile {self.folder}/server.pem\nkeyfile {self.folder}/server.key\n"
                    + (f"cafile {self.client_ca}\nrequire_certificate true\n" if self.client_ca else ""))
        chown(f"{self.folder}/m.conf")
        return super().commands()

    def words(self, tls):
        more = ["--user", "bench", "--pass", PASSWORD] if self.password else []
        return super().words(tls) + more


def named_peers(ours):
    """What HF_PEERS asks for. Those that do not come up are said and left out."""
    peers = []
    for text in filter(None, map(str.strip, os.environ.get("HF_PEERS", "").split(";"))):
        name, command = text.split("=", 1)
        try:
            peers.append(Program(name.strip(), ours, command.strip(), tls="{tlsport}" in command))
        except TimeoutError as e:
            print(f"  left out: {e}")
    return peers


def settle():
    """A moment in which what was begun by the last run ends."""
    time.sleep(0.2)
