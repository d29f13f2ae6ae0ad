"""The benches that compare brokers: telemetry.store is empty, everybody forwards and nobody stores.

Each takes the field of contenders, prints a table and keeps its rows in measure.results."""
import statistics
import threading
import time

from contenders import Floor, Mosquitto, Ours, client_certificate, named_peers, settle
from lib.hub import temp_folder
from lib.mqtt import Mqtt
from measure import FLOOR, ROUNDS, load, make_many, results, seconds, table

LINK = {False: "plain", True: "TLS 1.3"}


class Field:
    """Hub, floor and peers, started once for all benches."""

    def __init__(self):
        self.ours = Ours()
        self.idle = 0
        make_many(self.ours.hub, 1000, "p")
        self.floor = Floor(self.ours, FLOOR)
        self.peers = [Mosquitto(self.ours), *named_peers(self.ours)]

    def idle_devices(self, n):
        """Devices for clients that publish nothing."""
        if n > self.idle:
            make_many(self.ours.hub, n, "i")
            self.idle = n

    def contenders(self, tls, floor=False):
        return [self.ours, *([self.floor] if floor else []), *(p for p in self.peers if p.tls or not tls)]

    def stop(self):
        for p in [*self.peers, self.floor, self.ours]:
            p.stop()


def rounds(contenders, run):
    """run(contender) for each in each round; who begins changes. Rows by name. A peer that cannot do
    what a bench asks for is said and left out; ours and the floor must."""
    got = {c.name: [] for c in contenders}
    left = list(contenders)
    for _ in range(ROUNDS):
        for c in list(left):
            try:
                got[c.name].append(run(c))
            except RuntimeError as e:
                if c.name in ("holdfast", "floor"):
                    raise
                print(f"  left out: {c.name}: {e}", flush=True)
                left.remove(c)
                del got[c.name]
            settle()
        left.append(left.pop(0))
    return got


def ratio(got, name, field):
    """Ours to another's, the median over the rounds."""
    return statistics.median(a[field] / b[field] for a, b in zip(got["holdfast"], got[name]))


def best(got, field, most=False):
    """The peer with the best median."""
    peers = [n for n in got if n not in ("holdfast", "floor")]
    value = {n: statistics.median(r[field] for r in got[n]) for n in peers}
    return (max if most else min)(peers, key=value.get)


def show(bench, title, got, fields, goals):
    """fields: [(name, head, format)], the first is what counts. goals: [("floor" or "best", most)]."""
    rows = [("", *(f"{head:>12}" for _, head, _ in fields))]
    for name, runs in got.items():
        rows.append((name, *(f"{statistics.median(r[f] for r in runs):12{form}}" for f, _, form in fields)))
    field = fields[0][0]
    verdicts = []
    for other, most in goals:
        name = best(got, field) if other == "best" else other
        value = ratio(got, name, field)
        verdicts.append({"to": name, "ratio": value, "goal": most})
        rows.append((f"ratio to {name}", f"{value:12.2f}", f"goal {most}", "" if value <= most else "MISSED"))
    table(title, rows)
    results.setdefault(bench, {})[title] = {"rows": got, "ratios": verdicts}


CPU = ("cpu_us_pub", "us a message", ".2f")
RATE = ("ack_s", "acks/s", ",.0f")


def bench_publish(field):
    """QoS 1, nobody subscribes: 100 clients flat out, 1,000 clients with 10,000/s evenly spaced."""
    for tls in (False, True):
        for spread in (False, True):
            pattern = ["--pubs", 1000, "--rate", 10000] if spread else ["--pubs", 100]
            got = rounds(field.contenders(tls, floor=True), lambda c, p=pattern, t=tls: load(
                "pub", *c.words(t), "--id-prefix", "b", "--topic", "devices/%c/t", *p, "--warmup", 0.7,
                pids=c.pids, label=c.name, duration=seconds(2)))
            name = f"publish, {LINK[tls]}, " + ("1,000 clients, 10,000/s evenly" if spread else
                                                "100 clients flat out")
            show("publish", name, got, [CPU, RATE], [("best", 0.85)] if spread else [("floor", 1.1)])


def bench_fanin(field):
    """QoS 1 to one subscriber: 100 publishers flat out, 1,000 with 10,000/s evenly spaced."""
    for tls in (False, True):
        for spread in (False, True):
            pattern = ["--pubs", 1000, "--rate", 10000] if spread else ["--pubs", 100, "--max-lag", 5000]
            got = rounds(field.contenders(tls), lambda c, p=pattern, t=tls: load(
                "pubsub", *c.words(t), "--id-prefix", "b", "--subs", 1, "--topic", "devices/%c/t", "--filter",
                "devices/+/t", *p, "--warmup", 0.7, pids=c.pids, label=c.name, duration=seconds(2)))
            name = f"fan-in to one, {LINK[tls]}, " + ("1,000 publishers, 10,000/s evenly" if spread else
                                                      "100 publishers flat out")
            show("fanin", name, got, [("cpu_us_del", "us a message", ".2f"), ("del_s", "delivered/s", ",.0f"),
                                      ("lost", "lost", ",.0f")],
                 [("best", 0.75 if spread else 0.8)])
            if not spread:
                peer = best(got, "del_s", most=True)
                print(f"  most messages of a peer: {peer}; ours to its: {ratio(got, peer, 'del_s'):.2f}")


