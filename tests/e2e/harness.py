"""
tests/e2e/harness.py: a real server in a fresh folder, and a client that hides nothing.

The tests speak to the server as the world does: over a socket, or with the official clients.
Nothing here knows pail from the inside, so that the same tests run against nats-server too:

    PAIL_SERVER=$(command -v nats-server) python3 tests/e2e/protocol_test.py

Environment:
    PAIL_SERVER         the server under test; default: the newest build/*/pail, else nats-server
    PAIL_SHARDS         passed on as --shards, if the server knows that option
    PAIL_SEGMENT_BYTES  size of pail's log files; default 4194304, for a start writes them in full;
                        empty: the server's own default
    PAIL_SERVER_ARGS    more arguments for each server, split as a shell does
    PAIL_PEERS          where the peers were installed; default: build/peers
                        (bin/nats, bin/nats-server, node/node_modules, python/, gopath/)
    PAIL_REQUIRE_PEERS  1: a missing peer is a failure, not a skipped test
    PAIL_DEADLINE_S     how long to wait for what must come; default 10, with sanitizers 40
    PAIL_SILENCE_S      how long to wait for what must not come; default 0.3

Nothing sleeps: whoever waits, waits for an event and has a deadline.
"""

import base64
import collections
import glob
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SILENCE_S = float(os.environ.get("PAIL_SILENCE_S", "0.3"))
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SKIP_EXIT_CODE = 77

SECOND_NS = 1_000_000_000

# -----------------------------------------------------------------------------------------------
# Peers: programs and packages of others that some tests need.


def peers_dir():
    return os.environ.get("PAIL_PEERS") or os.path.join(ROOT, "build", "peers")


def find_program(name):
    """The program's path, from the peers' folder or from PATH; None if there is none."""
    own = os.path.join(peers_dir(), "bin", name)
    return own if os.access(own, os.X_OK) else shutil.which(name)


def peers_are_required():
    return os.environ.get("PAIL_REQUIRE_PEERS") == "1"


def missing_peer(reason):
    """Ends the test: skipped with a printed reason, or failed where peers are required."""
    if peers_are_required():
        raise AssertionError("a peer is missing: " + reason)
    print("skipped: " + reason, flush=True)
    raise unittest.SkipTest(reason)


def require_program(name):
    path = find_program(name)
    return path if path else missing_peer("%s is not installed" % name)


# ----------------------------------------------------------------------------------------------
# The server under test.


def _server_path():
    """The server's path as far as it can be told without ending a test."""
    named = os.environ.get("PAIL_SERVER")
    if named:
        return os.path.abspath(named) if os.path.sep in named else shutil.which(named)
    built = glob.glob(os.path.join(ROOT, "build", "*", "pail"))
    return max(built, key=os.path.getmtime) if built else find_program("nats-server")


def server_is_sanitized():
    """True for a build with a sanitizer: slower by a few times, and hungry for memory."""
    path = _server_path()
    if path is None:
        return False
    with open(path, "rb") as program:
        image = program.read()
    return b"__asan_init" in image or b"__tsan_init" in image


def memory_limit(count):
    """A limit in bytes for a test to hold the server to, as far as this build can keep it."""
    return count * 16 if SANITIZED else count


SANITIZED = server_is_sanitized()
DEADLINE_S = float(os.environ.get("PAIL_DEADLINE_S", "40" if SANITIZED else "10"))


def server_program():
    return _server_path() or missing_peer("no server: set PAIL_SERVER")


_help_texts = {}


