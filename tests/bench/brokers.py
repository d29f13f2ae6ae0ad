"""The benches that compare brokers: telemetry.store is empty, everybody forwards and nobody stores.

Each takes the field of contenders, prints a table and keeps its rows in measure.results."""
import os
import statistics
import threading
import time

from contenders import PASSWORD, Floor, Mosquitto, Ours, Program, named_peers, settle, tls_words
from lib.hub import sas, temp_folder
from lib.mqtt import Mqtt
from measure import FLOOR, ROUNDS, load, make_many, results, seconds, table

LINK = {False: "plain", True: "TLS 1.3"}


class Field:
    """Hub, floor and peers, started once for all benches."""

    def __init__(self):
        self.ours = Ours()
        make_many(self.ours.hub, 1000, "p")
        self.floor = Floor(self.ours, FLOOR)
        self.peers = [Mosquitto(self.ours), *named_peers(self.ours)]

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
    """One publisher to 500 subscribers, 20 messages a second, QoS 1; CPU a delivery."""
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


BENCHES = {"publish": bench_publish, "fanin": bench_fanin, "fanout": bench_fanout, "latency2": bench_latency2}