def bench_fanout(field):
    """One publisher to 500 subscribers, 40 messages a second, QoS 1; CPU a delivery."""
    for tls in (False, True):
        got = rounds(field.contenders(tls), lambda c, t=tls: load(
            "pubsub", *c.words(t), "--id-prefix", "b", "--pubs", 1, "--subs", 500, "--topic", "devices/%c/t",
            "--filter", "devices/b-p0/t", "--rate", 40, "--warmup", 0.7, pids=c.pids, label=c.name,
            duration=seconds(2)))
        show("fanout", f"fan-out, {LINK[tls]}, one to 500, 40 messages a second", got,
             [("cpu_us_del", "us a delivery", ".2f"), ("del_s", "delivered/s", ",.0f"),
              ("lat_p99", "p99 us", ",.0f")],
             [("best", 0.85)])


def bench_latency2(field):
    """From publisher to subscriber at 5,000/s, 100 publishers, measured from when a message was due."""
    for tls in (False, True):
        got = rounds(field.contenders(tls), lambda c, t=tls: load(
            "pubsub", *c.words(t), "--id-prefix", "b", "--pubs", 100, "--subs", 1, "--topic", "devices/%c/t",
            "--filter", "devices/+/t", "--rate", 5000, "--warmup", 0.7, pids=c.pids, label=c.name,
            duration=seconds(2)))
        show("latency2", f"latency, {LINK[tls]}, 5,000/s to one subscriber", got,
             [("lat_p50", "p50 us", ",.0f"), ("lat_p99", "p99 us", ",.0f"), ("cpu_us_del", "us CPU", ".1f")],
             [("best", 1.0)])
        peer = best(got, "lat_p99")
        print(f"  p99: best peer {peer}; ours to its: {ratio(got, peer, 'lat_p99'):.2f}")


def connects(title, contenders, words, goals):
    got = rounds(contenders, lambda c: load(
        "churn", *words(c), "--id-prefix", "b", "--conns", 20, "--warmup", 0.5, pids=c.pids, label=c.name,
        duration=seconds(2)))
    show("handshake", title, got, [("cpu_us_conn", "us CPU", ".0f"), ("connect_s", "connects/s", ",.0f"),
                                   ("resumed", "resumed", ".2f")], goals)


def bench_handshake(field):
    """CPU of connect, CONNECT, CONNACK and close, 20 at a time. Ours checks a token each time."""
    field.idle_devices(20)
    everybody = field.contenders(True)
    full = ["--tls-version", "1.3"]
    connects("connect, TLS 1.3, full handshake", everybody, lambda c: c.words(True) + full,
             [("best", 0.85)])
    for version in ("1.3", "1.2"):
        connects(f"connect, TLS {version}, resumed", everybody,
                 lambda c, v=version: c.words(True) + ["--tls-version", v, "--resume"], [("best", 1.0)])
    folder = temp_folder("hfcert-")
    cert, key = client_certificate(folder)
    strict = Mosquitto(field.ours, client_ca=cert)
    connects("connect, TLS 1.3, full, with a client certificate", [field.ours, strict],
             lambda c: c.words(True) + full + ["--cert", cert, "--key", key], [("best", 0.8)])
    strict.stop()
    password = Mosquitto(field.ours, password=True)
    connects("connect, plain, token against password", [field.ours, password],
             lambda c: c.words(False), [("best", 0.6)])
    password.stop()


def ping_worst(field, stop):
    """Connects a healthy client and pings until told to stop; returns all times in seconds."""
    times = []
    with Mqtt(field.ours.hub, timeout=60) as c:
        assert c.connect("b-p0", "b-p0", field.ours.tokens[0]).code == 0
        while not stop.is_set():
            begin = time.monotonic()
            c.ping(60)
            times.append(time.monotonic() - begin)
            time.sleep(0.01)
    return times


