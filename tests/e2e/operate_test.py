"""
tests/e2e/operate_test.py: the server as an operator meets it: --signal, reload, lame duck mode, log files.

Needs nothing but the server. PAIL_SERVER may be a nats-server, but for what it says of itself.
"""

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from harness import DEADLINE_S, Client, Server, main, poll_until, server_is_pail, server_program


def read(path):
    with open(path) as file:
        return file.read()


def run(*args):
    return subprocess.run([server_program(), *args], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=3 * DEADLINE_S)


class Operate(unittest.TestCase):
    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="pail-operate-")
        self.addCleanup(folder.cleanup)
        return folder.name

    def start(self, config="", *args, **options):
        """A server with a configuration file of that text."""
        self.config = os.path.join(self.folder(), "server.conf")
        self.write(config)
        server = Server("-c", self.config, *args, **options)
        self.addCleanup(server.close)
        return server

    def write(self, config):
        with open(self.config, "w") as file:
            file.write(config)

    def connect(self, server, **options):
        client = server.connect(**options)
        self.addCleanup(client.close)
        return client

    def reload(self, server, config, answer):
        self.write(config)
        server.process.send_signal(signal.SIGHUP)
        return server.wait_for_log(answer)


class ConfigTest(Operate):
    def test_t_tells_valid_files_by_their_digest(self):
        path = os.path.join(self.folder(), "x.conf")
        with open(path, "w") as file:
            file.write("max_payload: 100\n")
        done = run("-t", "-c", path)
        self.assertEqual(done.returncode, 0)
        self.assertIn("configuration file %s is valid (sha256:" % path, done.stderr)

    def test_a_file_as_suites_write_it(self):
        folder = self.folder()
        server = self.start('http: "127.0.0.1:-1"\nleafnodes { listen: "127.0.0.1:-1" }\n'
                            'server_tags: [ "id:abc" ]\nports_file_dir: "%s"\n' % folder)
        name = os.path.basename(server_program())
        path = os.path.join(folder, "%s_%d.ports" % (name, server.pid))
        with open(path) as file:
            self.assertRegex(file.read(), r'^\{"nats":\["nats://127\.0\.0\.1:%d"\],'
                             r'"monitoring":\["http://127\.0\.0\.1:\d+"\]' % server.port)
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_client_advertise_is_what_info_tells(self):
        server = self.start('client_advertise: "nats.example:4333"\n')
        client = self.connect(server)
        self.assertEqual((client.info["host"], client.info["port"]), ("nats.example", 4333))

    def test_too_many_tokens_of_a_subscription(self):
        server = self.start("max_subscription_tokens: 3\n")
        client = self.connect(server)
        client.send(b"SUB a.b.c.d 1\r\nSUB a.b.c 2\r\nPUB a.b.c 1\r\nx\r\n")
        client.next(sid="2")
        self.assertEqual(client.errors, ["Permissions Violation for Subscription to \"a.b.c.d\", "
                                         "too many tokens"])

    def test_no_header_support(self):
        server = self.start("no_header_support: true\n", jetstream=False)
        self.assertIs(self.connect(server, connect=False).info["headers"], False)


class SignalCommand(Operate):
    def test_each_command_reaches_the_server(self):
        server = self.start()
        for command, line in (("reload", 'Trapped "hangup" signal'),
                              ("reopen", "File log re-open ignored, not a file logger")):
            done = run("--signal", "%s=%d" % (command, server.pid))
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
            server.wait_for_log(re.escape(line))
        done = run("-sl", "quit=%d" % server.pid)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_a_pid_file_names_the_process(self):
        path = os.path.join(self.folder(), "pid")
        server = self.start("", "-P", path)
        self.assertEqual(run("--signal=term=" + path).returncode, 0)
        self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_stop_kills(self):
        server = self.start()
        self.assertEqual(run("--signal", "stop=%d" % server.pid).returncode, 0)
        self.assertEqual(server.process.wait(DEADLINE_S), -signal.SIGKILL)
        server.stop()

    def test_mistakes(self):
        for argument, words in (("quit=nonsense", "invalid pid: nonsense"),
                                ("xyz=1", 'unknown signal "xyz"'),
                                ("quit=999999", '\nsignal "quit" 999999: no such process')):
            done = run("--signal", argument)
            self.assertEqual(done.returncode, 1, argument)
            self.assertIn(": " + words, done.stderr)


