"""Plays one entry of a table against a hub."""
import contextlib
import socket
import time

import packets
from lib import mqtt
from lib.mqtt import Closed, Mqtt

PATIENCE = 8.0  # seconds for what must come
VERBS = ("send", "expect", "connect", "subscribe", "deliver", "silent", "quiet", "wait", "drop")
QUIET = 0.04  # seconds for what must not, when a ping has been answered already


class Wrong(AssertionError):
    """The hub did something else."""


def fill(value, row, version):
    """A copy of value for one row ("{column}") and version ({"v4": …, "v5": …})."""
    if isinstance(value, dict):
        if value and set(value) <= {"v4", "v5"}:
            return fill(value[f"v{version}"], row, version)
        return {k: fill(v, row, version) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, row, version) for v in value]
    if isinstance(value, str):
        for name, v in row.items():
            if value == "{" + name + "}":
                return fill(v, {}, version)
            if isinstance(v, (str, int)):
                value = value.replace("{" + name + "}", str(v))
    return value


class Player:
    """The connections of one entry, by the names that the entry gives them."""

    def __init__(self, address, entry, version, number):
        self.address, self.version, self.number = address, version, number
        self.entry = entry
        self.open, self.versions, self.last_id, self.names = {}, {}, {}, {}
        self.ids = {}  # of messages received, by client: those that "new" may not be
        self.kept, self.retained = {}, set()  # to be cleaned up: sessions, topics

    def play(self):
        try:
            for name in self.entry.get("connected", []):
                self.connect(name, {})
            for i, step in enumerate(self.entry["steps"]):
                try:
                    self.step(step)
                except (Wrong, Closed, TimeoutError, OSError) as e:
                    kind = "" if isinstance(e, Wrong) else f"{type(e).__name__}: "
                    raise Wrong(f"step {i + 1}, {step}: {kind}{e}") from None
        finally:
            self.clean_up()

    # ---- steps ----

    def step(self, step):
        name = step.get("client", "a")
        verbs = [k for k in step if k != "client"]
        if len(verbs) != 1:
            raise packets.BadTable(f"one of send, expect, … in {step}")
        if verbs[0] not in VERBS:
            raise packets.BadTable(f"{verbs[0]} is none of {VERBS}")
        getattr(self, verbs[0])(name, step[verbs[0]])

    def socket(self, name, version=None):
        if name not in self.open:
            self.versions[name] = version or self.version
            self.open[name] = Mqtt(address=self.address, version=self.versions[name],
                                   timeout=PATIENCE)
        return self.open[name]

    def ready(self, name, what):
        """The packet with what a table may leave to us: client ids, ids of messages received."""
        if isinstance(what, str):
            return what
        kind, fields = (what + [{}])[:2]
        fields = dict(fields)
        if kind == "CONNECT":
            fields.setdefault("id", f"wire-{self.number}-{name}")
            if isinstance(fields["id"], str) and fields["id"].startswith("$"):
                fields["id"] = self.names[fields["id"]]
        if fields.get("id") == "last":
            fields["id"] = self.last_id[name]
        return [kind, fields]

    def send(self, name, what):
        what = self.ready(name, what)
        c = self.socket(name, what[1].get("version") if isinstance(what, list) else None)
        self.remember(what)
        c.send(packets.encode(what, self.versions[name]))

    def remember(self, what):
        kind, fields = what if isinstance(what, list) else ("", {})
        if kind == "CONNECT" and (not fields.get("clean", True) or "props" in fields):
            self.kept[str(fields["id"])] = fields["id"]
        for message in [fields.get("will") or {}, fields if kind == "PUBLISH" else {}]:
            if message.get("retain") and isinstance(message["topic"], str):
                self.retained.add(message["topic"])

    def connect(self, name, fields):
        """CONNECT and the CONNACK that lets in; "present": the session was there."""
        fields = dict(fields)
        present = fields.pop("present", False)
        self.send(name, ["CONNECT", fields])
        self.expect(name, ["CONNACK", {"present": present}])

    def subscribe(self, name, filters):
        """SUBSCRIBE and the SUBACK that grants what was asked for."""
        self.send(name, ["SUBSCRIBE", {"id": 99, "filters": filters}])
        self.expect(name, ["SUBACK", {"id": 99, "codes": [packets.number(f[1]) for f in filters]}])

    def deliver(self, name, fields):
        """Expects a PUBLISH and acknowledges it to the end."""
        self.expect(name, ["PUBLISH", fields])
        if fields.get("qos") == 1:
            self.send(name, ["PUBACK", {"id": "last"}])
        elif fields.get("qos") == 2:
            self.send(name, ["PUBREC", {"id": "last"}])
            self.expect(name, ["PUBREL", {"id": "last"}])
            self.send(name, ["PUBCOMP", {"id": "last"}])

    def expect(self, name, what):
        words = [what] if isinstance(what, str) else what
        if words[0] == "close":
            self.expect_close(name, *words[1:])
            return
        if words[0] == "refused":
            self.expect_refusal(name, words[1])
            return
        kind, fields = (list(words) + [{}])[:2]
        fields = dict(fields)
        if fields.get("id") == "last":
            fields["id"] = self.last_id[name]
        elif kind == "PUBLISH":
            fields.setdefault("id", "*")
        p = self.open[name].receive(PATIENCE)
        if fields.get("id") == "new":
            if not p.packet_id or p.packet_id in self.ids.get(name, []):
                raise Wrong(f"not a new packet id, in {packets.show(p)}")
            fields["id"] = p.packet_id
        wrong = packets.compare(p, kind, fields)
        if wrong:
            raise Wrong(f"{wrong}, in {packets.show(p)}")
        if p.kind == mqtt.PUBLISH and p.qos:
            self.last_id[name] = p.packet_id
            self.ids.setdefault(name, []).append(p.packet_id)
        if p.kind == mqtt.CONNACK and "assigned_client_id" in p.props:
            self.names["$assigned"] = p.props["assigned_client_id"]
            self.kept["$assigned"] = self.names["$assigned"]

    def expect_refusal(self, name, code):
        """A CONNACK with the code, then the end; null: the end alone."""
        if code is not None:
            self.expect(name, ["CONNACK", {"code": code}])
        self.expect_end(name)

    def expect_close(self, name, code=None):
        """The end; with a code: MQTT 5 has said why in a DISCONNECT, 3.1.1 has said nothing."""
        if code is not None and self.versions[name] == 5:
            self.expect(name, ["DISCONNECT", {"code": code}])
        self.expect_end(name)

    def expect_end(self, name):
        try:
            p = self.open[name].receive(PATIENCE)
        except Closed:
            self.open.pop(name).close()
            return
        raise Wrong(f"not closed but {packets.show(p)}")

    def silent(self, name, _):
        """What went before has been worked through and nothing came of it."""
        self.send(name, ["PINGREQ"])
        self.expect(name, ["PINGRESP"])
        self.quiet(name, QUIET)

    def quiet(self, name, seconds):
        try:
            p = self.open[name].receive(seconds)
        except TimeoutError:
            return
        raise Wrong(f"not quiet but {packets.show(p)}")

    def wait(self, _, seconds):
        time.sleep(seconds)

    def drop(self, name, _):
        """The client goes without a word; what follows comes after the hub has noticed."""
        c = self.open.pop(name)
        c.socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            c.closed(PATIENCE)
        c.close()

    # ---- afterwards ----

    def clean_up(self):
        """Leaves the hub as it was: no session, will, subscription or retained message."""
        for c in self.open.values():
            self.leave(c, b"\xe0\x00")
        self.open.clear()
        for client_id in self.kept.values():
            with contextlib.suppress(OSError):
                c = Mqtt(address=self.address, version=4, timeout=PATIENCE)
                self.leave(c, packets.encode(["CONNECT", {"id": client_id}], 4) + b"\xe0\x00")
        for topic in self.retained:
            with contextlib.suppress(OSError, Closed, TimeoutError), \
                    Mqtt(address=self.address, version=5, timeout=PATIENCE) as c:
                c.connect(f"wire-{self.number}-janitor")
                c.publish(topic, b"", qos=1, retain=True)

    @staticmethod
    def leave(c, words):
        with contextlib.suppress(OSError, TimeoutError):
            c.send(words)
            c.closed(1.0)
        c.close()
