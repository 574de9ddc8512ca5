#!/usr/bin/env python3
"""Makes testdata/material: certificates, keys and lists that are odd, broken or spelled in unusual ways.

Run it by hand (python3 and the openssl command line are enough) and commit what it wrote. Certificates are put together
byte by byte, because no tool writes most of these on purpose; openssl makes the keys and the signatures. Every run makes
new keys; the tests check verdicts at the fixed time NOW, never fingerprints.
"""

import base64
import pathlib
import shutil
import subprocess

OUT = pathlib.Path(__file__).parent / "material"
NOW = "20260601000000Z"  # the tests repeat this number
BEGIN, END = "20260101000000Z", "20360101000000Z"


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


# --- DER ---


def tlv(tag, *content):
    body = b"".join(content)
    size = len(body)
    if size < 128:
        length = bytes([size])
    else:
        digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + body


def sequence(*content):
    return tlv(0x30, *content)


def oid(dotted):
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([40 * first + second])
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        out += bytes(reversed(digits))
    return tlv(0x06, bytes(out))


def integer(number):
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def time(text):
    return tlv(0x17, text[2:].encode()) if text < "2050" else tlv(0x18, text.encode())


NULL = tlv(0x05)
CN, SERIAL, C, L, ST, STREET, O, OU, POSTAL = (f"2.5.4.{n}" for n in (3, 5, 6, 7, 8, 9, 10, 11, 17))
DC, EMAIL, UID = "0.9.2342.19200300.100.1.25", "1.2.840.113549.1.9.1", "0.9.2342.19200300.100.1.1"
UTF8, NUMERIC, PRINTABLE, T61, IA5, BMP = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x1E


def name(*relative):
    """Each relative name is (oid, text), (oid, text, string type) or a list of these."""
    sets = []
    for parts in relative:
        attributes = []
        for kind, text, *tag in parts if isinstance(parts, list) else [parts]:
            tag = tag[0] if tag else UTF8
            data = text if isinstance(text, bytes) else text.encode("utf-16-be" if tag == BMP else "utf-8")
            attributes.append(sequence(oid(kind), tlv(tag, data)))
        sets.append(tlv(0x31, *attributes))
    return sequence(*sets)


def extension(dotted, value, critical=False):
    return sequence(oid(dotted), tlv(0x01, b"\xff") if critical else b"", tlv(0x04, value))


def basic_constraints(ca, limit=None):
    return extension("2.5.29.19", sequence(tlv(0x01, b"\xff") if ca else b"", b"" if limit is None else integer(limit)), True)


def key_usage(bits):
    unused = (bits & -bits).bit_length() - 1
    return extension("2.5.29.15", tlv(0x03, bytes([unused, bits])), True)


def extended_key_usage(*purposes):
    return extension("2.5.29.37", sequence(*map(oid, purposes)))


def alternative_names(*names):
    return extension("2.5.29.17", sequence(*(tlv(tag, data) for tag, data in names)))


DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, CERT_SIGN = 0x80, 0x20, 0x04
SERVER_AUTH, CLIENT_AUTH, ANY_USAGE = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2", "2.5.29.37.0"
CLIENT = [key_usage(DIGITAL_SIGNATURE), extended_key_usage(CLIENT_AUTH)]
AUTHORITY = [basic_constraints(True), key_usage(CERT_SIGN)]

# --- keys and signatures ---


class Key:
    def __init__(self, algorithm, *options):
        arguments = [argument for option in options for argument in ("-pkeyopt", option)]
        self.pem = openssl("genpkey", "-algorithm", algorithm, *arguments)
        self.spki = openssl("pkey", "-pubout", "-outform", "der", stdin=self.pem)
        self.algorithm = algorithm

    def default(self):
        return {"EC": "ecdsa-sha256", "RSA": "rsa-sha256", "ED25519": "ed25519"}[self.algorithm]

    def sign(self, data, scheme):
        path = OUT / ".signing.key"
        path.write_bytes(self.pem)
        try:
            if scheme == "ed25519":
                (OUT / ".signing.data").write_bytes(data)
                return openssl("pkeyutl", "-sign", "-inkey", path, "-rawin", "-in", OUT / ".signing.data")
            kind, digest = scheme.split("-")
            options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:20"] if kind == "pss" else []
            return openssl("dgst", f"-{digest}", "-sign", path, *options, stdin=data)
        finally:
            path.unlink()
            (OUT / ".signing.data").unlink(missing_ok=True)


SCHEMES = {
    "ecdsa-sha256": sequence(oid("1.2.840.10045.4.3.2")),
    "ecdsa-sha1": sequence(oid("1.2.840.10045.4.1")),
    "rsa-sha256": sequence(oid("1.2.840.113549.1.1.11"), NULL),
    "rsa-sha1": sequence(oid("1.2.840.113549.1.1.5"), NULL),
    "rsa-md5": sequence(oid("1.2.840.113549.1.1.4"), NULL),
    "pss-sha1": sequence(oid("1.2.840.113549.1.1.10"), sequence()),  # SHA-1 is the default
    "ed25519": sequence(oid("1.3.101.112")),
}


