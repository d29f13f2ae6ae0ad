"""What the benches share: the programs, one run of the load generator, rounds, medians, tables."""
import http.client
import json
import os
import statistics
import subprocess
import threading

from lib.hub import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(ROOT, "build", "bench")
LOAD = os.path.join(OUT, "mqttload")
FLOOR = os.path.join(OUT, "floor")
ROUNDS = int(os.environ.get("HF_ROUNDS", "5"))
results = {}


def seconds(default):
    return float(os.environ.get("HF_SECONDS", default))


def build():
    os.makedirs(OUT, exist_ok=True)
    if not os.environ.get("HF_BIN"):
        subprocess.run(["make", "-s", "-C", ROOT, "all"], check=True)
    for out in (LOAD, FLOOR):
        source = os.path.join(HERE, os.path.basename(out) + ".c")
        subprocess.run(["gcc", "-O2", "-g", "-std=gnu11", "-o", out, source, "-lssl", "-lcrypto", "-lpthread",
                        "-lm"], check=True)
    # The contenders run as another user.
    os.chmod(FLOOR, 0o755)


def load(mode, *words, pids=(), label="", duration=None):
    """One run of the generator; its JSON line."""
    command = [LOAD, mode, "--quiet", "--label", label, "--size", "200", "--json-payload", "--qos", "1",
               "--duration", str(duration or seconds(5)), *map(str, words)]
    if pids:
        command += ["--pid", ",".join(map(str, pids))]
    out = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if not out.stdout:
        raise RuntimeError(f"{label}: {out.stderr[-500:]}")
    doc = json.loads(out.stdout)
    if doc["failed"] or doc["dropped"]:
        raise RuntimeError(f"{label}: {doc['failed']} failed, {doc['dropped']} dropped: {out.stderr[-500:]}")
    return doc


def median(rows, field):
    return statistics.median(r[field] for r in rows)


def table(title, rows):
    print(f"\n{title}")
    width = max(len(r[0]) for r in rows)
    for name, *cells in rows:
        print(f"  {name:{width}}  " + "  ".join(str(c) for c in cells), flush=True)


def make_many(hub, n, kind, body=None):
    """Devices by the thousand (b-{kind}0 …), over a few connections kept alive. body(i): the document."""
    def run(k):
        c = http.client.HTTPSConnection("localhost", hub.https_port, context=hub.tls())
        for i in range(k, n, 4):
            c.request("PUT", f"/api/v1/devices/b-{kind}{i}", json.dumps(body(i) if body else {}),
                      {"Authorization": hub.owner, "Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
            assert r.status in (200, 201), (r.status, text)
    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
