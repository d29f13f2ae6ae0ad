"""A small MQTT 3.1.1 and 5 client for tests, written from the standards and apart from the hub's own
codec: it can say wrong things too."""
import os
import socket
import ssl
import struct
import time

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK,
 PINGREQ, PINGRESP, DISCONNECT, AUTH) = range(1, 16)


class Closed(Exception):
    """The peer closed the connection."""


def varint(n):
    out = b""
    while True:
        n, low = divmod(n, 128)
        out += bytes([low | (0x80 if n else 0)])
        if not n:
            return out


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack(">H", len(s)) + s


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def props(**named):
    """Encodes properties: session_expiry=…, user=[(k, v)], …"""
    out = b""
    for name, v in named.items():
        if v is None:
            continue
        pid, form = PROPS[name]
        for one in (v if isinstance(v, list) else [v]):
            out += bytes([pid])
            if form == "B":
                out += bytes([one])
            elif form == "H":
                out += struct.pack(">H", one)
            elif form == "I":
                out += struct.pack(">I", one)
            elif form == "v":
                out += varint(one)
            elif form == "s":
                out += text(one)
            else:
                out += text(one[0]) + text(one[1])
    return varint(len(out)) + out


PROPS = {
    "payload_format": (1, "B"), "message_expiry": (2, "I"), "content_type": (3, "s"),
    "response_topic": (8, "s"), "correlation": (9, "s"), "subscription_id": (11, "v"),
    "session_expiry": (17, "I"), "assigned_client_id": (18, "s"), "server_keep_alive": (19, "H"),
    "auth_method": (21, "s"), "auth_data": (22, "s"), "request_problem": (23, "B"),
    "will_delay": (24, "I"), "request_response": (25, "B"), "response_info": (26, "s"),
    "server_reference": (28, "s"), "reason_string": (31, "s"), "receive_maximum": (33, "H"),
    "topic_alias_maximum": (34, "H"), "topic_alias": (35, "H"), "maximum_qos": (36, "B"),
    "retain_available": (37, "B"), "user": (38, "p"), "maximum_packet_size": (39, "I"),
    "wildcard_available": (40, "B"), "subscription_ids_available": (41, "B"),
    "shared_available": (42, "B"),
}
BY_ID = {v[0]: (k, v[1]) for k, v in PROPS.items()}


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def read_props(data, at):
    n, at = read_varint(data, at)
    end = at + n
    found = {}
    while at < end:
        name, form = BY_ID[data[at]]
        at += 1
        if form == "B":
            value, at = data[at], at + 1
        elif form == "H":
            value, at = struct.unpack_from(">H", data, at)[0], at + 2
        elif form == "I":
            value, at = struct.unpack_from(">I", data, at)[0], at + 4
        elif form == "v":
            value, at = read_varint(data, at)
        else:
            n = struct.unpack_from(">H", data, at)[0]
            value, at = data[at + 2:at + 2 + n], at + 2 + n
            if form == "p":
                n = struct.unpack_from(">H", data, at)[0]
                value, at = (value.decode(), data[at + 2:at + 2 + n].decode()), at + 2 + n
            elif name not in ("correlation", "auth_data"):
                value = value.decode()
        if name in ("user", "subscription_id"):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value
    return found, end


class Packet:
    """A decoded packet from the server; unused members are None."""
    session_present = code = codes = packet_id = topic = payload = None
    qos = retain = dup = None

    def __init__(self, kind, flags, body, version):
        self.kind, self.flags, self.body, self.props = kind, flags, body, {}
        if kind == CONNACK:
            self.session_present, self.code = bool(body[0] & 1), body[1]
            if version == 5 and len(body) > 2:
                self.props, _ = read_props(body, 2)
        elif kind == PUBLISH:
            self.qos, self.retain, self.dup = flags >> 1 & 3, bool(flags & 1), bool(flags & 8)
            n = struct.unpack_from(">H", body)[0]
            self.topic, at = body[2:2 + n].decode(), 2 + n
            if self.qos:
                self.packet_id, at = struct.unpack_from(">H", body, at)[0], at + 2
            if version == 5:
                self.props, at = read_props(body, at)
            self.payload = body[at:]
        elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = struct.unpack_from(">H", body)[0]
            self.code = body[2] if len(body) > 2 else 0
        elif kind in (SUBACK, UNSUBACK):
            self.packet_id, at = struct.unpack_from(">H", body)[0], 2
            if version == 5:
                self.props, at = read_props(body, at)
            self.codes = list(body[at:])
        elif kind == DISCONNECT:
            self.code = body[0] if body else 0
            if len(body) > 1:
                self.props, _ = read_props(body, 1)

    def __repr__(self):
        return f"<packet {self.kind} flags {self.flags} {self.body[:40]!r}>"


