#!/usr/bin/env python3
"""How fast one query streams decrypted messages as NDJSON, and what it costs the hub."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import measure  # noqa: E402
from lib.hub import Hub  # noqa: E402

ROWS = int(os.environ.get("HF_ROWS", "300000"))
SECRET = "a-secret-of-16-or-more"


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf8") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def fill(hub):
    """At least ROWS messages of 200 bytes of one device; how many there are."""
    stats = "/devices/s-p0/telemetry/stats"
    hub.device("s-p0", auth={"type": "secret", "secret": SECRET})
    while hub.request("GET", stats).json["messages"] < ROWS:
        measure.load("pub", "--id-prefix", "s", "--v5", "--tls", "--insecure", "--port", hub.mqtts_port,
                     "--user", "%c", "--pass", SECRET, "--topic", "devices/%c/t", "--window", 200, duration=5)
    return hub.request("GET", stats).json["messages"]


def stream(hub, path, accept):
    command = ["curl", "-sSf", "--cacert", os.path.join(hub.home, "tls", "ca.pem"), "-H",
               f"Authorization: {hub.owner}", "-H", f"Accept: {accept}", "-o", "/dev/null", "-w", "%{size_download}",
               f"https://localhost:{hub.https_port}/api/v1{path}"]
    cpu, begun = cpu_seconds(hub.pid), time.monotonic()
    size = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return time.monotonic() - begun, cpu_seconds(hub.pid) - cpu, size


def main():
    measure.build()
    hub = Hub()
    n = fill(hub)
    hub.pg.sql("ANALYZE holdfast.telemetry")
    results, rows = {}, []
    for name, path, accept in (("one device, NDJSON", "/devices/s-p0/telemetry/stream", "application/x-ndjson"),
                               ("one device, CSV", "/devices/s-p0/telemetry/stream", "text/csv"),
                               ("the hub, NDJSON", "/telemetry/stream", "application/x-ndjson")):
        took, cpu, size = min(stream(hub, path, accept) for _ in range(measure.ROUNDS))
        results[name] = {"rows": n, "seconds": took, "cpu": cpu, "bytes": size}
        rows.append((name, f"{n / took:9,.0f} messages/s", f"{cpu / n * 1e6:5.2f} us of the hub's CPU each",
                     f"{n / cpu:9,.0f} a second of one core", f"{hub.rss_kib() // 1024} MiB"))
    measure.table(f"Streams of {n:,} messages of 200 bytes", rows)
    with open(os.path.join(measure.OUT, "stream.json"), "w", encoding="utf8") as f:
        json.dump(results, f, indent=1)


main()
