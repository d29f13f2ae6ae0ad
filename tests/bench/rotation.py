"""The rotation of the master key of HF_BENCH_DEVICES devices (100,000) while 100 connections send flat out:
how long it takes, and what it leaves of ingest."""
import os
import statistics
import subprocess
import threading
import time

from lib.hub import as_user, program
from measure import ROUNDS, load, make_many, results, seconds, table

DEVICES = int(os.environ.get("HF_BENCH_DEVICES", "100000"))


class Rotation:
    """A command that runs; what it took once it has ended."""

    def __init__(self, hub):
        self.began = time.monotonic()
        self.process = subprocess.Popen(as_user() + [program(), "rotate-master-key"], env=hub.env(),
                                        cwd=hub.folder, stdout=subprocess.PIPE, text=True)
        self.took, self.out = None, ""
        self.waiter = threading.Thread(target=self.wait)
        self.waiter.start()

    def wait(self):
        self.out = self.process.communicate()[0]
        self.took = time.monotonic() - self.began

    def runs(self):
        return self.took is None

    def end(self):
        self.waiter.join()
        assert self.process.returncode == 0, self.out
        return self.took


def bench_rotation(new_hub):
    """Slices of a few seconds without a rotation, then with one for as long as it takes, then without."""
    ours = new_hub()
    make_many(ours.hub, DEVICES, "k")

    def piece(label):
        return load("pub", *ours.words(), "--pubs", 100, pids=ours.pids(), label=label,
                    duration=seconds(5))["ack_s"]

    rows = []
    piece("warm")
    for _ in range(max(1, ROUNDS // 2)):
        quiet, during = [piece("quiet")], []
        rotation = Rotation(ours.hub)
        while rotation.runs():
            rate = piece("rotating")
            if rotation.runs() or not during:
                during.append(rate)  # the last piece is partly without
        took = rotation.end()
        quiet.append(piece("quiet"))
        rows.append({"seconds": took, "quiet": quiet, "during": during,
                     "ratio": statistics.mean(during) / statistics.mean(quiet)})
    ours.stop()
    results["rotation"] = {"devices": DEVICES, "rounds": rows}
    table(f"Rotation of the master key, {DEVICES:,} devices, under load (goal: 60 s, 0.90)", [
        ("seconds", f"{statistics.median(r['seconds'] for r in rows):.0f}"),
        ("of the rate without", f"{statistics.median(r['ratio'] for r in rows):.2f}"),
        ("acknowledged a second, without / with",
         f"{statistics.median(statistics.mean(r['quiet']) for r in rows):,.0f} / "
         f"{statistics.median(statistics.mean(r['during']) for r in rows):,.0f}")])
