"""
tests/e2e/process_test.py: the program as scripts and test suites start, watch and stop it.

Flags in their forms, the log lines that tools wait for, files, signals and exit codes. Expectations
are those of nats-server 2.15.2 where it has them.
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from harness import (DEADLINE_S, SANITIZED, Client, Server, ServerFailed, main, server_is_pail,
                     server_program)


def run(*args):
    """The program, run to its end."""
    return subprocess.run([server_program()] + list(args), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=3 * DEADLINE_S)


class Process(unittest.TestCase):
    def start(self, *args, **options):
        server = Server(*args, **options)
        self.addCleanup(server.close)
        return server

    def connect(self, server):
        client = server.connect()
        self.addCleanup(client.close)
        return client

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="pail-e2e-")
        self.addCleanup(folder.cleanup)
        return folder.name


class Flags(Process):
    def test_version(self):
        for form in ("-v", "--version", "-version"):
            done = run(form)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r" v\d+\.\d+\.\d+")  # nats.c and nats.net read this

    def test_help(self):
        for form in ("-h", "--help"):
            done = run(form)
            self.assertEqual(done.returncode, 0)
            for flag in ("--addr", "--port", "--jetstream", "--store_dir", "--config"):
                self.assertIn(flag, done.stdout)

    def test_dash_forms(self):
        """One dash or two, the value behind a blank or an equals sign; the last one wins."""
        name = ["-n", "first", "--name=second", "-server_name", "third"]
        server = self.start("--port=-1", "--addr", "127.0.0.1", "--jetstream=true", *name)
        with server.connect() as client:
            self.assertEqual(client.info["server_name"], "third")
            self.assertIs(client.info["jetstream"], True)

    def test_booleans_take_their_value_behind_an_equals_sign(self):
        for form in ("-js=false", "--jetstream=0", "-js=F"):
            server = self.start(form)
            with server.connect() as client:
                self.assertNotIn("jetstream", client.info)
                self.assertEqual(client.request("$JS.API.INFO").status, "503")
            server.close()

    def test_unknown_flags_and_bad_values(self):
        for args, text in ((("-nonsense",), "flag provided but not defined: -nonsense"),
                           (("-p",), "flag needs an argument: -p"),
                           (("-p", "a"), 'invalid value "a" for flag -p: parse error')):
            done = run(*args)
            self.assertEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)

    def test_an_unknown_word(self):
        done = run("nonsense")
        self.assertEqual(done.returncode, 1)
        self.assertIn('unrecognized command: "nonsense"', done.stderr)

    def test_a_server_name_with_spaces(self):
        done = run("-n", "a b", "-p", "-1", "-a", "127.0.0.1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("server name cannot contain spaces", done.stderr)


class LogAndFiles(Process):
    def test_the_log_has_the_lines_that_tools_wait_for_in_order(self):
        server = self.start("-n", "named")
        lines = [r"Starting ", r"Version:  \S+", r"Name:     named", r"ID:       N",
                 r"Store Directory: \"%s" % re.escape(server.store),
                 r"Listening for client connections on 127\.0\.0\.1:%d$" % server.port,
                 r"Server is ready$"]
        text = server.log_text()
        at = 0
        for line in lines:
            match = re.compile(r"^\[%d\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} \[INF\] .*%s"
                               % (server.pid, line), re.MULTILINE).search(text, at)
            self.assertTrue(match, "%s in %s" % (line, text[at:]))
            at = match.start()

    def test_pid_file(self):
        path = os.path.join(self.folder(), "server.pid")
        server = self.start("-P", path)
        with open(path) as file:
            self.assertEqual(file.read(), str(server.pid))  # nats.rs reads it untrimmed

    def test_log_file(self):
        path = os.path.join(self.folder(), "server.log")
        server = Server("-l", path, start=False)
        self.addCleanup(server.close)
        port = free_port()
        server.process = subprocess.Popen(server.command(port), stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            client = connect_when_ready(port)
            client.close()
            server.process.send_signal(signal.SIGTERM)
            out, err = server.process.communicate(timeout=DEADLINE_S)
        finally:
            server.process.kill()
            server.process.wait()
            server.process = None
        self.assertEqual((out, err), (b"", b""))
        with open(path) as log:
            text = log.read()
        self.assertIn("Listening for client connections on 127.0.0.1:%d" % port, text)
        self.assertIn("Server is ready", text)


    def test_trace_shows_the_protocol_but_no_secrets(self):
        server = self.start("-DV")
        client = self.connect(server)
        client.send(b'CONNECT {"verbose":false,"user":"u","pass":"hush-hush"}\r\n')
        client.sub("trace.me", sid="9")
        client.pub("trace.me", b"payload-text")
        client.next(sid="9")
        server.wait_for_log(re.escape("->> [MSG trace.me 9 12]"))
        log = server.log_text()
        for line in ("<<- [SUB trace.me 9]", "<<- [PUB trace.me 12]",
                     '<<- MSG_PAYLOAD: ["payload-text"]'):
            self.assertIn(line, log)
        self.assertNotIn("hush-hush", log)


class SignalsAndExit(Process):
    def test_sigterm_and_sigint_end_in_order_and_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.start()
            clients = [self.connect(server) for _ in range(10)]
            clients[0].bucket_create("b")
            clients[0].put("b", "k", "v")
            begin = time.monotonic()
            server.process.send_signal(number)
            self.assertEqual(server.process.wait(DEADLINE_S), 0)
            self.assertLess(time.monotonic() - begin, 10 if SANITIZED else 2)
            for client in clients:
                self.assertEqual(client.wait_for_close(), [])
            server.restart()
            with server.connect() as client:
                self.assertEqual(client.direct_get("b", "k").data, b"v")

    def test_writes_that_were_acked_before_sigterm_are_there(self):
        """The signal comes while writes are on their way; each ack still holds."""
        server = self.start()
        client = self.connect(server)
        client.bucket_create("b")
        replies = [client.put_start("b", "k.%d" % n, str(n)) for n in range(5000)]
        client.wait_until(lambda: len(client.messages) > 100)
        server.process.send_signal(signal.SIGTERM)
        client.wait_for_close()
        number = {reply: n for n, reply in enumerate(replies)}
        # What came too late may be refused, with an error or with a status.
        answers = {number[msg.subject]: msg.json() for msg in client.messages
                   if msg.subject in number and msg.status is None}
        acked = {n: answer["seq"] for n, answer in answers.items() if "error" not in answer}
        self.assertGreater(len(acked), 100)
        server.restart()
        with server.connect() as client:
            for n, seq in acked.items():
                msg = client.direct_get("b", "k.%d" % n)
                self.assertEqual((msg.header("Nats-Sequence"), msg.data),
                                 (str(seq), str(n).encode()))

    def test_a_port_in_use(self):
        server = self.start()
        done = run("-a", "127.0.0.1", "-p", str(server.port), "-sd", self.folder())
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"\[FTL\] .*Error listening on port")

    def test_a_second_server_on_the_same_store_is_refused(self):
        if not server_is_pail():
            self.skipTest("nats-server has no lock on its store")
        server = self.start()
        with self.assertRaises(ServerFailed):
            Server(store=server.store)
        with server.connect() as client:
            client.api_ok("INFO")
        server.kill()  # the lock dies with its holder
        server.start(server.port)

    def test_an_idle_server_uses_no_cpu(self):
        if not server_is_pail():
            self.skipTest("the promise is pail's")
        server = self.start()
        clients = [self.connect(server) for _ in range(20)]
        for client in clients:
            client.sub("idle.>")
            client.flush()
        before = cpu_ticks(server.pid)
        self.assertTrue(clients[0].hears_nothing(silence_s=1.0))
        # A hundred ticks are this second; a few are for the connections' first pings.
        self.assertLessEqual(cpu_ticks(server.pid) - before, 3)


def cpu_ticks(pid):
    """User and system time of all threads, in clock ticks."""
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect_when_ready(port):
    """A connection as soon as the port takes one; there is no log to wait for."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return Client(port)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise


if __name__ == "__main__":
    main()
