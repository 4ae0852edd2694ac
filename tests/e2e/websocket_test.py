"""
tests/e2e/websocket_test.py: clients that come by WebSocket: handshake, frames however they are cut, close codes; and the
official Node client as browsers use it.

Runs against nats-server too. The last test needs node with a WebSocket (22, or 20 with a flag) and the npm peers.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

from harness import (DEADLINE_S, Closed, Server, main, missing_peer, peers_dir,
                     require_program, server_is_pail, server_program)

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"0123456789abcdef")
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONNECT = b'CONNECT {"verbose":false,"protocol":1,"headers":true,"no_responders":true}\r\n'


def frame(payload, opcode=BINARY, final=True, mask=b"\x12\x34\x56\x78", reserved=0):
    head = bytes([(0x80 if final else 0) | reserved | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head += bytes([bit | len(payload)])
    elif len(payload) < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", len(payload))
    if not mask:
        return head + payload
    wide = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(wide, "big")
    return head + mask + masked.to_bytes(len(payload), "big")


def request(method=b"GET", path=b"/", host=b"127.0.0.1", headers=()):
    fields = {b"Host": host, b"Upgrade": b"websocket", b"Connection": b"keep-alive, Upgrade",
              b"Sec-WebSocket-Key": KEY, b"Sec-WebSocket-Version": b"13"}
    fields.update(headers)
    lines = [name + b": " + value for name, value in fields.items() if value is not None]
    return method + b" " + path + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"


class WebSocket:
    """A raw client: sends what it is told, takes frames apart."""

    def __init__(self, port, hello=request()):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""
        self.data = b""  # of data frames
        self.controls = []  # (opcode, payload)
        self.is_closed = False
        self.answer = None
        if hello:
            self.socket.sendall(hello)
            self.read_answer()

    def read_answer(self):
        while b"\r\n\r\n" not in self.input:
            self.receive()
        head, _, self.input = self.input.partition(b"\r\n\r\n")
        self.answer = head.decode()
        self.status = int(self.answer.split(" ")[1])
        self.take_frames()
        return self.status

    def receive(self):
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        if not piece:
            self.is_closed = True
            raise Closed("the server closed")
        self.input += piece

    def take_frames(self):
        while len(self.input) >= 2:
            first, second = self.input[0], self.input[1]
            assert second & 0x80 == 0, "a server masks nothing"
            count, at = second & 0x7f, 2
            if count == 126:
                count, at = int.from_bytes(self.input[2:4], "big"), 4
            elif count == 127:
                count, at = int.from_bytes(self.input[2:10], "big"), 10
            if len(self.input) < at + count:
                return
            payload, self.input = self.input[at:at + count], self.input[at + count:]
            if first & 0x0f in (0, TEXT, BINARY):
                self.data += payload
            else:
                self.controls.append((first & 0x0f, payload))

    def wait(self, is_there):
        while not is_there():
            self.receive()
            self.take_frames()

    def wait_for(self, data):
        self.wait(lambda: data in self.data)

    def wait_for_close(self):
        """The close frame's payload, or None; then the connection has ended."""
        try:
            self.wait(lambda: False)
        except Closed:
            pass
        closes = [payload for opcode, payload in self.controls if opcode == CLOSE]
        return closes[0] if closes else None

    def send(self, data, **how):
        self.socket.sendall(frame(data, **how))

    def close(self):
        self.socket.close()


