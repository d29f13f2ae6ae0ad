#!/usr/bin/env python3
"""Certificate authorities, certificates and revocation lists, made by the openssl command line.

  pki.py DIR     writes what tests/unit/registry/test_x509.c reads: one PEM file for each case
"""
import os
import subprocess
import sys
import tempfile
import time

CONFIG = """
[ca]
default_ca = this
[this]
dir = {folder}
database = $dir/index.txt
new_certs_dir = $dir
serial = $dir/serial
crlnumber = $dir/crlnumber
certificate = $dir/authority.pem
private_key = $dir/authority.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = anything
unique_subject = no
copy_extensions = none
preserve = yes
string_mask = utf8only
[anything]
commonName = optional
countryName = optional
organizationName = optional
organizationalUnitName = optional
serialNumber = optional
emailAddress = optional
[req]
distinguished_name = dn
prompt = no
string_mask = utf8only
[dn]
CN = x
"""

ROOT_CA = """basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""
SUB_CA = ROOT_CA + "authorityKeyIdentifier = keyid\n"
LEAF = """basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def openssl(*words, stdin=None):
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout


def stamp(days):
    """A time so many days from now, as `openssl ca` takes it."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def write(path, text):
    with open(path, "w", encoding="utf8") as f:
        f.write(text)


def new_key(path, kind="P-256"):
    if kind.startswith("RSA"):
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[3:]}", "-out", path)
    else:
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{kind}", "-out", path)
    return path


class Certificate:
    """A certificate and its key; chain: what a client sends with it."""

    def __init__(self, path, key, chain=()):
        self.path, self.key, self.chain = path, key, list(chain)

    @property
    def pem(self):
        text = read(self.path)
        return text[text.index("-----BEGIN"):]

    @property
    def der(self):
        return openssl("x509", "-in", self.path, "-outform", "DER")

    def fingerprint(self, digest="sha256"):
        text = openssl("x509", "-in", self.path, "-noout", "-fingerprint", "-" + digest).decode()
        return text.split("=")[1].strip().replace(":", "").lower()

    @property
    def serial(self):
        return openssl("x509", "-in", self.path, "-noout", "-serial").decode().split("=")[1].strip()

    def chain_file(self):
        """The certificate and what goes with it in one file, for ssl.SSLContext.load_cert_chain."""
        path = self.path + ".chain"
        write(path, self.pem + "".join(c.pem for c in self.chain))
        return path


def self_signed(folder, name, subject=None, key="P-256", extensions=LEAF, days=30, md="sha256"):
    """A certificate that nobody else has signed."""
    base = os.path.join(folder, name)
    new_key(base + ".key", key)
    write(base + ".cnf", CONFIG.format(folder=folder))
    write(base + ".ext", extensions.replace("authorityKeyIdentifier = keyid\n", ""))
    openssl("req", "-new", "-config", base + ".cnf", "-key", base + ".key", "-utf8", "-subj",
            subject or f"/CN={name}", "-out", base + ".csr")
    openssl("x509", "-req", "-in", base + ".csr", "-signkey", base + ".key", "-days", str(days),
            "-" + md, "-extfile", base + ".ext", "-out", base + ".pem")
    return Certificate(base + ".pem", base + ".key")


class Authority(Certificate):
    """A certificate that signs others. parent None: it signs itself."""

    def __init__(self, folder, name, parent=None, subject=None, key="P-256", extensions=None, start=-1,
                 end=3650, md="sha256", same_key=None):
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        path, key_path = os.path.join(self.folder, "authority.pem"), os.path.join(self.folder, "authority.key")
        super().__init__(path, key_path)
        self.below_root = []  # what a client sends with a certificate that this one has signed
        self.config = os.path.join(self.folder, "openssl.cnf")
        write(self.config, CONFIG.format(folder=self.folder))
        write(os.path.join(self.folder, "index.txt"), "")
        write(os.path.join(self.folder, "serial"), os.urandom(8).hex() + "\n")
        write(os.path.join(self.folder, "crlnumber"), "01\n")
        if same_key:
            write(key_path, read(same_key.key))
        else:
            new_key(key_path, key)
        subject = subject or f"/CN={name}"
        if parent:
            made = parent.issue(name, subject=subject, key_path=key_path, start=start, end=end, md=md,
                                extensions=SUB_CA if extensions is None else extensions)
            write(path, made.pem)
            self.below_root = [self] + parent.below_root
            self.chain = parent.below_root
        else:
            self._sign(path, key_path, subject, ROOT_CA if extensions is None else extensions, start, end,
                       md, selfsign=True)

    def _sign(self, path, key_path, subject, extensions, start, end, md, selfsign=False):
        base = path[:-4] if path.endswith(".pem") else path
        write(base + ".ext", "[this_ext]\n" + extensions)
        openssl("req", "-new", "-config", self.config, "-key", key_path, "-utf8", "-subj", subject,
                "-out", base + ".csr")
        words = ["ca", "-batch", "-notext", "-config", self.config, "-in", base + ".csr", "-out", path,
                 "-startdate", stamp(start), "-enddate", stamp(end), "-md", md]
        if extensions:
            words += ["-extfile", base + ".ext", "-extensions", "this_ext"]
        if selfsign:
            words += ["-selfsign", "-keyfile", key_path]
        openssl(*words)

    def issue(self, name, subject=None, key="P-256", extensions=LEAF, start=-1, end=30, md="sha256",
              key_path=None):
        """A certificate for subject (default: its CN is name), valid from start to end, in days."""
        base = os.path.join(self.folder, name)
        if key_path is None:
            key_path = new_key(base + ".key", key)
        self._sign(base + ".pem", key_path, subject or f"/CN={name}", extensions, start, end, md)
        return Certificate(base + ".pem", key_path, self.below_root)

    def revoke(self, certificate):
        openssl("ca", "-config", self.config, "-revoke", certificate.path)

    def revoke_many(self, n):
        """Revokes n certificates that were never made."""
        gone, end = stamp(-1)[2:], stamp(30)[2:]
        with open(os.path.join(self.folder, "index.txt"), "a", encoding="ascii") as f:
            for i in range(n):
                f.write(f"R\t{end}\t{gone}\t{0xF00000000000 + i:016X}\tunknown\t/CN=gone\n")

    def crl(self, start=-1, end=30, number=None):
        """A revocation list in PEM of what was revoked so far."""
        if number is not None:
            write(os.path.join(self.folder, "crlnumber"), f"{number:04X}\n")
        return openssl("ca", "-config", self.config, "-gencrl", "-crl_lastupdate", stamp(start),
                       "-crl_nextupdate", stamp(end)).decode()


# ---- what the unit tests read ----

def write_cases(folder):
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        root = Authority(work, "root")
        other = Authority(work, "other", subject="/CN=root")
        sub = Authority(work, "sub", parent=root)
        short = Authority(work, "short", extensions=ROOT_CA.replace("CA:TRUE", "CA:TRUE, pathlen:0"))
        below = Authority(work, "below", parent=short)
        no_ca = Authority(work, "noca", parent=root, extensions=LEAF)
        plain = Authority(work, "plain", extensions="basicConstraints = CA:TRUE\n")
        old = Authority(work, "old", start=-100, end=-1)
        again = Authority(work, "again", subject="/CN=old", same_key=old)
        weak_ca = Authority(work, "weakca", key="RSA1024")
        revoked = root.issue("revoked", subject="/CN=revoked")
        root.revoke(revoked)
        san = LEAF + "subjectAltName = DNS:san-1, URI:urn:dev:san-1, IP:192.0.2.7, email:a@b.example\n"
        certificates = {
            "root": root, "other": other, "sub": sub, "short": short, "below": below, "plain": plain,
            "noca": no_ca, "old": old, "again": again, "weakca": weak_ca, "revoked": revoked,
            "good": root.issue("good", subject="/C=DE/O=Acme/CN=good"),
            "good-sub": sub.issue("good-sub"),
            "good-plain": plain.issue("good-plain", extensions=""),
            "good-again": again.issue("good-again"),
            "by-other": other.issue("by-other", subject="/CN=good"),
            "by-other-bare": other.issue("by-other-bare", subject="/CN=good", extensions=""),
            "bare": root.issue("bare", extensions=""),
            "expired": root.issue("expired", start=-10, end=-1),
            "early": root.issue("early", start=1, end=10),
            "server": root.issue("server", extensions=LEAF.replace("clientAuth", "serverAuth")),
            "no-eku": root.issue("no-eku", extensions=LEAF.replace("extendedKeyUsage = clientAuth\n", "")),
            "too-long": below.issue("too-long"),
            "by-no-ca": no_ca.issue("by-no-ca"),
            "rsa-1024": root.issue("rsa-1024", key="RSA1024"),
            "rsa-2048": root.issue("rsa-2048", key="RSA2048"),
            "p-192": root.issue("p-192", key="prime192v1"),
            "sha1": root.issue("sha1", md="sha1"),
            "by-weak": weak_ca.issue("by-weak"),
            "self": self_signed(work, "self"),
            "san": root.issue("san", subject="/CN=other-name", extensions=san),
            "san-two": root.issue("san-two", extensions=LEAF + "subjectAltName = DNS:one, DNS:two\n"),
            "cn-two": root.issue("cn-two", subject="/CN=one/CN=two"),
            "cn-none": root.issue("cn-none", subject="/O=Acme"),
        }
        for name, made in certificates.items():
            write(os.path.join(folder, name + ".pem"), made.pem)
        many = Authority(work, "many")
        many.revoke_many(100000)
        write(os.path.join(folder, "many.pem"), many.pem)
        write(os.path.join(folder, "many.crl"), many.crl())
        write(os.path.join(folder, "root.crl"), root.crl())
        write(os.path.join(folder, "root-stale.crl"), root.crl(start=-20, end=-10, number=1))
        write(os.path.join(folder, "other.crl"), other.crl())
        root.revoke(sub)
        write(os.path.join(folder, "root-sub.crl"), root.crl(number=0x200))


if __name__ == "__main__":
    write_cases(sys.argv[1])
