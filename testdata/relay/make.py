#!/usr/bin/env python3
"""Makes testdata/relay: what real nats-servers said, and how they judged what no client should say.

Run it by hand (python3, openssl and scripts/nats-server are enough) and commit what it wrote. Servers run on loopback and
are ended by the script. Identifiers, nonces and addresses differ with each run; the tests look at none of them.

  judged.json        inputs and nats-server's answer: the parser must give the same, or is stricter on purpose and says why
  client_parser/     what clients send, one connection each
  server_parser/     what nats-server sent on those connections
  info/  connect/    the JSON of single lines

Everything but judged.json is also the corpus that the fuzz targets of the same names start from.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).parent
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}\r\n'
SECRET = "s3cret-of-the-corpus"


# --- servers ---


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(folder, config="", **more):
    """A nats-server with this configuration; yields its port and its process."""
    port = free_port()
    path = pathlib.Path(folder) / f"{port}.conf"
    path.write_text(f"listen: 127.0.0.1:{port}\nserver_name: corpus-{port}\n" + config.format(port=port, **more))
    process = subprocess.Popen([os.environ["NATS_SERVER"], "-c", path], stderr=subprocess.PIPE)
    for line in process.stderr:
        if b"Server is ready" in line:
            break
    else:
        raise SystemExit(f"nats-server did not start with:\n{path.read_text()}")
    try:
        yield port, process
    finally:
        process.kill()
        process.wait()


class Wire:
    """A connection as it is, that remembers both directions."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.sent, self.heard, self.closed = b"", b"", False
        self.until(b"\r\n")

    def until(self, marker, start=None):
        """Reads until the marker comes behind `start`; a closed connection ends it too."""
        start = len(self.heard) if start is None else start
        while marker not in self.heard[start:] and not self.closed:
            self.read()
        return self

    def read(self):
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        self.heard += piece
        self.closed = not piece

    def say(self, sent, marker=None):
        start = len(self.heard)
        self.sent += sent
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(sent)
        if marker:
            self.until(marker, start)
            assert not self.closed, self.heard[start:]
        return self

    def quiet(self, seconds):
        """Reads until nothing has come for so long."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            while not self.closed:
                self.read()
        self.socket.settimeout(5)
        return self


# --- what no client should say ---

# name, what is sent behind CONNECT (or instead of it, if it begins with one), why the relay refuses what the server takes
JUDGED = [
    # Told apart by the first bytes.
    ("binary junk", bytes(range(128, 256)) * 4, None),
    ("a TLS handshake", bytes.fromhex("16030100c8010000c40303") + bytes(60), None),
    ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None),
    ("an unknown verb", b"HELLO\r\n", None),
    ("an empty line", b"\r\n", None),
    ("a blank in front", b" PING\r\n", None),
    ("what servers say", b"MSG a 1 1\r\nx\r\n", None),
    ("what routes say", b"RS+ $G a\r\n", None),
    ("what leaf nodes say", b"LS+ a\r\n", None),
    ("what accounts say", b"A+ a\r\n", None),
    ("a beginning that goes wrong late", b"CONNECx\r\n", None),
    ("a verb without arguments", b"PUB\r\n", None),
    ("a verb that goes on", b"PUBLISH a 1\r\nx\r\n", None),
    ("a subscription that goes on", b"SUBS a 1\r\nPING\r\n", None),
    ("an end that goes on", b"UNSUBS a\r\nPING\r\n", None),
    ("headers that go on", b"HPUBx a 0 0\r\n\r\nPING\r\n", None),
    ("an error that goes on", b"-ERRx\r\nPING\r\n", None),
    ("half a verb", b"SU\r\nPING\r\n", None),
    ("messages with headers from a client", b"HMSG a 1 1 1\r\n", None),
    # Limits.
    ("an endless control line", b"SUB " + b"a" * 100_000, None),
    ("a control line at the limit", b"SUB " + b"a" * 4092 + b" 12\r\nSUB " + b"a" * 4094 + b" 1\r\nPING\r\n", None),
    ("a control line over the limit", b"SUB " + b"a" * 4094 + b" 12\r\nPING\r\n", None),
    ("an endless CONNECT", b'CONNECT {"name":"' + b"a" * 100_000, None),
    ("endless blanks", b"SUB " + b" " * 8000 + b"a 1\r\nPING\r\n", "blanks count: nats-server reads them without end"),
    ("an endless ping", b"PING" + b"a" * 8000 + b"\r\nPING\r\n", "what is ignored counts: nats-server reads it without end"),
    ("an endless +OK", b"+OK" + b"a" * 8000 + b"\r\nPING\r\n", "what is ignored counts: nats-server reads it without end"),
    # Payloads.
    ("a payload at the limit", b"PUB a 1048576\r\n" + b"x" * 1048576 + b"\r\nPING\r\n", None),
    ("a payload over the limit", b"PUB a 1048577\r\n", None),
    ("a payload with headers over the limit", b"HPUB a 1 1048577\r\n", None),
    ("a payload of nine digits", b"PUB a 999999999\r\n", None),
    ("a payload that overflows", b"PUB a 18446744073709551621\r\nhello\r\n", None),
    ("a payload of ten digits", b"PUB a 0000000005\r\nhello\r\n", None),
    ("a negative payload", b"PUB a -1\r\nx\r\n", None),
    ("a payload with a sign", b"PUB a +1\r\nx\r\n", None),
    ("a payload in what comes behind digits", b"PUB a :\r\nx\r\n", None),
    ("a payload in what comes before digits", b"PUB a /\r\nx\r\n", None),
    ("a payload in hexadecimal", b"PUB a 0x1\r\nx\r\n", None),
    ("a payload that is no number", b"PUB a many\r\nx\r\n", None),
    ("a payload without its line end", b"PUB a 5\r\nhelloPING\r\n", None),
    ("a payload with half its line end", b"PUB a 5\r\nhello\nPING\r\n", None),
    ("a payload that ends in the other half", b"PUB a 5\r\nhello\rPING\r\n", None),
    ("a payload that is longer", b"PUB a 4\r\nhello\r\nPING\r\n", None),
    ("a payload that is shorter", b"PUB a 6\r\nhello\r\nPING\r\n", None),
    ("an empty payload", b"PUB a 0\r\n\r\nPING\r\n", None),
    ("an empty payload without its line end", b"PUB a 0\r\nPING\r\n", None),
    ("a size with zeros in front", b"PUB a 000000005\r\nhello\r\nPING\r\n", None),
    ("headers longer than the whole", b"HPUB a 6 5\r\nhello\r\n", None),
    ("headers of negative length", b"HPUB a -1 5\r\nhello\r\n", None),
    ("headers that are the whole", b"HPUB a 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n", None),
    ("headers of no length", b"HPUB a 0 5\r\nhello\r\nPING\r\n", None),
    ("headers without the whole", b"HPUB a 5\r\nhello\r\n", None),
    ("publishing nowhere", b"PUB 5\r\nhello\r\n", None),
    ("publishing to too many", b"PUB a b c 5\r\nhello\r\n", None),
    # Subscriptions.
    ("a subscription without its identifier", b"SUB a\r\n", None),
    ("a subscription of too many words", b"SUB a b c d\r\n", None),
    ("a subscription to what is no subject", b"SUB a..b 1\r\nPING\r\n", None),
    ("a subscription to a subject that begins with nothing", b"SUB .a 1\r\nPING\r\n", None),
    ("a subscription to a subject that ends with nothing", b"SUB a. 1\r\nPING\r\n", None),
    ("a subscription to something behind everything", b"SUB a.>.b 1\r\nSUB >.> 2\r\nPING\r\n", None),
    ("a subscription to wildcards", b"SUB > 1\r\nSUB * 2\r\nSUB a.*.> 3\r\nPING\r\n", None),
    ("a subscription to what only looks like wildcards", b"SUB a>.b 1\r\nSUB *a.>> 2\r\nSUB >>.a 3\r\nPING\r\n", None),
    ("a subscription to odd letters", b"SUB a\x0c.\x0b 1\r\nSUB \xff.\x00 2\r\nPING\r\n", None),
    ("the end of no subscription", b"UNSUB\r\n", None),
    ("the end of a subscription in blanks", b"UNSUB  \r\n", None),
    ("the end of an unknown subscription", b"UNSUB 77\r\nPING\r\n", None),
    ("the end after no number", b"SUB a 1\r\nUNSUB 1 soon\r\nPING\r\n", None),
    ("the end after a negative number", b"SUB a 1\r\nUNSUB 1 -7\r\nPING\r\n", None),
    ("the end after too many words", b"UNSUB 1 2 3\r\n", None),
    # Tolerance.
    ("any case", b"piNG\r\nsUb a 1\r\npuB a 1\r\nx\r\nping\r\n", None),
    ("tabs", b"SUB\ta\t1\r\nPUB\t a \t 1 \r\nx\r\nPING\r\n", None),
    ("line feeds alone", b"SUB a 1\nPUB a 1\nx\r\nPING\n", None),
    ("blanks behind", b"SUB a 1  \r\nPUB a 1 \t\r\nx\r\nPING \r\n", None),
    ("a ping with more", b"PINGS and more\r\nPONG x\r\nPING\r\n", None),
    ("+OK from a client", b"+OK\r\n+ok whatever\r\nPING\r\n", None),
    ("INFO from a client", b"INFO {}\r\nPING\r\n", None),
    ("-ERR from a client", b"-ERR 'so what'\r\nPING\r\n", None),
    ("control characters in a subject", b"SUB a\x01\x1fb 1\r\nPUB a\x01\x1fb 1\r\nx\r\nPING\r\n", None),
    ("bytes that are no text in a subject", b"SUB \xff\xfe 1\r\nPUB \xff\xfe 1\r\nx\r\nPING\r\n", None),
    # Where two parsers in a row could disagree.
    ("a carriage return in a subject", b"SUB a\rb 1\r\nPING\r\n", "a carriage return ends a line or has no place in it"),
    ("two carriage returns", b"SUB a 1\r\r\nPING\r\n", "a carriage return ends a line or has no place in it"),
    ("two carriage returns behind a size", b"PUB a 1\r\r\nx\r\nPING\r\n", None),
    ("a carriage return that eats a digit", b"PUB a\rb 12\nx\r\nPING\r\n", "a carriage return ends a line or has no place in it"),
    ("a line end behind a blank", b"SUB \na 1\r\nPING\r\n", "arguments do not begin on the next line"),
    ("a line end before a size", b"PUB \na 1\r\nx\r\nPING\r\n", "arguments do not begin on the next line"),
    ("a CONNECT that begins on the next line", b"CONNECT\n{}\r\nPING\r\n", "arguments do not begin on the next line"),
    ("a carriage return in a CONNECT", b'CONNECT {"verbose":\rfalse}\r\nPING\r\n', "a carriage return ends a line or has no place in it"),
    # CONNECT.
    ("a CONNECT without a blank", b'CONNECT{"verbose":false}\r\nPING\r\n', None),
    ("a CONNECT that says nothing", b"CONNECT {}\r\nPING\r\n", None),
    ("a CONNECT in capitals", b'CONNECT {"VERBOSE":false,"Name":"a"}\r\nPING\r\n', None),
    ("a CONNECT that says it twice", b'CONNECT {"verbose":true,"verbose":false}\r\nPING\r\n', None),
    ("a CONNECT that says it twice and then null", b'CONNECT {"verbose":false,"verbose":null}\r\nPING\r\n', None),
    ("a CONNECT with letters that fold", '{"verboſe":false}'.encode().join([b"CONNECT ", b"\r\nPING\r\n"]), None),
    ("a CONNECT with nothing", b"CONNECT \r\n", None),
    ("a CONNECT that is cut off", b'CONNECT {"verbose":false\r\n', None),
    ("a CONNECT that is no object", b"CONNECT []\r\n", None),
    ("a CONNECT of null", b"CONNECT null\r\nPING\r\n", "CONNECT is an object"),
    ("a CONNECT with more behind", b"CONNECT {} {}\r\n", None),
    ("a CONNECT with a comma too many", b'CONNECT {"verbose":false,}\r\n', None),
    ("a CONNECT with a flag that is none", b'CONNECT {"verbose":"no"}\r\n', None),
    ("a CONNECT with a name that is none", b'CONNECT {"name":7}\r\n', None),
    ("a CONNECT with a password that is none", b'CONNECT {"user":"a","pass":["b"]}\r\n', None),
    ("a CONNECT that is no text", b'CONNECT {"name":"\xff"}\r\nPING\r\n', None),
    ("a CONNECT nested deeply", b'CONNECT {"x":' + b"[" * 1000 + b"]" * 1000 + b',"verbose":false}\r\nPING\r\n', None),
]


def judge(port):
    for name, sent, stricter in JUDGED:
        wire = Wire(port)
        start = len(wire.heard)
        if not sent[:7].upper() == b"CONNECT":
            sent = CONNECT + sent
        wire.say(sent)
        # The server closes at once or not at all; a PONG says that it read to the end.
        wire.quiet(0.4)
        heard = [line for line in wire.heard[start:].split(b"\r\n") if line[:4] in (b"PONG", b"-ERR", b"+OK")]
        yield {
            "name": name,
            # Byte for byte; long runs are written once, as [byte, count].
            "sent": compressed(sent),
            "heard": [line.decode("latin-1") for line in heard],
            "closed": wire.closed,
            "stricter": stricter,
        }


def compressed(sent):
    """Latin-1 text, and lists [text, count] for what is repeated."""
    out, last = [], 0
    for run in re.finditer(rb"(.)\1{63,}", sent, re.DOTALL):
        out += [sent[last : run.start()].decode("latin-1"), [run[1].decode("latin-1"), len(run[0])]]
        last = run.end()
    return [part for part in [*out, sent[last:].decode("latin-1")] if part]


# --- what clients and servers say to each other ---


def publish_and_subscribe(port):
    wire = Wire(port).say(CONNECT + b"PING\r\n", b"PONG\r\n")
    wire.say(b"SUB orders.* 1\r\nSUB orders.> workers 2\r\nSUB _INBOX.x.* 3\r\nUNSUB 1 3\r\nPING\r\n", b"PONG\r\n")
    for number in range(4):
        wire.say(b"PUB orders.%d 5\r\nhello\r\nPUB orders.%d _INBOX.x.%d 0\r\n\r\n" % (number, number, number))
    headers = b"NATS/1.0\r\nTrace: 7\r\nTrace: 8\r\n\r\n"
    wire.say(b"HPUB orders.h %d %d\r\n%shello\r\n" % (len(headers), len(headers) + 5, headers))
    wire.say(b"HPUB orders.h _INBOX.x.h %d %d\r\n%s\r\n" % (len(headers), len(headers), headers))
    wire.say(b"PUB nobody.listens _INBOX.x.none 2\r\n\r\n\r\n")
    return wire.say(b"UNSUB 2\r\nUNSUB 3\r\nPING\r\n", b"PONG\r\n")


def verbose(port):
    wire = Wire(port).say(b'CONNECT {"pedantic":true,"echo":false,"lang":"corpus","version":"1"}\r\n', b"+OK\r\n")
    wire.say(b"sub a.* 1\r\n", b"+OK\r\n").say(b"pub a.b 3\r\nabc\r\n", b"+OK\r\n").say(b"PUB a..b 1\r\nx\r\n", b"+OK\r\n")
    return wire.say(b"unsub 1 2\n", b"+OK\r\n").say(b"ping\n", b"PONG\r\n")


def big_payload(port):
    wire = Wire(port).say(CONNECT + b"SUB big 1\r\n")
    body = bytes(range(256)) * 12
    return wire.say(b"PUB big %d\r\n%s\r\nPING\r\n" % (len(body), body), b"PONG\r\n")


def jetstream(port):
    wire = Wire(port).say(CONNECT + b"SUB _INBOX.js.* 1\r\nPING\r\n", b"PONG\r\n")

    def ask(subject, body=b""):
        wire.say(b"PUB %s _INBOX.js.1 %d\r\n%s\r\n" % (subject, len(body), body), b"MSG _INBOX.js.1")
        return wire.say(b"PING\r\n", b"PONG\r\n")

    ask(b"$JS.API.STREAM.CREATE.CORPUS", b'{"name":"CORPUS","subjects":["js.>"],"storage":"memory"}')
    ask(b"js.one", b"first")
    ask(b"js.two", b"second")
    ask(b"$JS.API.CONSUMER.CREATE.CORPUS.c", b'{"stream_name":"CORPUS","config":{"name":"c","ack_policy":"explicit"}}')
    ask(b"$JS.API.STREAM.MSG.GET.CORPUS", b'{"last_by_subj":"js.two"}')
    return wire.say(b"PUB $JS.API.CONSUMER.MSG.NEXT.CORPUS.c _INBOX.js.2 1\r\n2\r\nPING\r\n", b"PONG\r\n").quiet(0.3)


def refused(port):
    return Wire(port).say(CONNECT + b"SUB a 1\r\nNONSENSE\r\n").quiet(0.4)


def slow_authentication(port):
    return Wire(port).say(b"").quiet(2)


def with_password(port):
    text = '{"verbose":false,"user":"alice","pass":"%s","name":"corpus","tls_required":false,"protocol":1}' % SECRET
    wire = Wire(port).say(b"CONNECT " + text.encode() + b"\r\nPING\r\n", b"PONG\r\n")
    # A subject she may not use, and one that does not exist.
    return wire.say(b"SUB forbidden 1\r\nSUB allowed 2\r\nPUB allowed 2\r\nok\r\nPING\r\n", b"PONG\r\n")


REFUSING = (
    "max_subscriptions: 4\nmax_subscription_tokens: 3\n"
    'authorization {{ users = [ {{ user: alice, password: "%s", permissions: {{ subscribe: {{ deny: [{denied}] }} }} }} ] }}\n' % SECRET
)


def refusals(folder):
    """Every way to be refused a subscription, and to lose one."""
    with server(folder, REFUSING, denied='"denied.>"') as (port, process):
        wire = Wire(port).say(b'CONNECT {"verbose":false,"user":"alice","pass":"%s","protocol":1}\r\nPING\r\n' % SECRET.encode(), b"PONG\r\n")
        wire.say(b"SUB denied.a 1\r\nSUB denied.a q 2\r\nPING\r\n", b"PONG\r\n")
        wire.say(b'SUB denied.\x01\x07"\\\xc3\xa9\xff 3\r\nSUB a.b.c.d 4\r\nSUB a..b 5\r\nPING\r\n', b"PONG\r\n")
        wire.say(b"SUB kept 6\r\nSUB later 7\r\nPING\r\nSUB later q 8\r\nSUB kept 9\r\nSUB a.b 10\r\nSUB a.c 11\r\nPING\r\n")
        # A reload ends a connection that has all it may have.
        wire.until(b"exceeded'\r\nPONG\r\n", 0).say(b"UNSUB 9\r\nPING\r\n", b"PONG\r\n")
        path = pathlib.Path(folder) / f"{port}.conf"
        path.write_text(path.read_text().replace('"denied.>"', '"denied.>", "later"'))
        process.send_signal(signal.SIGHUP)
        wire.until(b'(sid "7")', 0).until(b'(sid "8")', 0)
        return wire.say(b"SUB last 12\r\nPING\r\n", b"PONG\r\n")


def wrong_password(port):
    return Wire(port).say(b'CONNECT {"user":"alice","pass":"wrong"}\r\nPING\r\n').quiet(0.4)


def lame_duck(folder):
    with server(folder, "lame_duck_duration: 30s\nlame_duck_grace_period: 1s\n") as (port, process):
        wire = Wire(port).say(CONNECT + b"SUB a 1\r\nPING\r\n", b"PONG\r\n")
        process.send_signal(signal.SIGUSR2)
        return wire.until(b'"ldm":true').quiet(0.2)


def cluster(folder):
    """Two nodes: the second makes the first tell its clients about a new address, and then about its end."""
    route = free_port()
    config = "cluster {{ name: corpus, listen: 127.0.0.1:{own}, routes: [nats://127.0.0.1:{other}] }}\n"
    with server(folder, config, own=route, other=route) as (port, _):
        wire = Wire(port).say(CONNECT + b"PING\r\n", b"PONG\r\n")
        with server(folder, config, own=free_port(), other=route) as (second, _):
            wire.until(b":%d" % second, 0)
        return wire.quiet(1)


CONNECTS = {
    "nothing": "{}",
    "nats.go": '{"verbose":false,"pedantic":false,"tls_required":false,"name":"","lang":"go","version":"1.41.0","protocol":1,"echo":true,"headers":true,"no_responders":true}',
    "nats.py": '{"verbose": false, "pedantic": false, "lang": "python3", "version": "2.11.0", "protocol": 1, "headers": true, "no_responders": true, "echo": true, "auth_token": "%s"}' % SECRET,
    "nats.js": '{"protocol":1,"version":"3.0.0","lang":"nats.js","verbose":false,"pedantic":false,"user":"alice","pass":"%s","headers":true,"no_responders":true,"tls_required":false}' % SECRET,
    "async-nats": '{"verbose":false,"pedantic":false,"jwt":null,"nkey":null,"sig":null,"name":null,"echo":true,"lang":"rust","version":"0.51.0","protocol":1,"tls_required":false,"user":null,"pass":null,"auth_token":null,"headers":true,"no_responders":true}',
    "signed": '{"jwt":"eyJ0eXAiOiJKV1QifQ.e30.c2ln","sig":"c2lnbmF0dXJl","nkey":"UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4","proxy_sig":""}',
    "spelled oddly": '{"User":"a","uſer":"b","\\u0070ass":"%s","PASS":null,"TLS_REQUIRED":true,"tls_required":true,"auth_to\\u212Aen":"","new":{"user":"c","tls_required":[true , 1]}, "x" : 1e400 }' % SECRET,
    "escapes": r'{"user":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00","pass":"","name":"\u0000"}',
}

INFOS = {
    "odd": '{"server_id":"X", "max_payload" : -1 ,"tls_required":true,"TLS_Verify":true,"tl\\u0073_available":true,"connect_urls":["a:1"],"Connect_Urls":[],"ws_connect_urls":["c:3"],"nested":{"connect_urls":["b:2"],"tls_required":true},"nonce":"n","nonce":"m","ldm":false,"ldm":true,"auth_required":false,"auth_required":null,"big":123456789012345678901234567890,"\\u0041":1.50}',
    "empty": "{}",
    "not an object": '["server_id"]',
    "cut off": '{"server_id":"X","max_payload":104',
    "of another type": '{"server_id":7,"max_payload":"1048576"}',
}


def write(folder, name, content):
    path = HERE / folder / name.replace(" ", "_")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def self_signed(folder):
    key, certificate = f"{folder}/key.pem", f"{folder}/certificate.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=corpus", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *request, *names], check=True, capture_output=True)
    tls = f'cert_file: "{certificate}"\n key_file: "{key}"\n ca_file: "{certificate}"\n verify: true\n'
    return "tls {{\n " + tls + "}}\n"


def main():
    repository = HERE.parent.parent
    os.environ.setdefault("NATS_SERVER", subprocess.check_output([repository / "scripts/nats-server"], text=True).strip())
    for folder in ("client_parser", "server_parser", "info", "connect"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
    wires = {}
    with tempfile.TemporaryDirectory() as scratch:
        with server(scratch, f'jetstream {{{{ store_dir: "{scratch}/js" }}}}\n') as (port, _):
            judged = list(judge(port))
            for conversation in (publish_and_subscribe, verbose, big_payload, jetstream, refused):
                wires[conversation.__name__] = conversation(port)
        users = (
            'authorization {{ timeout: 0.5\n users = [ {{ user: alice, password: "%s", permissions: {{ subscribe: ["allowed"], publish: ["allowed"] }} }},'
            ' {{ nkey: UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4 }} ] }}\n' % SECRET
        )
        with server(scratch, users) as (port, _):
            for conversation in (slow_authentication, with_password, wrong_password):
                wires[conversation.__name__] = conversation(port)
        with server(scratch, self_signed(scratch)) as (port, _):
            wires["mutual_tls"] = Wire(port)
        wires["lame_duck"], wires["cluster"] = lame_duck(scratch), cluster(scratch)
        wires["refusals"] = refusals(scratch)

    for name, wire in wires.items():
        if wire.sent:
            write("client_parser", name, wire.sent)
        write("server_parser", name, wire.heard)
        for number, line in enumerate(re.findall(rb"^INFO (.*?) *\r\n", wire.heard, re.MULTILINE)):
            write("info", f"{name}_{number}", line)
        for number, line in enumerate(re.findall(rb"^CONNECT (.*?)\r\n", wire.sent, re.MULTILINE)):
            write("connect", f"{name}_{number}", line)
    for folder, texts in (("connect", CONNECTS), ("info", INFOS)):
        for name, text in texts.items():
            write(folder, name, text)
    for case in judged:
        sent = b"".join(
            (part if isinstance(part, str) else part[0] * part[1]).encode("latin-1") for part in case["sent"]
        )
        # The longest ones teach a fuzzer nothing that the short ones do not.
        if len(sent) < 2048:
            write("client_parser", "judged_" + case["name"].replace("+", "plus ").replace("-ERR", "error"), sent)
    lines = ",\n".join(json.dumps(case) for case in judged)
    (HERE / "judged.json").write_text(f"[\n{lines}\n]\n")
    refused_quietly = [case["name"] for case in judged if case["closed"] and not case["heard"]]
    print(f"{len(judged)} inputs judged, {len(refused_quietly)} refused without a word; {len(wires)} conversations")


if __name__ == "__main__":
    main()