def server_help():
    program = server_program()
    if program not in _help_texts:
        done = subprocess.run([program, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=DEADLINE_S)
        _help_texts[program] = done.stdout.decode(errors="replace")
    return _help_texts[program]


def server_is_pail():
    return "--shards" in server_help()


class ServerFailed(Exception):
    pass


class Server:
    """
    One server process. Its data live in `store`, a fresh folder unless one is given, and outlive
    stop(), kill() and restart(); close() ends the process and removes a folder of its own.
    """

    def __init__(self, *args, jetstream=True, shards=None, store=None, start=True):
        self.args = list(args)
        self.jetstream = jetstream
        self.shards = shards if shards is not None else os.environ.get("PAIL_SHARDS")
        self.owned_dir = None if store else tempfile.mkdtemp(prefix="pail-e2e-")
        self.store = store or os.path.join(self.owned_dir, "data")
        self.process = None
        self.port = None
        self.log = []
        self._log_changed = threading.Condition()
        if start:
            try:
                self.start()
            except ServerFailed:
                self.close()
                raise

    def command(self, port):
        command = [server_program(), "-a", "127.0.0.1", "-p", str(port), "-sd", self.store]
        command.append("-js" if self.jetstream else "-js=false")
        if self.shards and server_is_pail():
            command += ["--shards", str(self.shards)]
        segment_bytes = os.environ.get("PAIL_SEGMENT_BYTES", "4194304")
        if segment_bytes and "--segment_bytes" in server_help():
            command += ["--segment_bytes", segment_bytes]
        return command + shlex.split(os.environ.get("PAIL_SERVER_ARGS", "")) + self.args

    def start(self, port=-1):
        assert self.process is None
        self.log = []
        self.process = subprocess.Popen(self.command(port), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read_log, args=(self.process,), daemon=True)
        self._reader.start()
        try:
            listening = self.wait_for_log(
                r"Listening for client connections on 127\.0\.0\.1:(\d+)")
            self.port = int(listening.group(1))
            self.wait_for_log(r"Server is ready")
        except ServerFailed:
            self.kill()
            raise
        return self

    @property
    def url(self):
        return "nats://127.0.0.1:%d" % self.port

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def _read_log(self, process):
        for line in process.stderr:
            with self._log_changed:
                self.log.append(line.decode(errors="replace").rstrip("\n"))
                self._log_changed.notify_all()
        with self._log_changed:
            self.log.append(None)  # the end: no more lines will come
            self._log_changed.notify_all()

    def wait_for_log(self, pattern, deadline_s=None):
        """The match of the first line that has the pattern, old lines included."""
        until = time.monotonic() + (deadline_s or 3 * DEADLINE_S)
        seen = 0
        with self._log_changed:
            while True:
                for line in self.log[seen:]:
                    if line is None:
                        raise ServerFailed("the server ended:\n" + self.log_text())
                    match = re.search(pattern, line)
                    if match:
                        return match
                seen = len(self.log)
                left = until - time.monotonic()
                if left <= 0:
                    raise ServerFailed("no log line %r:\n%s" % (pattern, self.log_text()))
                self._log_changed.wait(left)

    def log_text(self):
        return "\n".join(line for line in self.log if line is not None)

    def _end(self, signal_number):
        """Sends the signal, if the process lives, and returns its exit status."""
        process = self.process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            status = process.wait(3 * DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise ServerFailed("the server did not end after signal %d:\n%s"
                               % (signal_number, self.log_text()))
        finally:
            self._reader.join(DEADLINE_S)
            process.stderr.close()
            self.process = None
        return status

    def stop(self):
        return self._end(signal.SIGTERM)

    def kill(self):
        return self._end(signal.SIGKILL)

    def restart(self):
        """Starts again on the same store and the same port, whichever way the last run ended."""
        port = self.port
        self.stop()
        return self.start(port)

    def close(self):
        """Ends the process in order, so that a sanitizer can report, and removes the data."""
        try:
            status = self.stop()
            if status not in (None, 0):
                raise ServerFailed("the server ended with status %d:\n%s"
                                   % (status, self.log_text()))
        finally:
            if self.owned_dir:
                shutil.rmtree(self.owned_dir, ignore_errors=True)

    def rss_bytes(self):
        with open("/proc/%d/status" % self.pid) as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise ServerFailed("no VmRSS")

    def connect(self, **options):
        return Client(self.port, **options)


# ----------------------------------------------------------------------------------------------
# The client.


class Closed(Exception):
    """The server closed the connection. What it said before is in Client.errors."""


class Timeout(Exception):
    pass


def poll_until(ask, deadline_s=None, what="the right answer"):
    """
    Asks again and again until ask() gives something true, and returns that. For what no event
    tells; ask() makes a round trip to the server, so that the loop runs at the server's pace.
    """
    until = time.monotonic() + (DEADLINE_S if deadline_s is None else deadline_s)
    while True:
        result = ask()
        if result:
            return result
        if time.monotonic() > until:
            raise Timeout("asked in vain for " + what)


class Headers:
    """A header block: its bytes, its status line and its fields in order."""

    def __init__(self, block):
        self.block = block
        lines = block.decode("utf-8", "surrogateescape").split("\r\n")
        words = lines[0].split(" ", 2)
        self.status = words[1] if len(words) > 1 else None
        self.description = words[2] if len(words) > 2 else None
        self.fields = []
        for line in lines[1:]:
            if line:
                name, _, value = line.partition(":")
                self.fields.append((name, value.lstrip(" ")))

    def get(self, name, default=None):
        for field, value in self.fields:
            if field == name:
                return value
        return default

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value


def header_block(fields, status=""):
    """The block of a dict or of a list of pairs, in the order given."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    text = "NATS/1.0" + (" " + status if status else "") + "\r\n"
    text += "".join("%s: %s\r\n" % pair for pair in pairs)
    return (text + "\r\n").encode()


class Msg:
    """One MSG or HMSG as it came; `size_text` keeps the digits, for some tests ask about them."""

    def __init__(self, subject, sid, reply, block, data, size_text):
        self.subject = subject
        self.sid = sid
        self.reply = reply
        self.headers = Headers(block) if block is not None else None
        self.data = data
        self.size_text = size_text

    @property
    def status(self):
        return self.headers.status if self.headers else None

    def json(self):
        return json.loads(self.data)

    def header(self, name, default=None):
        return self.headers.get(name, default) if self.headers else default

    def ack(self):
        """The reply subject of a consumer's delivery, taken apart."""
        return AckReply(self.reply)

    def __repr__(self):
        return "Msg(%r sid=%s reply=%r %r %r)" % (
            self.subject, self.sid, self.reply,
            self.headers.block if self.headers else None, self.data[:80])


class AckReply:
    """$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time ns>.<pending>"""

    def __init__(self, subject):
        tokens = subject.split(".")
        assert len(tokens) == 9 and tokens[:2] == ["$JS", "ACK"], subject
        self.stream, self.consumer = tokens[2], tokens[3]
        (self.delivered_count, self.stream_seq, self.consumer_seq, self.time_ns,
         self.pending_count) = (int(token) for token in tokens[4:])


CONNECT_DEFAULTS = {"verbose": False, "pedantic": False, "echo": True, "headers": True,
                    "no_responders": True, "protocol": 1, "lang": "python-raw", "version": "0"}


class Client:
    """
    One connection. Reads only when somebody waits; what came for others is kept in order, in
    `messages`, `errors` and `infos`. connect=False sends nothing, connect={…} changes CONNECT.
    """

    def __init__(self, port, connect=None, receive_buffer_bytes=None, deadline_s=None):
        self.deadline_s = deadline_s or DEADLINE_S
        self.socket = socket.socket()
        if receive_buffer_bytes:  # before connect(): the window is agreed on there
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(self.deadline_s)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = bytearray()
        self.input_start = 0
        self.is_closed = False
        self.messages = collections.deque()
        self.errors = []
        self.infos = []
        self.pong_count = 0
        self.pings_asked = 0
        self.ok_count = 0
        self.ops = []  # every operation received, in order, as (name, value)
        self.sid_last = 0
        self.inbox_count = 0
        self.inbox_prefix = None
        self.wait_until(lambda: self.infos)
        self.info = self.infos[0]
        if connect is not False:
            self.send_connect(**(connect or {}))
            self.flush()

    # Sending -----------------------------------------------------------------------------------

    def send(self, data):
        self.socket.sendall(data if isinstance(data, (bytes, bytearray)) else data.encode())

    def send_connect(self, **changes):
        fields = {k: v for k, v in dict(CONNECT_DEFAULTS, **changes).items() if v is not ...}
        self.send("CONNECT " + json.dumps(fields) + "\r\n")

    @staticmethod
    def pub_bytes(subject, data=b"", reply=None, headers=None):
        """The bytes of one PUB or HPUB. headers: None, a dict, a list of pairs, or the block."""
        data = data if isinstance(data, (bytes, bytearray)) else data.encode()
        words = [subject.encode()] + ([reply.encode()] if reply else [])
        if headers is None:
            line = b"PUB %s %d\r\n" % (b" ".join(words), len(data))
            return line + data + b"\r\n"
        block = headers if isinstance(headers, bytes) else header_block(headers)
        line = b"HPUB %s %d %d\r\n" % (b" ".join(words), len(block), len(block) + len(data))
        return line + block + data + b"\r\n"

    def pub(self, subject, data=b"", reply=None, headers=None):
        self.send(self.pub_bytes(subject, data, reply, headers))

    def sub(self, subject, queue=None, sid=None):
        if sid is None:
            self.sid_last += 1
            sid = "s%d" % self.sid_last
        self.send("SUB %s %s%s\r\n" % (subject, queue + " " if queue else "", sid))
        return sid

    def unsub(self, sid, max_count=None):
        self.send("UNSUB %s%s\r\n" % (sid, " %d" % max_count if max_count else ""))

    # Receiving ---------------------------------------------------------------------------------

    def wait_until(self, is_done, deadline_s=None, what="the server's answer"):
        """Reads until is_done() gives something true, and returns that."""
        until = time.monotonic() + (self.deadline_s if deadline_s is None else deadline_s)
        while True:
            result = is_done()
            if result:
                return result
            if self.is_closed:
                raise Closed("closed while waiting for %s; errors %r" % (what, self.errors))
            left = until - time.monotonic()
            if left <= 0:
                raise Timeout("waited in vain for %s; errors %r" % (what, self.errors))
            self._receive(left)

    def _receive(self, timeout_s):
        """One read of the socket, at most; parses all that is complete."""
        readable, _, _ = select.select([self.socket], [], [], timeout_s)
        if not readable:
            return
        try:
            data = self.socket.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            self.is_closed = True
            return
        self.input += data
        while self._parse_one():
            pass
        if self.input_start > 1 << 20:
            self._trim()
        elif self.input_start == len(self.input):
            self.input = bytearray()
            self.input_start = 0

    def _trim(self):
        del self.input[:self.input_start]
        self.input_start = 0

    def _parse_one(self):
        end = self.input.find(b"\r\n", self.input_start)
        if end < 0:
            return False
        line = bytes(self.input[self.input_start:end])
        name, _, rest = line.partition(b" ")
        payload_start = end + 2
        if name in (b"MSG", b"HMSG"):
            words = rest.decode("utf-8", "surrogateescape").split()
            sizes = 2 if name == b"HMSG" else 1
            total = int(words[-1])
            if len(self.input) < payload_start + total + 2:
                return False
            payload = bytes(self.input[payload_start:payload_start + total])
            if self.input[payload_start + total:payload_start + total + 2] != b"\r\n":
                raise AssertionError("a payload without its end: %r" % line)
            self.input_start = payload_start + total + 2
            header_bytes = int(words[-2]) if sizes == 2 else None
            block = payload[:header_bytes] if sizes == 2 else None
            reply = words[2] if len(words) == 3 + sizes else None
            msg = Msg(words[0], words[1], reply, block, payload[header_bytes or 0:],
                      " ".join(words[-sizes:]))
            self.messages.append(msg)
            self.ops.append((name.decode(), msg))
            return True
        self.input_start = payload_start
        if name == b"PING":
            self.ops.append(("PING", None))
            self.send("PONG\r\n")
        elif name == b"PONG":
            self.pong_count += 1
            self.ops.append(("PONG", None))
        elif name == b"+OK":
            self.ok_count += 1
            self.ops.append(("+OK", None))
        elif name == b"-ERR":
            self.errors.append(rest.decode("utf-8", "surrogateescape").strip("'"))
            self.ops.append(("-ERR", self.errors[-1]))
        elif name == b"INFO":
            self.infos.append(json.loads(rest))
            self.ops.append(("INFO", self.infos[-1]))
        else:
            raise AssertionError("the server sent %r" % line)
        return True

    def take(self, accepts):
        """The first kept message that accepts() takes, or None."""
        for index, msg in enumerate(self.messages):
            if accepts(msg):
                del self.messages[index]
                return msg
        return None

    def next(self, sid=None, deadline_s=None):
        """The next message, of that subscription if one is named."""
        if sid is None:
            return self.wait_until(lambda: self.messages and self.messages.popleft(), deadline_s,
                                   "a message")
        return self.wait_until(lambda: self.take(lambda msg: msg.sid == sid), deadline_s,
                               "a message for sid " + sid)

    def next_many(self, count, sid=None, deadline_s=None):
        return [self.next(sid, deadline_s) for _ in range(count)]

    def flush(self, deadline_s=None):
        """PING, and wait for its PONG: the server has taken all that was sent before."""
        self.pings_asked += 1
        self.send("PING\r\n")
        asked = self.pings_asked
        self.wait_until(lambda: self.pong_count >= asked, deadline_s, "PONG")

    def wait_until_read(self):
        """Waits until the server has read all that was sent: the kernel holds nothing for it."""
        server = "0100007F:%04X" % self.socket.getpeername()[1]
        client = "0100007F:%04X" % self.socket.getsockname()[1]
        until = time.monotonic() + self.deadline_s
        while time.monotonic() < until:
            with open("/proc/net/tcp") as table:
                for line in table:
                    words = line.split()
                    if words[1:3] == [server, client] and words[4].endswith(":00000000"):
                        return
        raise Timeout("the server does not read")

    def hears_nothing(self, sid=None, silence_s=None):
        """True if no message comes, now that the server has taken all that was sent before."""
        self.flush()
        try:
            msg = self.next(sid, SILENCE_S if silence_s is None else silence_s)
        except Timeout:
            return True
        self.messages.appendleft(msg)
        return False

    def wait_for_close(self, deadline_s=None):
        """Waits until the server closes, and returns the errors it sent."""
        try:
            self.wait_until(lambda: False, deadline_s, "the end of the connection")
        except Closed:
            return self.errors

    # Requests ----------------------------------------------------------------------------------

    def inbox(self):
        """A fresh reply subject below this connection's one wildcard subscription."""
        if self.inbox_prefix is None:
            self.inbox_prefix = "_INBOX.%s" % base64.b32encode(os.urandom(10)).decode()
            self.sub(self.inbox_prefix + ".*", sid="inbox")
        self.inbox_count += 1
        return "%s.%d" % (self.inbox_prefix, self.inbox_count)

    def request_start(self, subject, data=b"", headers=None):
        reply = self.inbox()
        self.pub(subject, data, reply, headers)
        return reply

    def answer(self, reply, deadline_s=None):
        return self.wait_until(lambda: self.take(lambda msg: msg.subject == reply), deadline_s,
                               "the answer on " + reply)

    def request(self, subject, data=b"", headers=None, deadline_s=None):
        return self.answer(self.request_start(subject, data, headers), deadline_s)

    # JetStream and Key/Value -------------------------------------------------------------------

    def api(self, suffix, body=None, headers=None):
        """A request to $JS.API: the answer's JSON. The body may be raw bytes."""
        if body is None:
            data = b""
        else:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.request("$JS.API." + suffix, data, headers)
        if answer.status is not None:
            raise AssertionError("status %s for %s" % (answer.headers.block, suffix))
        return answer.json()

    def api_ok(self, suffix, body=None, headers=None):
        answer = self.api(suffix, body, headers)
        if "error" in answer:
            raise AssertionError("%s: %r" % (suffix, answer["error"]))
        return answer

    def bucket_create(self, bucket, **changes):
        return self.api_ok("STREAM.CREATE.KV_" + bucket, bucket_config(bucket, **changes))

    def stream_state(self, bucket):
        return self.api_ok("STREAM.INFO.KV_" + bucket)["state"]

    def put_start(self, bucket, key, value=b"", headers=None):
        return self.request_start("$KV.%s.%s" % (bucket, key), value, headers)

    def publish_kv(self, bucket, key, value=b"", headers=None):
        """One write: the PubAck's JSON, refusals too."""
        return self.answer(self.put_start(bucket, key, value, headers)).json()

    def put(self, bucket, key, value=b"", headers=None):
        """One write that must succeed: its revision."""
        answer = self.publish_kv(bucket, key, value, headers)
        if "error" in answer:
            raise AssertionError("put %s: %r" % (key, answer["error"]))
        return answer["seq"]

    def update(self, bucket, key, value, revision):
        return self.publish_kv(bucket, key, value, expected(revision))

    def delete(self, bucket, key):
        return self.put(bucket, key, b"", DELETE_MARKER)

    def purge(self, bucket, key):
        return self.put(bucket, key, b"", PURGE_MARKER)

    def direct_get(self, bucket, key):
        return self.request("$JS.API.DIRECT.GET.KV_%s.$KV.%s.%s" % (bucket, bucket, key))

    def direct_get_json(self, bucket, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("$JS.API.DIRECT.GET.KV_" + bucket, data)

    def consumer_create(self, bucket, name, subject_filter=True, **config):
        """
        A push consumer in the form ordered clients make: on the named subject, ack none. Fields
        that are None are left out; deliver_subject must be given.
        """
        fields = {"name": name, "ack_policy": "none", "max_deliver": 1, "mem_storage": True,
                  "num_replicas": 1, "replay_policy": "instant",
                  "filter_subject": "$KV.%s.>" % bucket}
        fields.update(config)
        fields = {field: value for field, value in fields.items() if value is not None}
        subject = "CONSUMER.CREATE.KV_%s.%s" % (bucket, name)
        if subject_filter and "filter_subject" in fields:
            subject += "." + fields["filter_subject"]
        return self.api(subject, {"stream_name": "KV_" + bucket, "config": fields})

    def close(self):
        self.socket.close()
        self.is_closed = True

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


DELETE_MARKER = {"KV-Operation": "DEL"}
PURGE_MARKER = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}


def expected(revision):
    """The header of a write that is refused unless the key's revision is this one."""
    return {"Nats-Expected-Last-Subject-Sequence": str(revision)}


def bucket_config(bucket, **changes):
    """What the Go client and the CLI ask for; a change to None leaves a field out."""
    config = {"name": "KV_" + bucket, "subjects": ["$KV.%s.>" % bucket], "retention": "limits",
              "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "discard": "new", "max_age": 0,
              "max_msgs_per_subject": 1, "max_msg_size": -1, "storage": "file", "num_replicas": 1,
              "duplicate_window": 120 * SECOND_NS, "deny_delete": True,
              "allow_rollup_hdrs": True, "compression": "none", "allow_direct": True,
              "mirror_direct": False, "consumer_limits": {}}
    config.update(changes)
    return {field: value for field, value in config.items() if value is not None}


# ----------------------------------------------------------------------------------------------
# The nats CLI.


class Cli:
    """Runs the unmodified `nats` program with a home folder of its own."""

    def __init__(self, server):
        self.program = require_program("nats")
        self.server = server
        self.home = tempfile.mkdtemp(prefix="pail-e2e-cli-")

    def environment(self):
        changes = {"HOME": self.home, "XDG_CONFIG_HOME": os.path.join(self.home, "config"),
                   "NATS_URL": self.server.url, "TZ": "UTC", "NO_COLOR": "1"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NATS_")}
        return dict(kept, **changes)

    def command(self, args):
        return [self.program, "--server", self.server.url] + [str(arg) for arg in args]

    def run(self, *args, input=None):
        """The finished process; stdout and stderr are text."""
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run(self.command(args), env=self.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=3 * DEADLINE_S, **stdin)

    def start(self, *args):
        """A command that goes on running, such as a watch."""
        return RunningCommand(self.command(args), self.environment())

    def close(self):
        shutil.rmtree(self.home, ignore_errors=True)


class RunningCommand:
    """A process whose lines are waited for."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = b""

    def wait_for(self, pattern, deadline_s=None):
        """The match of the pattern in all that was printed so far."""
        until = time.monotonic() + (deadline_s or DEADLINE_S)
        while True:
            match = re.search(pattern, self.text.decode(errors="replace"), re.MULTILINE)
            if match:
                return match
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Timeout("no %r in %r" % (pattern, self.text))
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            if not data:
                raise Closed("the command ended; no %r in %r" % (pattern, self.text))
            self.text += data

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


# ----------------------------------------------------------------------------------------------
# The frame of a test file.


class ServerTest(unittest.TestCase):
    """One server for all tests of a class; each test takes buckets and subjects of its own."""

    server_args = ()
    server_options = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.server_args, **cls.server_options)
        cls.addClassCleanup(cls.server.close)

    def connect(self, **options):
        client = self.server.connect(**options)
        self.addCleanup(client.close)
        return client

    def bucket_name(self):
        """A bucket name of this test's own."""
        return re.sub(r"\W", "-", self.id().split(".")[-1])[-60:]

    def tearDown(self):
        self.assertTrue(self.server.is_alive(), "the server is gone:\n" + self.server.log_text())

    # Comparisons that many files need.

    def assert_error(self, answer, code, err_code, description=None):
        """The answer is that API error; description is a text or a compiled pattern."""
        self.assertIn("error", answer)
        error = answer["error"]
        self.assertEqual((error.get("code"), error.get("err_code")), (code, err_code), error)
        if isinstance(description, str):
            self.assertEqual(error.get("description"), description)
        elif description is not None:
            self.assertRegex(error.get("description"), description)

    def assert_status(self, msg, status, description=None):
        """The message is a status without payload."""
        self.assertIsNotNone(msg.headers, msg)
        self.assertEqual((msg.headers.status, msg.headers.description), (status, description), msg)
        self.assertEqual(msg.data, b"")

    def assert_no_responders(self, msg, subject):
        self.assertEqual(msg.headers.block,
                         b"NATS/1.0 503\r\nNats-Subject: %s\r\n\r\n" % subject.encode())
        self.assertEqual(msg.data, b"")


def main():
    """Runs the tests of the calling file. Exit code 77 says that every one was skipped."""
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    for test, reason in result.skipped:
        print("skipped: %s: %s" % (test, reason))
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIP_EXIT_CODE if result.skipped and len(result.skipped) >= result.testsRun else 0)
