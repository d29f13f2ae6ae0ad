"""Packets of the tables as bytes, and packets from the hub against what a table expects."""
import re
import struct

from lib import mqtt
from lib.mqtt import packet, text, varint

TOKEN = re.compile(r"\s+|(\[)|(\])|s'([^']*)'|'([^']*)'|([0-9a-fA-F]{2})")
FLAGS = {"PUBREL": 2, "SUBSCRIBE": 2, "UNSUBSCRIBE": 2}
KINDS = {name: getattr(mqtt, name) for name in (
    "CONNECT CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK "
    "PINGREQ PINGRESP DISCONNECT AUTH").split()}
TAKEN = [0x00, 0x10]  # the hub may know that nobody wanted a message, and need not ([MQTT-3.4.2-1])
NAMES = {kind: name for name, kind in KINDS.items()}
USUAL = {
    "CONNACK": {"code": 0, "present": False},
    "PUBLISH": {"qos": 0, "retain": False, "dup": False},
    "PUBACK": {"id": 1, "code": TAKEN}, "PUBREC": {"id": 1, "code": TAKEN},
    "PUBREL": {"id": 1, "code": 0}, "PUBCOMP": {"id": 1, "code": 0},
    "SUBACK": {"id": 1}, "UNSUBACK": {"id": 1}, "DISCONNECT": {"code": 0},
}


class BadTable(Exception):
    """A table says something that this file does not understand."""


def number(value):
    """130 and "0x82" are the same."""
    return int(value, 0) if isinstance(value, str) else value


def assemble(source):
    """Bytes from hex with 'characters', s'strings' (behind two bytes of length), [blocks] (behind a
    variable byte integer: the rest of a packet, its properties)."""
    stack, at = [b""], 0
    while at < len(source):
        m = TOKEN.match(source, at)
        if not m:
            raise BadTable(f"bytes: {source[at:]!r}")
        at = m.end()
        opened, closed, string, plain, pair = m.groups()
        if opened:
            stack.append(b"")
        elif closed:
            block = stack.pop()
            stack[-1] += varint(len(block)) + block
        elif string is not None:
            stack[-1] += text(string)
        elif plain is not None:
            stack[-1] += plain.encode()
        elif pair:
            stack[-1] += bytes.fromhex(pair)
    if len(stack) != 1:
        raise BadTable(f"brackets: {source!r}")
    return stack[0]


