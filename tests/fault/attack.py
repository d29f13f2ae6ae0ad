"""What the suites of attacks share: a hub for all of them, healthy clients that are measured beside each
attack, what is watched meanwhile, and the attackers' tools."""
import json
import os
import resource
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from lib import mqtt, ws  # noqa: E402
from lib.hub import Hub, device_sas, sas, wait_for  # noqa: E402
from lib.mqtt import Mqtt, packet, props, text, varint  # noqa: E402
from lib.suite import check, equal  # noqa: E402

SOAK = os.environ.get("HF_SOAK") == "1"
SECONDS = 15 if SOAK else 2  # of each flood
# A sanitizer makes the hub slow, and keeps what was freed.
SANITIZER = os.environ.get("HF_SANITIZER")
PING_MS = 250 if SANITIZER else 50
LONGEST_MS = 10000 if SANITIZER else 2000
ACK_MS = 5000 if SANITIZER else 500  # of a message that is stored, behind the attackers' own
TRIES = 3
GROWTH_MIB = 1024 if SANITIZER else 128
SILENT_S = 10  # after which a connection that says nothing is dropped
FILES = 24000
HEALTHY = [f"healthy-{i}" for i in range(6)]  # of every event loop some
OVERS = ("tcp", "tls", "wss")


# ---- the healthy client: a process of its own, so that what attacks here does not slow it down ----

def healthy_client(home, port, *tokens):
    """Pings, and now and then stores a message, until standard input ends; prints what each took, in ms."""
    class Where:
        pass
    Where.home, Where.mqtts_port = home, int(port)
    clients = [Mqtt(Where, version=5) for _ in tokens]
    for name, token, one in zip(HEALTHY, tokens, clients):
        check(one.connect(name, name, token).code == 0)
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    print("on", flush=True)
    pings, acks, turn = [], [], 0

    def timed(times, act):
        begin = time.monotonic()
        act()
        times.append(round((time.monotonic() - begin) * 1000, 2))
    while not done.is_set():
        turn += 1
        for name, one in zip(HEALTHY, clients):
            timed(pings, lambda: one.ping(30))
            if turn % 5 == 0:
                timed(acks, lambda: check(one.publish(f"devices/{name}/t", "{}", timeout=30) == 0, "not taken"))
            time.sleep(0.002)
    for name, one in zip(HEALTHY, clients):
        check(one.publish(f"devices/{name}/t", "{}") == 0, "its message is not taken")
    print(json.dumps([pings, acks]))