class Reload(Operate):
    def test_what_can_change_changes(self):
        server = self.start("max_payload: 100\n")
        client = self.connect(server)
        self.assertEqual(client.info["max_payload"], 100)
        self.reload(server, "max_payload: 200\ndebug: true\nping_interval: \"1m30s\"\n",
                    r"Reloaded server configuration \(sha256:[0-9a-f]{64}\)")
        for line in ("Reloaded: max_payload = 200", "Reloaded: debug = true",
                     "Reloaded: ping_interval = 1m30s"):
            server.wait_for_log(re.escape(line))
        poll_until(lambda: self.connect(server).info["max_payload"] == 200)
        client.sub("big", sid="1")
        client.pub("big", b"x" * 150)  # the open connection may send more now
        self.assertEqual(len(client.next(sid="1").data), 150)
        self.reload(server, "max_payload: 100\n", "Reloaded: max_payload = 100")
        poll_until(lambda: self.connect(server).info["max_payload"] == 100)
        client.pub("big", b"x" * 150)
        self.assertEqual(client.wait_for_close(), ["Maximum Payload Violation"])

    def test_on_an_error_nothing_changes(self):
        server = self.start("max_payload: 100\n")
        client = self.connect(server)
        failed = r"\[ERR\] Failed to reload server configuration: "
        for config, words in (("max_payload: 200\nfoo: 1\n", r'.*:2:1: unknown field "foo"'),
                              ("max_payload: 200\nmax_pending: 70000000\n",
                               "config reload not supported for MaxPending: "
                               "old=67108864, new=70000000"),
                              ("max_payload: 300\nserver_name: x\n",
                               "config reload not supported for ServerName: old=.*, new=x"),
                              ("max_payload {\n", "Parse error on line"),
                              ("max_payload: 400\nlog_file: /nonexistent/x\n", "")):
            self.reload(server, config, failed + words)
            self.assertEqual(self.connect(server).info["max_payload"], 100, config)
        os.unlink(self.config)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log(failed + r"open .*: no such file or directory")
        client.flush()

    def test_without_a_file_it_is_refused(self):
        server = Server()
        self.addCleanup(server.close)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("can only reload config when a file is provided using -c or --config")
        self.connect(server)

    def test_flags_keep_their_precedence(self):
        server = self.start("debug: false\n", "-D")
        self.reload(server, "debug: false\nmax_payload: 77\n", "Reloaded server configuration")
        self.assertNotIn("Reloaded: debug", server.log_text())

    def test_fewer_connections_than_there_are_close_the_oldest(self):
        server = self.start("max_connections: 10\n")
        clients = [self.connect(server) for _ in range(6)]
        for client in clients:
            client.flush()
        self.reload(server, "max_connections: 4\n", "Reloaded: max_connections = 4")
        for client in clients[:2]:
            self.assertEqual(client.wait_for_close(), ["maximum connections exceeded"])
        for client in clients[2:]:
            client.flush()
        refused = Client(server.port, connect=False)
        self.addCleanup(refused.close)
        self.assertEqual(refused.wait_for_close(), ["maximum connections exceeded"])

    def test_the_log_goes_to_another_file(self):
        server = self.start()
        path = os.path.join(self.folder(), "new.log")
        self.write("log_file: '%s'\n" % path)
        server.process.send_signal(signal.SIGHUP)
        poll_until(lambda: os.path.exists(path) and "Reloaded server configuration"
                   in read(path))

    def test_the_ports_file_moves(self):
        old, new = self.folder(), self.folder()
        server = self.start("ports_file_dir: '%s'\n" % old)
        self.assertEqual(len(os.listdir(old)), 1)
        self.reload(server, "ports_file_dir: '%s'\n" % new, "Reloaded: ports_file_dir = " + new)
        poll_until(lambda: len(os.listdir(new)) == 1 and not os.listdir(old))
        server.stop()
        self.assertEqual(os.listdir(new), [])