def bench_storm(field):
    """10,000 devices connect over TLS with tokens at once; how long a client that is connected waits for
    its PINGRESP."""
    field.idle_devices(10000)
    rows = []
    for _ in range(max(1, ROUNDS // 2)):
        stop, waits = threading.Event(), []
        t = threading.Thread(target=lambda s=stop, w=waits: w.extend(ping_worst(field, s)))
        t.start()
        r = load("conn", *field.ours.words(True), "--id-prefix", "b", "--conns", 10000, "--conn-burst", 2000,
                 "--hold", 0.5, "--keepalive", 600, pids=field.ours.pids, label="storm")
        stop.set()
        t.join()
        waits.sort()
        rows.append({"connect_s": r["connect_s"], "cpu_us_conn": r["cpu_us_conn"], "con_p99_us": r["con_p99"],
                     "ping_ms": 1e3 * statistics.median(waits), "worst_ping_ms": 1e3 * waits[-1]})
        time.sleep(2)
    results["storm"] = rows
    table("storm, 10,000 reconnects with tokens, TLS 1.3 (goal: no PINGRESP later than 2,000 ms)", [
        ("connections a second", f"{statistics.median(r['connect_s'] for r in rows):,.0f}"),
        ("CPU us each", f"{statistics.median(r['cpu_us_conn'] for r in rows):.0f}"),
        ("PINGRESP of a healthy client, ms, median", f"{statistics.median(r['ping_ms'] for r in rows):.1f}"),
        ("the worst of all rounds, ms", f"{max(r['worst_ping_ms'] for r in rows):.0f}")])


def bench_subs(_field):
    """Wildcard subscriptions of back ends, 100,000 in all: memory of each, and what matching costs."""
    ours, clients, rss, rows = Ours(), [], 0, {}
    make_many(ours.hub, 100, "p")

    def cost(count):
        runs = [load("pub", *ours.words(False), "--id-prefix", "b", "--topic", "devices/%c/t", "--pubs", 100,
                     "--qos", 0, "--rate", 10000, "--warmup", 0.5, pids=ours.pids, label=f"{count}",
                     duration=seconds(2)) for _ in range(ROUNDS)]
        rows[count] = statistics.median(r["cpu_us_pub"] for r in runs)

    def subscribe(k, n):
        c = Mqtt(address=("127.0.0.1", ours.port), timeout=60)
        assert c.connect(f"wide-{k}", "key/service", ours.tokens[1], keep_alive=0).code == 0
        clients.append(c)
        for at in range(0, n, 100):
            codes = c.subscribe(*(f"devices/+/sensor-{k}-{i}/#" for i in range(at, at + 100)))
            assert max(codes) < 0x80, codes
    subscribe(0, 1000)
    cost(1000)
    rss = ours.hub.rss_kib()
    for k in range(1, 100):
        subscribe(k, 1000)
    rss = (ours.hub.rss_kib() - rss) * 1024 / 99000
    cost(100000)
    for c in clients:
        c.close()
    ours.stop()
    results["subs"] = {"bytes": rss, "cpu_us": rows, "rounds": ROUNDS}
    table("100,000 wildcard subscriptions (goals: 200 bytes each, matching as with 1,000)", [
        ("bytes each, sessions and index of all loops", f"{rss:.0f}"),
        ("CPU us a message at 1,000 / 100,000", f"{rows[1000]:.2f} / {rows[100000]:.2f}"),
        ("ratio", f"{rows[100000] / rows[1000]:.2f}")])


def bench_durable(_field):
    """A message to a durable session that is connected, against one that is stored: hub and PostgreSQL."""
    stored = Ours({"HOLDFAST_TELEMETRY_STORE": "#"})
    durable = Ours()
    ratios, rows = [], {"stored": [], "durable": []}
    for o in (stored, durable):
        make_many(o.hub, 100, "p")
    for _ in range(ROUNDS):
        common = ["--id-prefix", "b", "--topic", "devices/%c/t", "--pubs", 100, "--rate", 5000, "--warmup", 1]
        a = load("pub", *stored.words(True), *common, pids=stored.pids + stored.pg.pids(), label="stored")
        b = load("pubsub", *durable.words(True), *common, "--subs", 1, "--filter", "devices/+/t", "--sub-keep",
                 pids=durable.pids + durable.pg.pids(), label="durable")
        rows["stored"].append(a)
        rows["durable"].append(b)
        ratios.append(b["cpu_us_del"] / a["cpu_us_pub"])
    stored.stop()
    durable.stop()
    results["durable"] = {"rows": rows, "ratios": ratios}
    table("5,000 messages a second over TLS, CPU us of hub and PostgreSQL a message (goal: ratio 1.5)", [
        ("stored telemetry", f"{statistics.median(r['cpu_us_pub'] for r in rows['stored']):.0f}"),
        ("to a durable session", f"{statistics.median(r['cpu_us_del'] for r in rows['durable']):.0f}"),
        ("delivered / lost", f"{statistics.median(r['del_s'] for r in rows['durable']):,.0f} / "
                             f"{sum(r['lost'] for r in rows['durable']):.0f}"),
        ("ratio", f"{statistics.median(ratios):.2f}")])


BENCHES = {"publish": bench_publish, "fanin": bench_fanin, "fanout": bench_fanout, "latency2": bench_latency2,
           "handshake": bench_handshake, "storm": bench_storm, "subs": bench_subs, "durable": bench_durable}