def signed(content, issuer_key, scheme=None, outer=None):
    scheme = scheme or issuer_key.default()
    return sequence(content, SCHEMES[outer or scheme], tlv(0x03, b"\x00", issuer_key.sign(content, scheme)))


serials = iter(range(0x1001, 0xFFFF))


def certificate(subject, key, issuer, issuer_key, extensions=(), begin=BEGIN, end=END, scheme=None, serial=None, outer=None):
    scheme = scheme or issuer_key.default()
    content = sequence(
        tlv(0xA0, integer(2)) if extensions else b"",
        integer(serial or next(serials)),
        SCHEMES[scheme],
        issuer,
        sequence(time(begin), time(end)),
        subject,
        key.spki,
        tlv(0xA3, sequence(*extensions)) if extensions else b"",
    )
    return signed(content, issuer_key, scheme, outer)


def revocation_list(issuer, issuer_key, serials=(), this=BEGIN, following=END, version=1):
    revoked = [sequence(integer(serial), time(BEGIN)) for serial in serials]
    number = tlv(0xA0, sequence(extension("2.5.29.20", integer(1)))) if version else b""
    content = sequence(
        integer(version) if version else b"",
        SCHEMES[issuer_key.default()],
        issuer,
        time(this),
        time(following),
        sequence(*revoked) if revoked else b"",
        number,
    )
    return signed(content, issuer_key)


# --- files ---


def pem(der, label="CERTIFICATE"):
    text = base64.encodebytes(der).replace(b"\n", b"")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])


