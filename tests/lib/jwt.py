"""JSON Web Tokens as a device or an issuer makes them: keys and signatures by the openssl command line."""
import base64
import json
import os
import subprocess
import time


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, check=True, capture_output=True).stdout


class Key:
    """A key pair in a folder: alg ES256 or RS256."""

    def __init__(self, folder, name, alg="ES256", bits=2048, curve="prime256v1"):
        self.alg = alg
        self.path = os.path.join(folder, name + ".pem")
        if alg == "ES256":
            made = _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}")
        else:
            made = _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}")
        with open(self.path, "wb") as f:
            f.write(made)
        self.public = _openssl("pkey", "-in", self.path, "-pubout").decode()

    def sign(self, data):
        signature = _openssl("dgst", "-sha256", "-sign", self.path, data=data)
        return raw_of(signature) if self.alg == "ES256" else signature

    def jwk(self, kid):
        """The public half as RFC 7517 has it."""
        text = _openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")
        if self.alg == "ES256":
            return {"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256", "use": "sig",
                    "x": b64(text[-64:-32]), "y": b64(text[-32:])}
        words = _openssl("rsa", "-in", self.path, "-modulus", "-noout").decode()
        return {"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "e": "AQAB",
                "n": b64(bytes.fromhex(words.strip().split("=")[1]))}


def raw_of(der):
    """SEQUENCE of two INTEGERs -> r and s of 32 bytes each (RFC 7518 section 3.4)."""
    numbers, at = [], 2
    for _ in range(2):
        n = der[at + 1]
        numbers.append(der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0"))
        at += 2 + n
    return b"".join(numbers)


def claims(aud="localhost", seconds=600, **more):
    now = int(time.time())
    found = {"aud": aud, "iat": now, "exp": now + seconds, **more}
    return {k: v for k, v in found.items() if v is not None}


def token(key, payload, header=None, signature=None):
    """payload: claims, or text as it shall stand there."""
    head = {"alg": key.alg, "typ": "JWT", **(header or {})}
    text = payload if isinstance(payload, str) else json.dumps(payload)
    signed = b64(json.dumps(head).encode()) + "." + b64(text.encode())
    return signed + "." + b64(key.sign(signed.encode()) if signature is None else signature)
