"""What identity and access cost: a connect with each kind of credential, and with many rules in force.

The hubs store no telemetry."""
import os
import statistics
import subprocess

from contenders import Floor, Ours, client_certificate, settle
from lib.hub import sas, temp_folder, wait_for
from measure import FLOOR, LOAD, ROUNDS, load, make_many, results, seconds, table

FRESH = 4000  # devices that connect once in a round, so that none is in a cache


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def authority(hub, folder, name):
    """A registered authority; its key stays in the folder."""
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            f"/CN={name}", "-days", "30", "-out", f"{name}.pem", "-keyout", f"{name}.key")
    r = hub.request("POST", "/authorities", {"name": name, "certificate": read(folder, f"{name}.pem")})
    assert r.status == 201, r
    issue(folder, name, r.json["challenge"], "proof")
    r = hub.request("POST", f"/authorities/{name}/verify", {"certificate": read(folder, "proof.pem")})
    assert r.status == 200, r


def issue(folder, issuer, cn, name):
    openssl(folder, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            f"/CN={cn}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key",
            "-CAcreateserial", "-days", "7", "-out", f"{name}.pem")
    return [f"{folder}/{name}.pem", f"{folder}/{name}.key"]


def read(folder, name):
    with open(os.path.join(folder, name), encoding="ascii") as f:
        return f.read()


def bench_connect():
    """A connect with a token and an identity that no cache knows, beside a bare handshake and CONNECT."""
    ours = Ours()
    floor = Floor(ours, FLOOR)
    rows = []
    for i in range(ROUNDS + 1):
        make_many(ours.hub, FRESH, f"r{i}-i")
        ours.restart()  # nothing is cached but the key, once the first has come
        settle()
        pair = []
        for who in (ours, floor):
            pair.append(load("conn", *who.words(True), "--id-prefix", f"b-r{i}", "--conns", FRESH, "--conn-burst", 200, "--hold", 0.3, "--keepalive",
                             600, pids=who.pids, label=who.name)["cpu_us_conn"])
        if i:
            rows.append(pair)
    floor.stop()
    ours.stop()
    results["connect"] = rows
    table(f"connect, TLS 1.3, {FRESH:,} devices for the first time: hub CPU us (goal: 80 more than bare)", [
        ("token, identity read from the database", f"{statistics.median(r[0] for r in rows):.0f}"),
        ("bare handshake and CONNECT", f"{statistics.median(r[1] for r in rows):.0f}"),
        ("difference", f"{statistics.median(r[0] - r[1] for r in rows):.0f}")])


def bench_certificates():
    """One client that connects again and again, with each way to prove who it is."""
    ours, folder = Ours(), temp_folder("hfcert-")
    authority(ours.hub, folder, "fleet")
    shown = client_certificate(folder)
    device = ours.hub.device("b-i0", auth={"type": "sas"})
    token = sas("localhost/devices/b-i0", device["auth"]["primaryKey"], seconds=86400)
    mine = issue(folder, "fleet", "b-i0", "mine")
    digest = subprocess.run(["openssl", "x509", "-in", mine[0], "-noout", "-fingerprint", "-sha256"], check=True,
                            capture_output=True, text=True).stdout.split("=")[1].strip().replace(":", "")
    kinds = {
        "token": ({"type": "sas"}, ["--user", "%c", "--pass", token]),
        "token, a certificate shown": (None, ["--user", "%c", "--pass", token, "--cert", shown[0], "--key",
                                              shown[1]]),
        "thumbprint": ({"type": "x509Thumbprint", "primaryThumbprint": digest.lower()},
                       ["--cert", mine[0], "--key", mine[1]]),
        "authority": ({"type": "x509Ca"}, ["--cert", mine[0], "--key", mine[1]]),
    }
    rows = {k: [] for k in kinds}
    common = ["--port", ours.hub.mqtts_port, "--tls", "--tls-version", "1.3", "--cafile", ours.ca, "--sni",
              "localhost", "--id-prefix", "b", "--conns", 1, "--warmup", 0.5]
    for _ in range(ROUNDS):
        for kind, (auth, words) in kinds.items():
            if auth:
                if auth["type"] == "sas":
                    auth = {"type": "sas", "primaryKey": device["auth"]["primaryKey"]}
                r = ours.hub.request("PATCH", "/devices/b-i0", {"auth": auth})
                assert r.status == 200, r
            rows[kind].append(load("churn", *common, *words, pids=ours.pids, label=kind,
                                   duration=seconds(2))["cpu_us_conn"])
            settle()
    ours.stop()
    results["certificates"] = rows
    table("connect, TLS 1.3, one client at a time, by credential: hub CPU us", [
        (kind, f"{statistics.median(r):.0f}") for kind, r in rows.items()])