def write(file, data):
    (OUT / file).write_bytes(data)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    p256 = ("EC", "ec_paramgen_curve:P-256")
    root_key, middle_key, lower_key, leaf_key = Key(*p256), Key(*p256), Key(*p256), Key(*p256)
    rsa_key, stranger_key = Key("RSA", "rsa_keygen_bits:2048"), Key(*p256)
    root_name, middle_name, lower_name = (name((O, "Acme"), (CN, f"Acme {what} CA")) for what in ("Root", "Middle", "Lower"))
    leaf_name = name((O, "Acme"), (CN, "orders"))
    sans = alternative_names((0x82, b"orders.acme.example"), (0x81, b"orders@acme.example"), (0x86, b"spiffe://acme/orders"))
    leaf_extensions = [*CLIENT, sans]

    root = certificate(root_name, root_key, root_name, root_key, AUTHORITY)
    middle = certificate(middle_name, middle_key, root_name, root_key, AUTHORITY)
    lower = certificate(lower_name, lower_key, middle_name, middle_key, AUTHORITY)
    leaf = certificate(leaf_name, leaf_key, middle_name, middle_key, leaf_extensions)
    low_leaf = certificate(leaf_name, leaf_key, lower_name, lower_key, leaf_extensions)
    stranger_name = name((CN, "Stranger"))
    stranger = certificate(stranger_name, stranger_key, stranger_name, stranger_key, AUTHORITY)

    def own(file, extensions=leaf_extensions, key=leaf_key, **more):
        write(file, pem(certificate(leaf_name, key, middle_name, middle_key, extensions, **more)) + pem(middle))

    # The set that is right.
    chain = pem(leaf) + pem(middle)
    write("chain.pem", chain)
    write("leaf.key", leaf_key.pem)
    write("ca.pem", pem(root))

    # Ways to write PEM.
    write("bom.pem", b"\xef\xbb\xbf" + chain)
    write("crlf.pem", chain.replace(b"\n", b"\r\n"))
    write("text-between.pem", b"Bag Attributes\n    friendlyName: orders\n" + pem(leaf) + b"\nsubject=CN = orders\n\xff\n" + pem(middle))
    write("trailing-garbage.pem", chain + b"\x00\xff garbage -----END of it\n0\x82")
    write("commented-out.pem", chain + b"".join(b"# " + line + b"\n" for line in pem(stranger).splitlines()))
    write("indented.pem", pem(leaf) + b"".join(b"  " + line + b"\n" for line in pem(middle).splitlines()))
    write("glued.pem", pem(leaf).rstrip() + pem(middle))
    write("utf16.pem", b"\xff\xfe" + chain.decode().encode("utf-16-le"))
    write("one-line.pem", pem(leaf).replace(b"\n", b"\\n"))
    write("truncated.pem", chain[:-200])
    write("headless.pem", chain[100:])
    write("unclosed.pem", pem(leaf).replace(b"-----END CERTIFICATE-----\n", b"") + pem(middle))
    write("wrong-end.pem", pem(leaf).replace(b"END CERTIFICATE", b"END X509 CRL"))
    write("bad-base64.pem", pem(leaf) + pem(middle).replace(b"\nMII", b"\nM!I"))
    write("trusted.pem", openssl("x509", "-trustout", stdin=pem(leaf)))
    write("chain.der", leaf)
    write("empty.pem", b"")
    write("text.pem", b"There is nothing in here.\n")
    write("pkcs7.pem", pem(sequence(oid("1.2.840.113549.1.7.2")), "PKCS7"))

    # Certificates that are not right in themselves.
    write("damaged.pem", pem(leaf[:-20]) + pem(middle))
    write("damaged-root.pem", pem(root[:200]))
    write("trailing-der.pem", pem(leaf + b"\x00") + pem(middle))
    own("two-algorithms.pem", scheme="ecdsa-sha256", outer="ecdsa-sha1")
    own("damaged-sans.pem", [*CLIENT, extension("2.5.29.17", b"\x30\x05\x82")])
    own("repeated-sans.pem", [*CLIENT, sans, sans])
    write("version-1.pem", pem(certificate(leaf_name, leaf_key, middle_name, middle_key)) + pem(middle))
    own("no-end-date.pem", end="99991231235959Z")

    # Keys.
    write("rsa.key", rsa_key.pem)
    write("stranger.key", stranger_key.pem)
    sec1 = openssl("ec", "-param_enc", "named_curve", stdin=leaf_key.pem)
    parameters = openssl("ecparam", "-name", "prime256v1")
    write("sec1.key", parameters + sec1)
    write("pkcs1.key", openssl("rsa", "-traditional", stdin=rsa_key.pem))
    write("rsa.pem", pem(certificate(leaf_name, rsa_key, middle_name, middle_key, leaf_extensions)) + pem(middle))
    ed25519 = Key("ED25519")
    write("ed25519.key", ed25519.pem)
    own("ed25519.pem", key=ed25519)
    write("same-key-twice.key", leaf_key.pem + parameters + sec1 + leaf_key.pem)
    write("two-keys.key", leaf_key.pem + stranger_key.pem)
    write("encrypted-pkcs8.key", openssl("pkcs8", "-topk8", "-passout", "pass:secret", stdin=leaf_key.pem))
    write("encrypted-sec1.key", openssl("ec", "-aes128", "-passout", "pass:secret", stdin=leaf_key.pem))
    write("openssh.key", pem(b"openssh-key-v1\x00" + bytes(40), "OPENSSH PRIVATE KEY"))
    write("leaf-key.der", openssl("pkey", "-outform", "der", stdin=leaf_key.pem))
    write("damaged.key", pem(b"\x30\x10" + bytes(16), "PRIVATE KEY"))
    write("truncated.key", leaf_key.pem[:100])
    secp256k1 = Key("EC", "ec_paramgen_curve:secp256k1")
    write("secp256k1.key", secp256k1.pem)
    own("secp256k1.pem", key=secp256k1)
    write("key-first.pem", leaf_key.pem + chain)
    write("key-last.pem", chain + leaf_key.pem)
    write("stranger-inside.pem", chain + stranger_key.pem)

    # Dates.
    own("expired.pem", end="20260529000000Z")
    own("future.pem", begin="20260601000300Z")
    own("soon.pem", begin="20260601000100Z")
    old_middle = certificate(middle_name, middle_key, root_name, root_key, AUTHORITY, end="20260531235959Z")
    write("expired-intermediate.pem", pem(leaf) + pem(old_middle))
    old_root = certificate(root_name, root_key, root_name, root_key, AUTHORITY, end="20260531235959Z")
    write("expired-root.pem", pem(old_root))
    write("chain-with-expired-root.pem", chain + pem(old_root))

    # Usage and strength.
    own("server-only.pem", [key_usage(DIGITAL_SIGNATURE), extended_key_usage(SERVER_AUTH), sans])
    own("any-usage.pem", [extended_key_usage(ANY_USAGE), sans])
    own("no-usage.pem", [sans])
    own("no-signing.pem", [key_usage(KEY_ENCIPHERMENT), extended_key_usage(CLIENT_AUTH), sans])
    own("damaged-usage.pem", [extension("2.5.29.37", b"\x30\x03\x06"), sans])
    server_middle = certificate(middle_name, middle_key, root_name, root_key, [*AUTHORITY, extended_key_usage(SERVER_AUTH)])
    write("server-only-intermediate.pem", pem(leaf) + pem(server_middle))
    rsa1024 = Key("RSA", "rsa_keygen_bits:1024")
    write("rsa1024.key", rsa1024.pem)
    own("rsa1024.pem", key=rsa1024)
    own("sha1.pem", scheme="ecdsa-sha1")
    rsa_root_name = name((CN, "Old RSA CA"))
    for scheme in ("rsa-md5", "pss-sha1"):
        weak = certificate(leaf_name, leaf_key, rsa_root_name, rsa_key, leaf_extensions, scheme=scheme)
        write(f"{scheme}.pem", pem(weak))
    sha1_root = certificate(rsa_root_name, rsa_key, rsa_root_name, rsa_key, AUTHORITY, scheme="rsa-sha1")
    below_old = certificate(leaf_name, leaf_key, rsa_root_name, rsa_key, leaf_extensions)
    write("sha1-root-in-chain.pem", pem(below_old) + pem(sha1_root))

    # Chains.
    write("with-root.pem", chain + pem(root))
    write("three.pem", pem(low_leaf) + pem(lower) + pem(middle))
    write("unordered.pem", pem(low_leaf) + pem(middle) + pem(lower))
    write("leaf-last.pem", pem(middle) + pem(leaf))
    write("stranger.pem", chain + pem(stranger))
    write("leaf-twice.pem", chain + pem(leaf))
    impostor = certificate(middle_name, stranger_key, root_name, root_key, AUTHORITY)
    write("impostor.pem", pem(leaf) + pem(impostor))
    not_authority = certificate(middle_name, middle_key, root_name, root_key, CLIENT)
    write("not-a-ca.pem", pem(leaf) + pem(not_authority))
    cannot_sign = certificate(middle_name, middle_key, root_name, root_key, [basic_constraints(True), key_usage(DIGITAL_SIGNATURE)])
    write("ca-without-cert-sign.pem", pem(leaf) + pem(cannot_sign))
    short_middle = certificate(middle_name, middle_key, root_name, root_key, [basic_constraints(True, 0), key_usage(CERT_SIGN)])
    write("path-too-long.pem", pem(low_leaf) + pem(lower) + pem(short_middle))
    write("path-just-fits.pem", pem(leaf) + pem(short_middle))
    cross = certificate(middle_name, middle_key, rsa_root_name, rsa_key, AUTHORITY)
    write("cross-signed.pem", chain + pem(cross))
    write("seventeen.pem", chain + pem(middle) * 15)
    write("stranger-ca.pem", pem(stranger))
    write("middle-ca.pem", pem(middle))
    write("self-signed.pem", pem(certificate(leaf_name, leaf_key, leaf_name, leaf_key, leaf_extensions)))

    # Revocation lists.
    write("crl.pem", pem(revocation_list(root_name, root_key), "X509 CRL"))
    write("old-crl.pem", pem(revocation_list(root_name, root_key, following="20260531235959Z"), "X509 CRL"))
    write("damaged-crl.pem", pem(revocation_list(root_name, root_key)[:60], "X509 CRL"))
    write("version-1-crl.pem", pem(revocation_list(root_name, root_key, version=0), "X509 CRL"))
    write("crl.der", revocation_list(root_name, root_key))

    # Subjects that are spelled differently everywhere. The tests hold what nats-server makes of them.
    for file, subject in {
        "order": name((CN, "orders"), (O, "Acme"), (C, "NL", PRINTABLE), (SERIAL, "007", PRINTABLE), (L, "Delft"), (ST, "ZH"), (POSTAL, "2611"), (STREET, "Markt 1"), (OU, "Sales")),
        "special": name((O, 'a,b+c"d\\e<f>g;h=i'), (OU, "#first"), (OU, "not#first"), (CN, " both ends ")),
        "one-space": name((O, " "), (CN, "#")),
        "several-units": name((OU, "one"), (OU, "two"), (CN, "x")),
        "multi-valued": name((O, "Acme"), [(CN, "x"), (OU, "one")]),
        "two-common-names": name((CN, "first"), (CN, "last")),
        "domain": name((DC, "com", IA5), (DC, "acme", IA5), (OU, "Sales"), (CN, "orders")),
        "domain-only": name((DC, "com", IA5), (DC, "acme", IA5)),
        "email": name((CN, "orders"), (EMAIL, "orders@acme.example", IA5)),
        "unknown": name((CN, "x"), (UID, "#u,1 "), ("1.2.3.4.5", "é*")),
        "types": name((O, "Zoë", BMP), (OU, b"Zo\xeb", T61), (CN, "日本 é"), (SERIAL, "12 34", NUMERIC)),
        "empty": name(),
        "empty-value": name((O, ""), (CN, "")),
        "control": name((CN, "line\nbreak\tand\x7f")),
    }.items():
        extensions = CLIENT if file != "empty" else [*CLIENT, alternative_names((0x82, b"a.example"), (0x86, b"urn:b"), (0x81, b"c@d"), (0x87, bytes([10, 0, 0, 1])))]
        write(f"name-{file}.pem", pem(certificate(subject, leaf_key, middle_name, middle_key, extensions)) + pem(middle))


main()