class Mqtt:
    """A blocking client. Give hub (TLS), address (plain) or stream (what has sendall, recv, settimeout and
    close, as a socket)."""

    def __init__(self, hub=None, address=None, version=5, timeout=10.0, context=None, stream=None):
        self.version, self.timeout, self.buffer, self.next_id = version, timeout, b"", 0
        self.inbox = []
        if stream is not None:
            self.socket = stream
        elif hub is not None:
            raw = socket.create_connection(("127.0.0.1", hub.mqtts_port), timeout)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = context or ssl.create_default_context(
                cafile=os.path.join(hub.home, "tls", "ca.pem"))
            self.socket = context.wrap_socket(raw, server_hostname="localhost")
        else:
            self.socket = socket.create_connection(address, timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, timeout=None):
        """The next packet; raises Closed or TimeoutError."""
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            got = self._cut()
            if got:
                return got
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no packet came")
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError) as e:
                if isinstance(e, ssl.SSLError) and "timed out" in str(e):
                    raise TimeoutError("no packet came") from e
                raise Closed(str(e)) from e
            except socket.timeout as e:
                raise TimeoutError("no packet came") from e
            if not more:
                raise Closed("end of stream")
            self.buffer += more

    def _cut(self):
        size, shift, at = 0, 0, 1
        while True:
            if at >= len(self.buffer):
                return None
            byte = self.buffer[at]
            size |= (byte & 0x7F) << shift
            shift += 7
            at += 1
            if not byte & 0x80:
                break
        if len(self.buffer) < at + size:
            return None
        first, body = self.buffer[0], self.buffer[at:at + size]
        self.buffer = self.buffer[at + size:]
        return Packet(first >> 4, first & 15, body, self.version)

    def expect(self, *kinds, timeout=None):
        """The next packet of one of these kinds; PUBLISH packets that come before are kept in inbox."""
        while True:
            p = self.receive(timeout)
            if p.kind in kinds:
                return p
            if p.kind == PUBLISH:
                self.inbox.append(p)
            elif p.kind == DISCONNECT:
                raise Closed(f"DISCONNECT {p.code:#x}")

    def closed(self, timeout=None):
        """Reads until the server closes; returns the DISCONNECT reason or None."""
        reason = None
        try:
            while True:
                p = self.receive(timeout)
                if p.kind == DISCONNECT:
                    reason = p.code
        except Closed:
            return reason

    def connect_packet(self, client_id, username=None, password=None, clean=True, keep_alive=60,
                       will=None, properties=None, protocol="MQTT", level=None):
        flags = 0x02 if clean else 0
        tail = text(client_id)
        if will:
            flags |= 0x04 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
            if self.version == 5:
                tail += props(**will.get("props", {}))
            tail += text(will["topic"]) + text(will["payload"])
        if username is not None:
            flags |= 0x80
            tail += text(username)
        if password is not None:
            flags |= 0x40
            tail += text(password)
        body = text(protocol) + bytes([level or self.version, flags]) + struct.pack(">H", keep_alive)
        if self.version == 5:
            body += props(**(properties or {}))
        return packet(CONNECT, 0, body + tail)

    def connect(self, client_id, username=None, password=None, **more):
        """Sends CONNECT, returns the CONNACK."""
        self.send(self.connect_packet(client_id, username, password, **more))
        return self.expect(CONNACK)

    def new_id(self):
        self.next_id = self.next_id % 65535 + 1
        return self.next_id

    def publish_packet(self, topic, payload, qos=0, packet_id=0, retain=False, dup=False, **properties):
        body = text(topic) + (struct.pack(">H", packet_id) if qos else b"")
        if self.version == 5:
            body += props(**properties)
        payload = payload.encode() if isinstance(payload, str) else payload
        return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)

    def publish(self, topic, payload, qos=1, retain=False, timeout=None, **properties):
        """Publishes and waits for the acknowledgement; returns its reason code (None for QoS 0)."""
        packet_id = self.new_id() if qos else 0
        self.send(self.publish_packet(topic, payload, qos, packet_id, retain, **properties))
        if qos == 0:
            return None
        ack = self.expect(PUBACK if qos == 1 else PUBREC, timeout=timeout)
        if ack.packet_id != packet_id:
            raise AssertionError(f"ack of {ack.packet_id} instead of {packet_id}")
        if qos == 2 and ack.code < 0x80:
            self.send(packet(PUBREL, 2, struct.pack(">H", packet_id)))
            self.expect(PUBCOMP, timeout=timeout)
        return ack.code

    def subscribe(self, *filters, qos=1, options=None, **properties):
        """Subscribes, returns the reason codes."""
        packet_id = self.new_id()
        body = struct.pack(">H", packet_id)
        if self.version == 5:
            body += props(**properties)
        for f in filters:
            body += text(f) + bytes([qos if options is None else options])
        self.send(packet(SUBSCRIBE, 2, body))
        return self.expect(SUBACK).codes

    def unsubscribe(self, *filters):
        packet_id = self.new_id()
        body = struct.pack(">H", packet_id) + (b"\0" if self.version == 5 else b"")
        for f in filters:
            body += text(f)
        self.send(packet(UNSUBSCRIBE, 2, body))
        return self.expect(UNSUBACK).codes

    def message(self, timeout=None):
        """The next PUBLISH, acknowledged."""
        p = self.inbox.pop(0) if self.inbox else self.expect(PUBLISH, timeout=timeout)
        if p.qos == 1:
            self.send(packet(PUBACK, 0, struct.pack(">H", p.packet_id)))
        elif p.qos == 2:
            self.send(packet(PUBREC, 0, struct.pack(">H", p.packet_id)))
            self.expect(PUBREL)
            self.send(packet(PUBCOMP, 0, struct.pack(">H", p.packet_id)))
        return p

    def silent(self, seconds=0.3):
        """Whether nothing comes for a while: everything that was to come before is fenced by a ping."""
        self.ping()
        try:
            self.receive(seconds)
        except TimeoutError:
            return not self.inbox
        return False

    def ping(self, timeout=None):
        self.send(packet(PINGREQ, 0, b""))
        self.expect(PINGRESP, timeout=timeout)

    def disconnect(self, reason=0):
        self.send(packet(DISCONNECT, 0, bytes([reason]) if reason else b""))
        self.close()