def many_rules(pg):
    """10,000 IP rules, written past the API; the hub reads them as any others."""
    pg.sql("INSERT INTO documents (kind, name, etag, doc) SELECT 'i', 'r' || i, 'x',"
           " json_build_object('id', 'r' || i, 'action', CASE i % 2 WHEN 0 THEN 'allow' ELSE 'deny' END, 'cidr',"
           " '10.' || i / 250 || '.' || i % 250 || '.0/24', 'scope', 'hub', 'priority', i)"
           " FROM generate_series(0, 9999) i;")


def policy(i):
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:Publish",
         "Resource": f"arn:aws:iot:r:1:topic/x{i}/${{iot:Connection.Thing.ThingName}}/*"}]}


def bench_rules():
    """Connects per second with rules, policies, devices and connections by the thousand, beside none."""
    none, many = Ours(), Ours()
    many_rules(many.pg)
    for i in range(1000):
        r = many.hub.request("POST", "/policies", {"name": f"p{i}", "document": policy(i)})
        assert r.status == 201, r
    for o in (none, many):
        make_many(o.hub, 20, "c-i")
    many.pg.sql("WITH d AS (INSERT INTO devices (device_key, id, generation_id, etag, enabled, auth)"
                " SELECT nextval('device_seq'), 'bulk-' || i, 'g', 'x', true, 3 FROM generate_series(1, 100000) i"
                " RETURNING device_key) INSERT INTO links (subject_kind, subject, letter, value)"
                " SELECT 'd', device_key, 'p', 'p' || device_key % 1000 FROM d")
    for i in range(20):
        assert many.hub.request("PUT", f"/devices/b-c-i{i}/policies/p{i}").status in (200, 201, 204)
    make_many(many.hub, 10000, "i")
    many.restart()
    idle = subprocess.Popen([LOAD, "conn", *map(str, many.words(True)), "--id-prefix", "b", "--conns", "10000",
                             "--conn-burst", "200", "--hold", "3600", "--keepalive", "1200", "--quiet"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: many.hub.metric("holdfast_mqtt_clients") >= 10000, 120, "10,000 connections")
    rows = []
    for i in range(ROUNDS + 1):
        pair = [load("churn", *o.words(True), "--id-prefix", "b-c", "--conns", 20, "--warmup", 0.5, pids=o.pids,
                     label=o.name, duration=seconds(3)) for o in ((none, many) if i % 2 else (many, none))]
        settle()
        if i:
            rows.append(pair if i % 2 else pair[::-1])
    idle.kill()
    idle.wait()
    none.stop()
    many.stop()
    results["rules"] = rows
    rate = statistics.median(b["connect_s"] / a["connect_s"] for a, b in rows)
    cpu = statistics.median(b["cpu_us_conn"] / a["cpu_us_conn"] for a, b in rows)
    table("connects over TLS with 10,000 IP rules, 1,000 policies, 100,000 devices, 10,000 connections, beside"
          " none (goal: within 5 %)", [
              ("connects a second, ratio", f"{rate:.2f}"), ("CPU a connect, ratio", f"{cpu:.2f}")])


BENCHES = {"connect": bench_connect, "certificates": bench_certificates, "rules": bench_rules}