def octets(value):
    """"text", {"hex": "61 ff"} or {"times": ["a", 1000]}. JSON can write lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf8", "surrogatepass")
    if "hex" in value:
        return assemble(value["hex"])
    what, times = value["times"]
    return octets(what) * times


def listed(value):
    """A list, or {"times": [item, 40]}."""
    return value if isinstance(value, list) else [value["times"][0]] * value["times"][1]


def properties(given):
    """{"name": value}, a list of values for one that comes again; or bytes, length included."""
    if isinstance(given, str):
        return assemble(given)
    ready = {}
    for name, values in given.items():
        form = mqtt.PROPS[name][1]
        many = isinstance(values, list) and not (form == "p" and isinstance(values[0], str))
        ready[name] = []
        for value in values if many else [values]:
            if form == "s":
                value = octets(value)
            elif form == "p":
                value = (octets(value[0]), octets(value[1]))
            ready[name].append(value)
    return mqtt.props(**ready)


def connect(fields, version):
    will, user, password = fields.get("will"), fields.get("user"), fields.get("password")
    flags = 2 if fields.get("clean", True) else 0
    tail = text(octets(fields["id"]))
    if will is not None:
        flags |= 0x04 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
        if version == 5:
            tail += properties(will.get("props", {}))
        tail += text(octets(will["topic"])) + text(octets(will.get("payload", "")))
    if user is not None:
        flags |= 0x80
        tail += text(octets(user))
    if password is not None:
        flags |= 0x40
        tail += text(octets(password))
    flags = number(fields.get("flags", flags))
    level = number(fields.get("level", version))
    body = text(fields.get("protocol", "MQTT")) + bytes([level, flags])
    body += struct.pack(">H", fields.get("keepAlive", 60))
    if version == 5:
        body += properties(fields.get("props", {}))
    return body + tail


def publish(fields, version):
    body = text(octets(fields["topic"]))
    if fields.get("qos"):
        body += struct.pack(">H", fields.get("id", 1))
    if version == 5:
        body += properties(fields.get("props", {}))
    return body + octets(fields.get("payload", ""))


def filters(fields, version, with_options):
    body = struct.pack(">H", fields.get("id", 1))
    if version == 5:
        body += properties(fields.get("props", {}))
    for one in listed(fields["filters"]):
        if not with_options:
            body += text(octets(one))
            continue
        name, qos, more = (one + [{}])[:3]
        options = number(qos) | (4 if more.get("noLocal") else 0)
        options |= (8 if more.get("asPublished") else 0) | more.get("handling", 0) << 4
        body += text(octets(name)) + bytes([options])
    return body


def reason(fields, version):
    """The tail of acknowledgements, DISCONNECT and AUTH: what is not given is left out."""
    if version != 5 or not ("code" in fields or "props" in fields):
        return b""
    body = bytes([number(fields.get("code", 0))])
    return body + properties(fields["props"]) if "props" in fields else body


def encode(what, version):
    """The bytes of a packet in a table: hex, or [NAME, {fields}]."""
    if isinstance(what, str):
        return assemble(what)
    name, fields = (what + [{}])[:2]
    first = FLAGS.get(name, 0)
    if name == "CONNECT":
        body = connect(fields, version)
    elif name == "PUBLISH":
        body = publish(fields, version)
        first = (8 if fields.get("dup") else 0) | fields.get("qos", 0) << 1
        first |= 1 if fields.get("retain") else 0
    elif name in ("SUBSCRIBE", "UNSUBSCRIBE"):
        body = filters(fields, version, name == "SUBSCRIBE")
    elif name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        body = struct.pack(">H", fields.get("id", 1)) + reason(fields, version)
    elif name in ("DISCONNECT", "AUTH", "PINGREQ"):
        body = reason(fields, version)
    else:
        raise BadTable(f"no way to send {name}")
    return packet(KINDS[name], first, body)


# ---- what comes back ----

def show(p):
    """A packet for people who read why a test failed."""
    name = NAMES.get(p.kind, str(p.kind))
    words = [f"{k}={v!r}" for k, v in (
        ("id", p.packet_id), ("code", p.code), ("codes", p.codes), ("topic", p.topic),
        ("qos", p.qos), ("retain", p.retain), ("dup", p.dup),
        ("payload", p.payload and p.payload[:60]), ("props", p.props or None)) if v is not None]
    if p.session_present:
        words.append("present")
    return " ".join([name] + words)


def plain(value):
    """A property's value in a shape that compares: bytes as text, pairs as lists."""
    if isinstance(value, dict):
        value = octets(value)
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def compare_props(p, wanted, exactly):
    got = {name: plain(value) for name, value in p.props.items()}
    for name, value in wanted.items():
        if value == "*" and name in got:
            continue
        if isinstance(value, dict) and "from" in value:
            if value["from"] <= got.get(name, -1) <= value["to"]:
                continue
            return f"property {name} is {got.get(name)}, not from {value['from']} to {value['to']}"
        if name == "subscription_id" and isinstance(value, int):
            value = [value]
        if name == "user" and value and isinstance(value[0], str):
            value = [value]
        if name == "subscription_id" and value is not None:
            value, got[name] = sorted(value), sorted(got.get(name, []))
        if value is None and name in got:
            return f"property {name} is {got[name]!r}"
        if value is not None and got.get(name) != plain(value):
            return f"property {name} is {got.get(name)!r}, not {value!r}"
    more = set(got) - set(wanted)
    return f"unexpected properties {sorted(more)}" if exactly and more else None


def compare(p, name, fields):
    """None, or what is wrong with packet p. QoS 0, not retained, not a duplicate, success and no
    properties are what goes without saying; only a CONNACK may have more than is named."""
    if p.kind != KINDS[name]:
        return "another packet"
    if p.kind != mqtt.PUBLISH and p.flags != FLAGS.get(name, 0):
        return f"reserved flags {p.flags}"
    got = {"id": p.packet_id, "code": p.code, "codes": p.codes, "present": p.session_present,
           "topic": p.topic, "qos": p.qos, "retain": p.retain, "dup": p.dup, "payload": p.payload}
    for field, wanted in {"props": {}, **USUAL.get(name, {}), **fields}.items():
        if field == "props":
            wrong = compare_props(p, wanted, exactly=name != "CONNACK")
            if wrong:
                return wrong
            continue
        if field == "code":
            wanted = [number(code) for code in (wanted if isinstance(wanted, list) else [wanted])]
            if p.code not in wanted:
                return f"code is {p.code:#04x}, not {' or '.join(f'{c:#04x}' for c in wanted)}"
            continue
        if field == "codes":
            wanted = [number(code) for code in wanted]
        elif field == "topic":
            wanted = octets(wanted).decode("utf8")
        elif field == "payload":
            wanted = octets(wanted)
        elif field == "id" and wanted == "*":
            continue
        if got[field] != wanted:
            return f"{field} is {got[field]!r}, not {wanted!r}"
    return None
