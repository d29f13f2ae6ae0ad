"""Plays entries as a device over TLS or WebSocket, where nobody gets in without a credential.

A device has one client id and its own part of the topics. So each client id becomes a device of that
name, and "devices/{id}/" stands before every topic. Entries that need more than that are for the plain
listener alone: several clients, bytes with topics or a CONNECT in them, other ids, topics with a '$'.
"""
import contextlib
import re
import socket
import threading

from lib.hub import device_sas
from lib.mqtt import Mqtt
from lib.ws import WebSocket, tls_socket
import packets
from play import PATIENCE, Player

DEVICE_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}$")
# Bytes with a string in them, or that begin as CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE do.
SAYS_TOPICS = re.compile(r"\s*(1|3|8|a|A)|.*s'")
RESERVED = re.compile(r"(\$share/[^/]*/)?\$(?!share/)")


class Devices:
    """The devices of a hub, made when they are first needed."""

    def __init__(self, hub):
        self.hub, self.tokens, self.lock = hub, {}, threading.Lock()

    def token(self, name):
        with self.lock:
            if name not in self.tokens:
                key = self.hub.device(name)["auth"]["primaryKey"]
                self.tokens[name] = device_sas(name, key)
            return self.tokens[name]


def topics_of(what):
    """All texts of a packet that name topics."""
    kind, fields = (what + [{}])[:2]
    if kind == "SUBSCRIBE":
        return [f[0] for f in packets.listed(fields["filters"])]
    if kind == "UNSUBSCRIBE":
        return packets.listed(fields["filters"])
    return [m["topic"] for m in (fields, fields.get("will") or {}) if "topic" in m]


def is_plain(topic):
    return isinstance(topic, dict) and "hex" in topic or \
        isinstance(topic, str) and not RESERVED.match(topic)


def suits(entry):
    """Whether a device can play it."""
    steps = entry["steps"]
    if set(entry.get("connected", [])) - {"a"} or any(s.get("client", "a") != "a" for s in steps):
        return False
    for step, after in zip(steps, [*steps[1:], {}]):
        ends = isinstance(after.get("expect"), (str, list)) and \
            (after["expect"] == "close" or after["expect"][0] in ("close", "refused"))
        for what in [step.get("send"), step.get("expect"), ["CONNECT", step.get("connect", {})],
                     ["SUBSCRIBE", {"filters": step.get("subscribe", [])}],
                     ["PUBLISH", step.get("deliver", {})]]:
            if isinstance(what, str):
                if SAYS_TOPICS.match(what) and not ends:
                    return False
            elif isinstance(what, list) and what[0] not in ("close", "refused"):
                if not all(map(is_plain, topics_of(what))):
                    return False
                fields = (what + [{}])[1]
                if what[0] == "CONNECT" and not DEVICE_ID.match(str(fields.get("id", "a"))) and not ends:
                    return False
    return True


class DevicePlayer(Player):
    def __init__(self, devices, over, case, number):
        super().__init__(None, case.entry, case.version, number)
        self.devices, self.over, self.ids_of = devices, over, {}

    def socket(self, name, version=None):
        if name not in self.open:
            self.versions[name] = version or self.version
            hub = self.devices.hub
            stream = WebSocket(hub) if self.over == "websocket" else tls_socket(hub, hub.mqtts_port)
            self.open[name] = Mqtt(stream=stream, version=self.versions[name], timeout=PATIENCE)
        return self.open[name]

    def ready(self, name, what):
        what = super().ready(name, what)
        if isinstance(what, str):
            return what
        kind, fields = what
        if kind == "CONNECT":
            self.ids_of[name] = fields["id"]
            known = isinstance(fields["id"], str) and DEVICE_ID.match(fields["id"])
            if known and not {"user", "password", "flags"} & set(fields):
                fields.update(user=fields["id"], password=self.devices.token(fields["id"]))
        return [kind, self.moved(name, kind, fields)]

    def expect(self, name, what):
        if isinstance(what, list) and what[0] == "PUBLISH":
            what = ["PUBLISH", self.moved(name, *what)]
        if isinstance(what, list) and what[0] in ("PUBACK", "PUBREC") and \
                (what + [{}])[1].get("code") == "0x10":
            # Of a device's topics no loop knows alone whether somebody wants them.
            what = [what[0], dict(what[1], code=packets.TAKEN)]
        super().expect(name, what)

    def moved(self, name, kind, fields):
        """The packet's fields with their topics below the device's own."""
        fields = dict(fields)
        if "topic" in fields:
            fields["topic"] = self.own(name, fields["topic"])
        if fields.get("will"):
            fields["will"] = dict(fields["will"], topic=self.own(name, fields["will"]["topic"]))
        if kind == "SUBSCRIBE":
            fields["filters"] = [[self.own(name, f[0]), *f[1:]] for f in packets.listed(fields["filters"])]
        if kind == "UNSUBSCRIBE":
            fields["filters"] = [self.own(name, f) for f in packets.listed(fields["filters"])]
        return fields

    def own(self, name, topic):
        text = packets.octets(topic)
        prefix = f"devices/{self.ids_of.get(name, 'a')}/".encode()
        if not text or text.startswith(prefix):
            return topic
        if text.startswith(b"$share/"):
            parts = text.split(b"/", 2)
            if len(parts) < 3 or not parts[2]:
                return topic
            return {"hex": (b"/".join(parts[:2]) + b"/" + prefix + parts[2]).hex()}
        return {"hex": (prefix + text).hex()}

    def drop(self, name, _):
        stream = self.open[name].socket
        raw = stream.socket if self.over == "websocket" else stream
        socket.socket.shutdown(raw, socket.SHUT_WR)  # below TLS, whose state stays
        c = self.open.pop(name)
        with contextlib.suppress(TimeoutError):
            c.closed(PATIENCE)
        c.close()

    def clean_up(self):
        """Nobody else sees what a device leaves behind."""
        for c in self.open.values():
            self.leave(c, b"\xe0\x00")
        self.open.clear()
