"""WebSocket from the client's side, written from RFC 6455: a stream for lib.mqtt, and raw frames that may
be wrong in every way."""
import base64
import hashlib
import os
import socket
import ssl
import struct

from lib.mqtt import Closed

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", fin=True, rsv=0, mask=b"\x11\x22\x33\x44", length=None, form=None):
    """A frame; mask None: none. length lies about the payload, form (7, 16, 64) about how to say it."""
    n = len(payload) if length is None else length
    form = form or (7 if n < 126 else 16 if n < 65536 else 64)
    flag = 0x80 if mask else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if form == 7:
        head += bytes([flag | n])
    elif form == 16:
        head += bytes([flag | 126]) + struct.pack(">H", n)
    else:
        head += bytes([flag | 127]) + struct.pack(">Q", n)
    if mask:
        key = (mask * (len(payload) // 4 + 1))[:len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
        head += mask
    return head + payload


def tls_socket(hub, port=None, alpn=None, context=None, timeout=10.0):
    raw = socket.create_connection(("127.0.0.1", port or hub.https_port), timeout)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = context or ssl.create_default_context(cafile=os.path.join(hub.home, "tls", "ca.pem"))
    if alpn:
        context.set_alpn_protocols(alpn)
    return context.wrap_socket(raw, server_hostname="localhost")


def handshake(path="/mqtt", protocol="mqtt", method="GET", version="HTTP/1.1", **headers):
    """The opening handshake's bytes; a header given as None is left out, '_' in its name is '-'."""
    all_headers = {"Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade",
                   "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Protocol": protocol}
    all_headers.update({k.replace("_", "-"): v for k, v in headers.items()})
    lines = [f"{method} {path} {version}"]
    lines += [f"{k}: {v}" for k, v in all_headers.items() if v is not None]
    return "\r\n".join([*lines, "", ""]).encode()


def read_head(sock):
    """(status, headers in lower case, what came behind the head)"""
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(4096)
        if not more:
            raise Closed(got.decode())
        got += more
    head, rest = got.split(b"\r\n\r\n", 1)
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines)}, rest


class WebSocket:
    """An open WebSocket; as a stream (sendall, recv, settimeout, close) it is a transport of lib.mqtt."""

    def __init__(self, hub, path="/mqtt", protocol="mqtt", headers=None, **more):
        self.socket = tls_socket(hub, **more)
        self.socket.sendall(handshake(path, protocol, **(headers or {})))
        status, self.headers, self.buffer = read_head(self.socket)
        if status != 101:
            raise AssertionError(f"no WebSocket but {status}")
        wanted = base64.b64encode(hashlib.sha1(b"dGhlIHNhbXBsZSBub25jZQ==" + GUID).digest()).decode()
        if self.headers["sec-websocket-accept"] != wanted:
            raise AssertionError(self.headers)
        self.frames = []    # those of data that came, as (opcode, length)
        self.controls = []  # (opcode, payload)

    def settimeout(self, timeout):
        self.socket.settimeout(timeout)

    def close(self):
        self.socket.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def sendall(self, data):
        self.socket.sendall(frame(BINARY, data))

    def _exactly(self, n):
        while len(self.buffer) < n:
            more = self.socket.recv(65536)
            if not more:
                raise Closed("end of stream")
            self.buffer += more
        got, self.buffer = self.buffer[:n], self.buffer[n:]
        return got

    def read_frame(self):
        first, second = self._exactly(2)
        if first & 0x70 or not first & 0x80 or second & 0x80:
            raise AssertionError(f"not a whole, plain, unmasked frame: {first:#x} {second:#x}")
        n = second
        if n == 126:
            n = struct.unpack(">H", self._exactly(2))[0]
        elif n == 127:
            n = struct.unpack(">Q", self._exactly(8))[0]
        return first & 15, self._exactly(n)

    def recv(self, _size=None):
        """The payload of the next data frame, b"" at the end."""
        while True:
            try:
                opcode, payload = self.read_frame()
            except Closed:
                return b""
            if opcode == BINARY:
                self.frames.append((opcode, len(payload)))
                return payload
            self.controls.append((opcode, payload))

    def close_code(self):
        """Reads to the end; the code of the close frame, 0: it had none, None: no close frame came."""
        while self.recv():
            pass
        bodies = [payload for opcode, payload in self.controls if opcode == CLOSE]
        if not bodies:
            return None
        return struct.unpack(">H", bodies[0][:2])[0] if bodies[0] else 0