class WebSockets(unittest.TestCase):
    def start(self, websocket="no_tls: true", config=""):
        folder = tempfile.TemporaryDirectory(prefix="pail-ws-")
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "ws.conf")
        with open(path, "w") as file:
            file.write('websocket { host: "127.0.0.1", port: -1, %s }\n%s\n' % (websocket, config))
        self.server = Server("-c", path)
        self.addCleanup(self.server.close)
        self.port = int(self.server.wait_for_log(
            r"Listening for websocket clients on ws://127\.0\.0\.1:(\d+)").group(1))
        return self.server

    def open(self, hello=request()):
        client = WebSocket(self.port, hello)
        self.addCleanup(client.close)
        return client

    # ---- the handshake

    def test_the_handshake_is_answered_and_info_comes(self):
        self.start()
        client = self.open()
        self.assertEqual(client.status, 101)
        accept = base64.b64encode(hashlib.sha1(KEY + GUID).digest()).decode()
        self.assertIn("Sec-WebSocket-Accept: " + accept, client.answer)
        client.wait_for(b"\r\n")
        info = json.loads(client.data[5:])
        self.assertEqual(info["client_ip"], "127.0.0.1")
        self.assertIs(info["jetstream"], True)

    def test_what_is_no_handshake_is_refused(self):
        self.start()
        cases = ((request(method=b"POST"), 405, "Method Not Allowed\n"),
                 (request(headers={b"Upgrade": b"h2c"}), 400, "Bad Request\n"),
                 (request(headers={b"Upgrade": None}), 400, "Bad Request\n"),
                 (request(headers={b"Connection": b"close"}), 400, "Bad Request\n"),
                 (request(headers={b"Sec-WebSocket-Key": b"short"}), 400, "Bad Request\n"),
                 (request(headers={b"Sec-WebSocket-Key": None}), 400, "Bad Request\n"),
                 (request(headers={b"Sec-WebSocket-Version": b"12"}), 400, "Bad Request\n"),
                 (request(host=None), 400, "400 Bad Request: missing required Host header"),
                 (request(path=b"/mqtt"), 404, None))
        for hello, status, body in cases:
            client = WebSocket(self.port, None)
            self.addCleanup(client.close)
            client.socket.sendall(hello)
            text = b""
            while True:
                piece = client.socket.recv(65536)
                text += piece
                if not piece or (body and body.encode() in text) or (not body and text):
                    break
            self.assertEqual(int(text.split(b" ")[1]), status, hello)
            if body:
                self.assertIn(body.encode(), text)
            if server_is_pail():
                self.assertEqual(client.socket.recv(1), b"")

    def test_a_handshake_that_does_not_come_ends(self):
        self.start('no_tls: true, handshake_timeout: "100ms"')
        client = WebSocket(self.port, None)
        self.addCleanup(client.close)
        client.socket.sendall(request()[:-2])
        self.assertEqual(client.socket.recv(1), b"")

    def test_a_handshake_without_an_end_is_bounded(self):
        self.start('no_tls: true, handshake_timeout: "20s"')
        client = WebSocket(self.port, None)
        self.addCleanup(client.close)
        try:
            for _ in range(4000):
                client.socket.sendall(b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 1000 + b"\r\n")
            while client.socket.recv(65536):
                pass
        except OSError:
            pass  # the end of it
        self.open().wait_for(b"INFO")

    def test_origins(self):
        self.start("no_tls: true, same_origin: true")
        good = request(host=b"example.com", headers={b"Origin": b"http://example.com"})
        self.assertEqual(self.open(good).status, 101)
        self.assertEqual(self.open(request()).status, 101)  # no browser
        bad = request(host=b"example.com", headers={b"Origin": b"http://evil.com"})
        self.assertEqual(self.open(bad).status, 403)
        self.server.close()
        self.start('no_tls: true, allowed_origins: ["https://a.com", "http://b.com:8080"]')
        for origin, status in ((b"https://a.com", 101), (b"https://a.com:443", 101),
                               (b"http://a.com", 403), (b"http://b.com:8080", 101),
                               (b"http://b.com", 403), (b"https://c.com", 403)):
            self.assertEqual(self.open(request(headers={b"Origin": origin})).status, status, origin)

    def test_more_headers(self):
        self.start('no_tls: true, headers: { "X-One": "1", "X-Two": "two words" }')
        answer = self.open().answer.lower()
        self.assertIn("x-one: 1\r\n", answer + "\r\n")
        self.assertIn("x-two: two words", answer)

    # ---- frames

    def test_a_session_cut_at_every_byte(self):
        """Every operation, in one frame and in many; and each byte comes in a packet of its own."""
        self.start()
        text = (CONNECT + b"PING\r\nSUB a.b 1\r\nPUB a.b 5\r\nhello\r\n"
                b"HPUB a.b 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nPING\r\n")
        whole = frame(text)
        parts = b"".join(frame(text[i:i + 7], opcode=TEXT if i == 0 else 0,
                               final=i + 7 >= len(text)) for i in range(0, len(text), 7))
        tiny = b"".join(frame(text[i:i + 1]) for i in range(len(text)))
        for stream in (whole, parts, tiny):
            client = self.open()
            for i in range(len(stream)):
                client.socket.sendall(stream[i:i + 1])
            client.wait_for(b"MSG a.b 1 5\r\nhello\r\nHMSG a.b 1 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nPONG\r\n")
        for cut in range(1, len(whole)):
            client = self.open()
            client.socket.sendall(whole[:cut])
            client.socket.sendall(whole[cut:])
            client.wait_for(b"xyz\r\nPONG\r\n")
            client.close()

    def test_the_handshake_cut_at_every_byte(self):
        self.start()
        hello = request()
        for cut in range(1, len(hello)):
            client = WebSocket(self.port, None)
            client.socket.sendall(hello[:cut])
            client.socket.sendall(hello[cut:])
            self.assertEqual(client.read_answer(), 101)
            client.wait_for(b"INFO")
            client.close()

    def test_large_messages_of_both_lengths(self):
        self.start()
        client = self.open()
        client.send(CONNECT + b"SUB big 1\r\nPING\r\n")
        client.wait_for(b"PONG\r\n")
        for count in (125, 126, 127, 65535, 65536, 1000000):
            body = bytes(i * 7 % 251 for i in range(1000)) * (count // 1000 + 1)
            body = body[:count]
            client.data = b""
            client.send(b"PUB big %d\r\n" % count + body + b"\r\n")
            client.wait_for(b"MSG big 1 %d\r\n" % count + body + b"\r\n")

    def test_pings_are_answered_between_the_frames_of_a_message(self):
        self.start()
        client = self.open()
        client.send(CONNECT + b"SUB a 1\r\nPUB a", final=False)
        client.send(b"are you there", opcode=PING)
        client.wait(lambda: (PONG, b"are you there") in client.controls)
        client.send(b"ignored", opcode=PONG)
        client.send(b" 2\r\nhi\r\n", opcode=0)
        client.wait_for(b"MSG a 1 2\r\nhi\r\n")
        client.send(b"", opcode=PING)
        client.wait(lambda: (PONG, b"") in client.controls)

    def test_a_bucket(self):
        server = self.start()
        plain = server.connect()
        self.addCleanup(plain.close)
        plain.bucket_create("b")
        client = self.open()
        client.send(CONNECT + b"SUB _INBOX.x 1\r\nPUB $KV.b.k _INBOX.x 5\r\nvalue\r\n")
        client.wait_for(b'"stream":"KV_b"')
        self.assertEqual(plain.direct_get("b", "k").data, b"value")

    # ---- ends

    def test_closing_is_answered_with_the_same(self):
        self.start()
        for payload in (struct.pack(">H", 1000) + b"bye", struct.pack(">H", 1001)):
            client = self.open()
            client.wait_for(b"INFO")
            client.send(payload, opcode=CLOSE)
            self.assertEqual(client.wait_for_close(), payload)

    def test_close_codes(self):
        server = self.start(config="max_payload: 10\nmax_control_line: 1024")
        client = self.open()
        client.send(CONNECT + b"PUB a 11\r\nhello world\r\n")
        close = client.wait_for_close()
        self.assertIn(b"-ERR 'Maximum Payload Violation'\r\n", client.data)
        self.assertEqual(close, struct.pack(">H", 1009) + b"Maximum Message Payload Exceeded")
        client = self.open()
        client.send(CONNECT + b"PING\r\n")
        client.wait_for(b"PONG")
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(client.wait_for_close(), struct.pack(">H", 1001) + b"Server Shutdown")

    def test_bad_frames_end_the_connection(self):
        self.start()
        for bad in (frame(b"x", mask=None), frame(b"x", reserved=0x40), frame(b"x", opcode=3),
                    frame(b"x" * 126, opcode=PING), frame(b"x", opcode=PING, final=False),
                    frame(b"x", opcode=0), frame(b"PI", final=False) + frame(b"NG\r\n")):
            client = self.open()
            client.wait_for(b"INFO")
            client.socket.sendall(bad)
            close = client.wait_for_close()
            self.assertTrue(client.is_closed)
            if server_is_pail():
                self.assertEqual(close[:2], struct.pack(">H", 1002))

    def test_without_tls_it_must_be_said(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.conf")
            with open(path, "w") as file:
                file.write("websocket { port: -1 }\n")
            done = subprocess.run([server_program(), "-c", path, "-p", "-1", "-a", "127.0.0.1",
                                   "-sd", folder], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S)
        self.assertEqual(done.returncode, 1)
        self.assertIn("websocket requires TLS configuration", done.stderr)

    def test_a_slow_reader_is_cut_off_and_costs_no_more_than_max_pending(self):
        self.start(config="max_pending: 1048576\nmax_payload: 65536")
        slow = self.open()
        slow.send(CONNECT + b"SUB flood 1\r\nPING\r\n")
        slow.wait_for(b"PONG")
        fast = self.server.connect()
        self.addCleanup(fast.close)
        for _ in range(400):
            fast.pub("flood", b"x" * 60000)
            if any("Slow Consumer" in line for line in self.server.log if line):
                break
            fast.flush()
        self.server.wait_for_log("wid:.* Slow Consumer")

    # ---- the official client

    def test_the_node_client_puts_gets_and_watches(self):
        node = require_program("node")
        modules = os.path.join(peers_dir(), "node", "node_modules")
        if not os.path.isdir(os.path.join(modules, "@nats-io", "nats-core")):
            missing_peer("@nats-io/nats-core is not installed")
        flags = subprocess.run([node, "-p", "typeof WebSocket"], stdout=subprocess.PIPE, text=True)
        flags = [] if flags.stdout.strip() == "function" else ["--experimental-websocket"]
        self.start()
        folder = tempfile.TemporaryDirectory(prefix="pail-ws-")
        self.addCleanup(folder.cleanup)
        os.symlink(modules, os.path.join(folder.name, "node_modules"))
        here = os.path.dirname(os.path.abspath(__file__))
        program = shutil.copy(os.path.join(here, "node", "websocket.mjs"), folder.name)
        done = subprocess.run([node, *flags, program, "ws://127.0.0.1:%d" % self.port],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=6 * DEADLINE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("all done", done.stdout)


if __name__ == "__main__":
    main()