class Healthy:
    def __init__(self, hub, keys):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), hub.home, str(hub.mqtts_port)] +
            [device_sas(name, keys[name]) for name in HEALTHY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        check(self.process.stdout.readline() == "on\n", "the healthy clients are not let in")

    def result(self):
        """(p99 of the pings, p99 of the acknowledgements, the longest ping), ms"""
        out, _ = self.process.communicate(timeout=60)
        check(self.process.returncode == 0, "the healthy clients failed")
        pings, acks = map(sorted, json.loads(out.splitlines()[-1]))
        return pings[int(len(pings) * 0.99)], (acks or [0])[int(len(acks) * 0.99)], pings[-1]


# ---- what is watched meanwhile ----

class Memory(threading.Thread):
    """The most that the hub takes while the thread runs."""

    def __init__(self, hub):
        super().__init__(daemon=True)
        self.hub, self.stop, self.first = hub, threading.Event(), hub.rss_kib()
        self.most = self.first

    def run(self):
        while not self.stop.wait(0.02) and self.hub.process.poll() is None:
            self.most = max(self.most, self.hub.rss_kib())

    def growth(self):
        self.stop.set()
        self.join()
        return (self.most - self.first) / 1024


class World:
    """One hub for all attacks of a suite; a port without TLS and without credentials for the cheap ones."""
    hub = service = None
    keys = {}

    @classmethod
    def get(cls):
        if cls.hub:
            return cls.hub
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        cls.hub = Hub(env={"HOLDFAST_MQTT_PLAIN_LISTEN": f"127.0.0.1:{port}",
                           "HOLDFAST_MQTT_ANONYMOUS": "yes"})
        for name in HEALTHY:
            cls.key(name)
        cls.service = cls.hub.request("GET", "/access-keys/service").json["primaryKey"]
        return cls.hub

    @classmethod
    def key(cls, name):
        if name not in cls.keys:
            cls.keys[name] = cls.hub.device(name)["auth"]["primaryKey"]
        return cls.keys[name]

    @classmethod
    def plain(cls):
        return ("127.0.0.1", cls.hub.mqtt_port)


def descriptors(hub):
    return len(os.listdir(f"/proc/{hub.pid}/fd"))


class Slow(AssertionError):
    """Healthy clients waited: on a busy machine that may have been somebody else's doing."""


def watched(attack, *over):
    """Runs attack(hub) with healthy clients beside it; checks what must hold."""
    hub = World.get()
    quiet = Healthy(hub, World.keys)
    time.sleep(0.7)
    idle, idle_ack, _ = quiet.result()
    before = descriptors(hub)
    healthy, memory = Healthy(hub, World.keys), Memory(hub)
    memory.start()
    try:
        left = attack(hub, *over) or []
    finally:
        (p99, ack, longest), grown = healthy.result(), memory.growth()
    for s in left:
        s.close()
    check(hub.process.poll() is None, "the hub died:", hub.log()[-3000:])
    print(f"   p99 ping {p99:.1f} ms (alone {idle:.1f}), ack {ack:.1f} ({idle_ack:.1f}), longest ping "
          f"{longest:.0f}, memory {grown:+.0f} MiB", flush=True)
    check(grown <= GROWTH_MIB, f"memory grew by {grown:.0f} MiB")
    wait_for(lambda: descriptors(hub) <= before + 2, SILENT_S + 8,
             f"return of the descriptors ({descriptors(hub)}, {before} before)")
    # Attackers, hub and database share the machine: half as much again, and what it does anyhow.
    if p99 > PING_MS * 1.5 + 2 * min(idle, 100) or longest > LONGEST_MS:
        raise Slow(f"ping p99 {p99:.1f} ms, longest {longest:.0f}, alone {idle:.1f} ms")
    if ack > ACK_MS + 2 * min(idle_ack, 200):
        raise Slow(f"PUBACK p99 {ack:.1f} ms, alone {idle_ack:.1f} ms")


def under(attack, *over):
    """The attack, again if it seems slow: what is slow because of it is so each time."""
    for left in reversed(range(TRIES)):
        try:
            watched(attack, *over)
            return
        except Slow as e:
            if left == 0:
                raise
            print(f"   once more: {e}", flush=True)


def attacks(*overs):
    """A decorator: the test's entries for the suite, one for each transport where it takes one."""
    def entries(function):
        name = function.__doc__.split("\n")[0]
        if not overs:
            return [(name, lambda: under(function))]
        return [(f"{name} [{over}]", lambda over=over: under(function, over)) for over in overs]
    return entries


# ---- attackers ----

class Attacker(Mqtt):
    """Over TCP without a credential; over TLS and WebSocket a device (topics below root) or, service, a back
    end. Not connected yet."""

    def __init__(self, over="tcp", version=5):
        if over == "tcp":
            super().__init__(address=World.plain(), version=version)
        elif over == "tls":
            super().__init__(World.hub, version=version)
        else:
            super().__init__(stream=ws.WebSocket(World.hub), version=version)
        self.over, self.root = over, ""

    def enter(self, client_id, service=False, **more):
        """CONNECT as whom the transport wants; the CONNACK."""
        if self.over == "tcp":
            return self.connect(client_id, **more)
        if service:
            return self.connect(client_id, "key/service", sas("localhost", World.service, policy="service"), **more)
        self.root = f"devices/{client_id}/"
        return self.connect(client_id, client_id, device_sas(client_id, World.key(client_id)), **more)

    def deaf(self):
        """What it does not read the hub has to keep."""
        self.raw().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    def raw(self):
        """The socket below, on which push writes."""
        return self.socket.socket if self.over == "wss" else self.socket

    def wire(self, data):
        """Packets as they go over raw()."""
        if self.over != "wss":
            return data
        return b"".join(ws.frame(ws.BINARY, data[i:i + 60000]) for i in range(0, len(data), 60000))

    def push(self, data, seconds):
        return push(self.raw(), self.wire(data), seconds)


def client(client_id, version=5, over="tcp", service=False, **more):
    """An attacker that is let in."""
    c = Attacker(over, version)
    equal(c.enter(client_id, service, **more).code, 0, client_id)
    return c


# ---- tools ----

def tcp(address):
    return socket.create_connection(address, 10)


def header(kind, flags, size):
    return bytes([kind << 4 | flags]) + varint(size)


def push(s, data, seconds):
    """Writes data again and again without reading, for so long or until the hub closes."""
    end = time.monotonic() + seconds
    at, sent = 0, 0
    s.setblocking(False)
    try:
        while time.monotonic() < end:
            try:
                n = s.send(data[at:at + 262144])
                at = (at + n) % len(data)
                sent += n
            except (BlockingIOError, ssl.SSLWantWriteError):
                time.sleep(0.01)
    except OSError:
        pass
    return sent


def push_all(sockets, data, seconds):
    """The same on many sockets at once."""
    threads = [threading.Thread(target=push, args=(s, data, seconds)) for s in sockets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def until_closed(sockets, seconds):
    """Waits until the other side has closed all of them; returns how many it has not."""
    watch = selectors.DefaultSelector()
    for s in sockets:
        s.setblocking(False)
        watch.register(s, selectors.EVENT_READ)
    end, left = time.monotonic() + seconds, len(sockets)
    while left and time.monotonic() < end:
        for found, _ in watch.select(0.2):
            try:
                if found.fileobj.recv(65536):
                    continue
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                pass
            watch.unregister(found.fileobj)
            left -= 1
    watch.close()
    return left


def subscribe_packet(c, filters, options=1):
    body = struct.pack(">H", c.new_id()) + props() + b"".join(text(f) + bytes([options]) for f in filters)
    return packet(mqtt.SUBSCRIBE, 2, body)


def push_and_read(c, data):
    """Writes all of data, throws away what comes back; ends when the hub closes."""
    s, at, data = c.raw(), 0, c.wire(data)
    s.setblocking(False)
    end = time.monotonic() + SECONDS
    try:
        while at < len(data) and time.monotonic() < end:
            try:
                at += s.send(data[at:at + 65536])
            except (BlockingIOError, ssl.SSLWantWriteError):
                time.sleep(0.002)
            try:
                if not s.recv(262144):
                    return
            except (BlockingIOError, ssl.SSLWantReadError):
                pass
    except OSError:
        pass


def client_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def https(hub):
    raw = socket.create_connection(("127.0.0.1", hub.https_port), 20)
    return hub.tls().wrap_socket(raw, server_hostname="localhost")


def answer(s, seconds=20):
    """The status of the first response, 0 if the hub closes without one."""
    s.settimeout(seconds)
    got = b""
    try:
        while b"\r\n" not in got:
            more = s.recv(65536)
            if not more:
                return 0
            got += more
    except (ConnectionError, ssl.SSLError):
        return 0
    return int(got.split(b" ")[1])


if __name__ == "__main__":
    healthy_client(*sys.argv[1:])