class LameDuck(Operate):
    CONFIG = 'lame_duck_duration: "30s"\nlame_duck_grace_period: "3s"\nhttp: "127.0.0.1:-1"\n'

    def healthz(self, server):
        port = server.wait_for_log(r"http monitor on 127\.0\.0\.1:(\d+)").group(1)
        try:
            with urllib.request.urlopen("http://127.0.0.1:%s/healthz" % port) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def test_clients_hear_of_it_are_served_and_closed_one_by_one(self):
        server = self.start(self.CONFIG)
        clients = [self.connect(server) for _ in range(4)]
        clients[0].bucket_create("b")
        for client in clients:
            client.flush()
        self.assertEqual(self.healthz(server), 200)
        server.process.send_signal(signal.SIGUSR2)
        for client in clients:
            client.wait_until(lambda: any(info.get("ldm") for info in client.infos))
        self.assertEqual(self.healthz(server), 500)
        with self.assertRaises(OSError):
            Client(server.port)
        server.process.send_signal(signal.SIGTERM)  # has no effect any more
        clients[3].sub("still.there", sid="7")
        clients[3].flush()
        clients[2].pub("still.there", b"x")
        clients[3].next(sid="7")
        if server_is_pail():  # nats-server has stopped JetStream by now
            clients[0].put("b", "k", "v")
        for client in clients:
            self.assertEqual(client.wait_for_close(), [])
        self.assertEqual(server.process.wait(DEADLINE_S), 0)
        text = server.log_text()
        for line in ("Entering lame duck mode, stop accepting new clients",
                     "Closing existing clients", "Initiating Shutdown...", "Server Exiting.."):
            self.assertIn(line, text)
        if server_is_pail():
            server.stop()
            server.start(server.port)
            self.assertEqual(self.connect(server).direct_get("b", "k").data, b"v")

    def test_without_clients_it_ends_at_once(self):
        server = self.start()
        begin = time.monotonic()
        server.process.send_signal(signal.SIGUSR2)
        self.assertEqual(server.process.wait(DEADLINE_S), 0)
        self.assertLess(time.monotonic() - begin, 5)

    def test_sigint_ends_it(self):
        server = self.start()
        client = self.connect(server)
        client.flush()
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for_log("Entering lame duck mode")
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(DEADLINE_S), 0)

    def test_a_grace_period_that_is_no_part_of_it(self):
        path = os.path.join(self.folder(), "x.conf")
        with open(path, "w") as file:
            file.write('lame_duck_duration: "30s"\nlame_duck_grace_period: "40s"\n')
        done = run("-c", path, "-p", "-1", "-a", "127.0.0.1", "-sd", self.folder())
        self.assertEqual(done.returncode, 1)
        self.assertIn("lame duck grace period (40s) should be strictly lower than lame duck "
                      "duration (30s)", done.stderr)


class StoreLimits(Operate):
    CONFIG = ("jetstream { max_mem_store: 2MB, max_file_store: 1MB }\n")

    def make(self, client, name, **config):
        answer = client.api("STREAM.CREATE." + name,
                            dict({"name": name, "subjects": [name + ".>"]}, **config))
        return answer.get("error", {}).get("err_code", 0)

    def put(self, client, subject, count=100000):
        answer = client.request(subject, b"x" * count).json()
        return answer.get("error", {}).get("err_code", 0)

    def test_a_stream_reserves_its_max_bytes(self):
        client = self.connect(self.start(self.CONFIG))
        self.assertEqual(self.make(client, "A", max_bytes=2000000), 10047)
        self.assertEqual(self.make(client, "B", max_bytes=600000), 0)
        self.assertEqual(self.make(client, "B", max_bytes=600000), 0)  # it is there
        self.assertEqual(self.make(client, "C", max_bytes=600000), 10047)
        self.assertEqual(self.make(client, "M", max_bytes=3000000, storage="memory"), 10028)
        self.assertEqual(client.api("INFO")["reserved_storage"], 600000)
        for count, code in ((2000000, 10047), (700000, 0)):
            answer = client.api("STREAM.UPDATE.B", {"name": "B", "subjects": ["B.>"],
                                                    "max_bytes": count})
            self.assertEqual(answer.get("error", {}).get("err_code", 0), code)
        self.assertEqual(client.api("INFO")["reserved_storage"], 700000)
        client.api("STREAM.DELETE.B")
        self.assertEqual(self.make(client, "C", max_bytes=600000), 0)

    def test_more_than_the_limit_is_refused_until_something_goes(self):
        client = self.connect(self.start(self.CONFIG))
        for name, storage, count in (("D", "file", 11), ("M", "memory", 21)):
            self.assertEqual(self.make(client, name, storage=storage), 0)
            codes = [self.put(client, name + ".x") for _ in range(count + 2)]
            self.assertEqual(codes, [0] * count + [10023] * 2)
        self.assertEqual(self.make(client, "E"), 0)  # a stream without a reservation may be made
        self.assertEqual(self.put(client, "E.x", 10), 10023)
        client.api("STREAM.PURGE.D")
        self.assertEqual(self.put(client, "E.x", 10), 0)

    def test_a_bucket_on_all_shards_is_limited_too(self):
        client = self.connect(self.start(self.CONFIG))
        client.bucket_create("b")
        codes = [self.put(client, "$KV.b.k%d" % n) for n in range(30)]
        self.assertEqual(codes[:10], [0] * 10)
        self.assertEqual(codes[20:], [10023] * 10)
        client.api("STREAM.DELETE.KV_b")
        client.bucket_create("b")
        self.assertEqual(self.put(client, "$KV.b.k"), 0)

    def test_a_reload_raises_the_limit(self):
        server = self.start("jetstream { max_file_store: 1MB }\n")
        client = self.connect(server)
        self.assertEqual(self.make(client, "B", max_bytes=2000000), 10047)
        self.reload(server, "jetstream { max_file_store: 4MB }\n",
                    re.escape("Reloaded: JetStream max_file_store = 4.00 MB"))
        poll_until(lambda: self.make(client, "B", max_bytes=2000000) == 0)
        self.reload(server, "jetstream { max_file_store: 3MB }\n",
                    "config reload not supported for decreasing jetstream max memory and store")


class LogFiles(Operate):
    def test_a_large_file_is_rotated_and_old_ones_go(self):
        path = os.path.join(self.folder(), "x.log")
        config = os.path.join(self.folder(), "x.conf")
        with open(config, "w") as file:
            file.write("log_file: '%s'\nlog_size_limit: 2000\nlog_max_num: 3\ndebug: true\n" % path)
        server = Server("-c", config, start=False)
        self.addCleanup(server.close)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server.process = subprocess.Popen(server.command(port), stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            folder = os.path.dirname(path)

            def made_another():
                try:
                    Client(port).close()
                except OSError:
                    pass
                return len(os.listdir(folder)) == 3 and "Rotated log, backup saved as" in "".join(
                    read(os.path.join(folder, name)) for name in os.listdir(folder))
            poll_until(made_another)
            for _ in range(50):
                Client(port).close()
            names = sorted(os.listdir(folder))
            self.assertEqual(names[0], "x.log")
            self.assertLessEqual(len(names), 3)
            for name in names[1:]:
                self.assertRegex(name, r"^x\.log\.\d{4}(\.\d\d){5}\.\d{9}$")
        finally:
            server.process.kill()
            server.process.wait()
            server.process = None


if __name__ == "__main__":
    main()
