"""
tests/e2e/auth_test.py: who may come in, what they may do, and that accounts have nothing to do with each other.

Needs nothing but the server. PAIL_SERVER may be a nats-server, but where a test says otherwise.
"""

import json
import os
import signal
import tempfile
import threading
import time
import unittest

from harness import Client, Closed, Server, ServerFailed, main, poll_until, server_is_pail

# "pw", at the lowest costs; made with libxcrypt.
HASH = "$2a$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q"

USERS = """
authorization {
  timeout: 1
  users = [
    {user: a, password: s3cret}
    {user: b, password: "%s"}
    {user: p, password: p, permissions: {
        publish: {allow: ["foo.>", "_INBOX.>"], deny: "foo.no"}, subscribe: {deny: "bar.secret"}}}
    {user: r, password: r, permissions: {subscribe: [req, "_INBOX.>"], allow_responses: {max: 2}}}
    {user: q, password: q, permissions: {subscribe: ["foo v1", "bar", "baz *.prod"]}}
    {user: kv, password: kv, permissions: {
        publish: {allow: ["$JS.API.INFO", "$JS.API.STREAM.INFO.KV_B", "$JS.API.DIRECT.GET.KV_B.>",
            "$JS.API.CONSUMER.CREATE.KV_B.>", "$KV.B.>"]}, subscribe: {allow: "_INBOX.>"}}}
    {user: ws, password: ws, allowed_connection_types: [WEBSOCKET]}
  ]
}
""" % HASH

ACCOUNTS = """
accounts {
  A { jetstream: enabled, users: [{user: a, password: a}] }
  B { jetstream: {max_mem: 1000000, max_file: 2000000, max_streams: 2, max_consumers: 2},
      users: [{user: b, password: b}] }
  N { users: [{user: n, password: n}] }
  SYS { users: [{user: s, password: s}] }
}
system_account: SYS
"""


def login(user, password=None):
    return {"user": user, "pass": user if password is None else password}


class Case(unittest.TestCase):
    def start(self, config=None, *args, **options):
        if config is not None:
            folder = tempfile.TemporaryDirectory(prefix="pail-auth-")
            self.addCleanup(folder.cleanup)
            self.config = os.path.join(folder.name, "server.conf")
            self.write(config)
            args = ("-c", self.config) + args
        server = Server(*args, **options)
        self.addCleanup(server.close)
        self.server = server
        return server

    def write(self, config):
        with open(self.config, "w") as file:
            file.write(config)

    def connect(self, user=None, password=None, **fields):
        if user is not None:
            fields.update(login(user, password))
        client = Client(self.server.port, connect=fields)
        self.addCleanup(client.close)
        return client

    def refused(self, **fields):
        """What a client with these fields of CONNECT hears before it is closed."""
        client = Client(self.server.port, connect=False)
        self.addCleanup(client.close)
        client.send_connect(**fields)
        client.send("PING\r\n")
        return client.wait_for_close()

    def assert_refused(self, **fields):
        self.assertEqual(self.refused(**fields), ["Authorization Violation"])

    def fails_to_start(self, config, words):
        with self.assertRaises(ServerFailed) as failed:
            self.start(config)
        self.assertIn(words, str(failed.exception))


class Login(Case):
    def test_users_come_in_with_their_password_alone(self):
        self.start(USERS)
        client = self.connect("a", "s3cret")
        self.assertTrue(client.info["auth_required"])
        self.assert_refused()
        self.assert_refused(**login("a", "s3creT"))
        self.assert_refused(**login("a", ""))
        self.assert_refused(**login("a", "s3cret0"))
        self.assert_refused(**login("nobody", "s3cret"))
        self.assert_refused(user="a")
        self.assert_refused(auth_token="s3cret")
        self.assert_refused(**login("ws"))

    def test_the_credentials_are_checked_before_the_protocol(self):
        self.start(USERS)
        self.assert_refused(user="a", protocol=5)
        self.assertEqual(self.refused(protocol=5, **login("a", "s3cret")),
                         ["invalid client protocol"])

    def test_bcrypt(self):
        self.start(USERS)
        self.connect("b", "pw").flush()
        self.assert_refused(**login("b", "pwx"))
        self.assert_refused(**login("b", HASH))

    def test_operations_behind_a_bcrypt_connect_wait_for_it(self):
        self.start(USERS)
        client = Client(self.server.port, connect=False)
        self.addCleanup(client.close)
        client.send_connect(**login("b", "pw"))
        client.send("SUB x 1\r\nPUB x 2\r\nhi\r\nPING\r\n")
        self.assertEqual(client.next("1").data, b"hi")
        client.wait_until(lambda: client.pong_count == 1)

    def test_a_costly_hash_holds_up_nobody_else(self):
        costly = HASH.replace("$05$", "$13$")
        self.start("authorization { timeout: 10, users: [{user: a, password: a},"
                   " {user: slow, password: '%s'}] }" % costly)
        client = self.connect("a")
        waiting = []
        for _ in range(3):
            other = Client(self.server.port, connect=False)
            self.addCleanup(other.close)
            other.send_connect(**login("slow", "x"))
            waiting.append(other)
        slowest = 0
        for _ in range(50):
            begun = time.monotonic()
            client.flush()
            slowest = max(slowest, time.monotonic() - begun)
        self.assertLess(slowest, 0.2)
        for other in waiting:
            other.close()  # what waits is given up

    def test_whoever_begins_with_something_else_is_refused(self):
        self.start(USERS)
        for operation in ("PING\r\n", "P", "SUB x 1\r\n", "\r\n"):
            client = Client(self.server.port, connect=False)
            self.addCleanup(client.close)
            client.send(operation)
            self.assertEqual(client.wait_for_close(), ["Authorization Violation"])

    def test_time_to_come_in(self):
        self.start(USERS)
        client = Client(self.server.port, connect=False)
        self.addCleanup(client.close)
        begun = time.monotonic()
        self.assertEqual(client.wait_for_close(), ["Authentication Timeout"])
        self.assertGreater(time.monotonic() - begun, 0.8)

    def test_flags(self):
        self.start(None, "--user", "u", "--pass", "p")
        self.connect("u", "p")
        self.assert_refused(**login("u", "q"))
        self.server.close()
        self.start(None, "--auth", "tok")
        client = self.connect(auth_token="tok")
        self.assertTrue(client.info["auth_required"])
        self.assertEqual(client.request("$SYS.REQ.USER.INFO").json()["data"]["user"], "[REDACTED]")
        self.assert_refused(auth_token="tik")
        self.assert_refused()

    def test_single_user_and_token_of_a_file(self):
        self.start("authorization { user: u, password: '%s' }" % HASH)
        self.connect("u", "pw")
        self.assert_refused(**login("u", "x"))
        self.server.close()
        self.start("authorization { token: T }")
        self.connect(auth_token="T")
        self.assert_refused(auth_token="t")

    def test_no_auth_user(self):
        self.start(ACCOUNTS + "no_auth_user: a")
        client = self.connect()
        self.assertNotIn("auth_required", client.info)
        poll_until(lambda: client.flush() or len(client.infos) > 1)
        self.assertEqual(client.infos[1]["remote_account"], "A")
        self.assertTrue(client.infos[1]["auth_required"])
        raw = Client(self.server.port, connect=False)
        self.addCleanup(raw.close)
        raw.flush()  # an empty CONNECT is implied
        self.assert_refused(**login("a", "wrong"))
        silent = Client(self.server.port, connect=False)
        self.addCleanup(silent.close)
        self.assertEqual(silent.wait_for_close(), ["Authentication Timeout"])

    def test_system_users_alone_leave_others_anonymous(self):
        self.start("accounts { $SYS { users: [{user: s, password: s}] } }")
        client = self.connect()
        self.assertTrue(client.info["auth_required"])
        client.bucket_create("B")
        system = self.connect("s")
        poll_until(lambda: system.flush() or len(system.infos) > 1)
        self.assertTrue(system.infos[1]["acc_is_sys"])
        self.assert_refused(**login("s", "x"))

    def test_another_connect_changes_who_it_is(self):
        self.start(ACCOUNTS)
        client, other = self.connect("a"), self.connect("b")
        client.sub("x")
        client.flush()
        client.send_connect(**login("b"))
        sid = client.sub("x")
        client.flush()
        other.pub("x", b"1")
        self.assertEqual(client.next(sid).data, b"1")

    def test_secrets_are_not_traced(self):
        self.start(USERS, "-DV")
        self.connect("a", "s3cret")
        self.refused(user="a", Pass="Other-s3cret", auth_token="t0ken")
        self.server.wait_for_log(r"authentication error - User \"a\"")
        text = self.server.log_text()
        for secret in ("s3cret", "t0ken"):
            self.assertNotIn(secret, text)


class Permissions(Case):
    def errors_of(self, client):
        client.flush()
        errors, client.errors = client.errors, []
        return errors

    def test_publish(self):
        self.start(USERS)
        client, other = self.connect("p"), self.connect("a", "s3cret")
        sid = other.sub(">")
        other.flush()
        for subject in ("foo.yes", "foo.no", "bar", "foo.*"):
            client.pub(subject, b"x")
        self.assertEqual(self.errors_of(client), [
            'Permissions Violation for Publish to "foo.no"',
            'Permissions Violation for Publish to "bar"'])
        self.assertEqual([m.subject for m in other.next_many(2, sid)], ["foo.yes", "foo.*"])

    def test_a_violation_has_no_ok(self):
        self.start(USERS)
        client = self.connect("p", verbose=True)
        before = client.ok_count
        client.send("PUB bar 0\r\n\r\nPUB foo.x 0\r\n\r\nPING\r\n")
        client.wait_until(lambda: client.pong_count == 2)
        self.assertEqual(client.ok_count, before + 1)

    def test_subscribe_and_what_a_wildcard_finds(self):
        self.start(USERS)
        client, other = self.connect("p"), self.connect("a", "s3cret")
        client.sub("bar.secret")
        self.assertEqual(self.errors_of(client),
                         ['Permissions Violation for Subscription to "bar.secret"'])
        sid = client.sub("bar.>")
        queue = client.sub("*.*", "q")
        client.flush()
        other.pub("bar.secret", b"no")
        other.pub("bar.open", b"yes")
        self.assertEqual(client.next(sid).data, b"yes")
        self.assertEqual(client.next(queue).data, b"yes")

    def test_a_queue_takes_another_member_for_what_one_may_not_have(self):
        self.start(USERS)
        denied, free = self.connect("p"), self.connect("a", "s3cret")
        denied.sub("bar.*", "q")
        denied.flush()
        sid = free.sub("bar.*", "q")
        free.flush()
        for i in range(20):
            free.pub("bar.secret", b"%d" % i)
        self.assertEqual(len(free.next_many(20, sid)), 20)

    def test_queues(self):
        self.start(USERS)
        client = self.connect("q")
        for subject, queue in (("foo", "v1"), ("foo", "v2"), ("foo", None), ("bar", None),
                               ("bar", "any"), ("baz", "x.prod"), ("baz", "x.dev"),
                               ("bar", "_sys_")):
            client.sub(subject, queue)
        self.assertEqual(self.errors_of(client), [
            'Permissions Violation for Subscription to "foo" using queue "v2"',
            'Permissions Violation for Subscription to "foo"',
            'Permissions Violation for Subscription to "baz" using queue "x.dev"',
            'Permissions Violation for Subscription to "bar" using queue "_sys_"'])

    def test_responses(self):
        self.start(USERS)
        server, client = self.connect("r"), self.connect("a", "s3cret")
        sid = server.sub("req")
        server.flush()
        answers = client.sub("answers")
        client.pub("req", b"?", "answers")
        client.flush()
        server.next(sid)
        for i in range(3):
            server.pub("answers", b"%d" % i)
        server.pub("elsewhere", b"x")
        self.assertEqual(self.errors_of(server), [
            'Permissions Violation for Publish to "answers"',
            'Permissions Violation for Publish to "elsewhere"'])
        self.assertEqual([m.data for m in client.next_many(2, answers)], [b"0", b"1"])

    def test_requests_to_jetstream_are_publishes(self):
        self.start(USERS)
        self.connect("a", "s3cret").bucket_create("B")
        client = self.connect("kv")
        self.assertEqual(client.put("B", "k", b"v"), 1)
        self.assertEqual(client.direct_get("B", "k").data, b"v")
        client.request_start("$JS.API.STREAM.DELETE.KV_B")
        client.request_start("$KV.C.k", b"v")
        self.assertEqual(self.errors_of(client), [
            'Permissions Violation for Publish to "$JS.API.STREAM.DELETE.KV_B"',
            'Permissions Violation for Publish to "$KV.C.k"'])
        self.assertEqual(client.stream_state("B")["messages"], 1)

    def test_user_info(self):
        self.start(USERS)
        info = self.connect("a", "s3cret").request("$SYS.REQ.USER.INFO").json()["data"]
        self.assertEqual(info, {"user": "a", "account": "$G", "account_name": "$G"})

    def test_default_permissions(self):
        self.start("authorization { default_permissions: {publish: 'foo'}, users: ["
                   "{user: a, password: a}, {user: b, password: b, permissions: {publish: bar}}] }")
        client = self.connect("a")
        client.pub("foo", b"")
        client.pub("bar", b"")
        self.assertEqual(self.errors_of(client), ['Permissions Violation for Publish to "bar"'])
        client = self.connect("b")
        client.pub("foo", b"")
        client.pub("bar", b"")
        self.assertEqual(self.errors_of(client), ['Permissions Violation for Publish to "foo"'])


class Accounts(Case):
    def test_subjects_are_apart(self):
        self.start(ACCOUNTS)
        a, a2, b = self.connect("a"), self.connect("a"), self.connect("b")
        sid, other = a2.sub("x.>"), b.sub(">")
        a2.flush()
        b.flush()
        a.pub("x.1", b"of a")
        a.flush()
        self.assertEqual(a2.next(sid).data, b"of a")
        b.pub("x.1", b"of b")
        self.assertEqual(b.next(other).data, b"of b")
        self.assertTrue(a2.hears_nothing(sid))
        self.assertEqual(b.request("$JS.API.STREAM.NAMES").json()["streams"], None)

    def test_buckets_of_the_same_name(self):
        self.start(ACCOUNTS)
        a, b = self.connect("a"), self.connect("b")
        for client, value in ((a, b"of a"), (b, b"of b")):
            client.bucket_create("B")
            for i in range(20):
                client.put("B", "k%d" % i, value)
        for client, value in ((a, b"of a"), (b, b"of b")):
            self.assertEqual(client.stream_state("B")["messages"], 20)
            self.assertEqual(client.direct_get("B", "k7").data, value)
            self.assertEqual(client.api_ok("STREAM.NAMES")["streams"], ["KV_B"])
            self.assertEqual(client.api_ok("INFO")["streams"], 1)
        b.api_ok("STREAM.DELETE.KV_B")
        self.assertEqual(a.put("B", "k0", b"again"), 21)
        self.assertEqual(b.api("STREAM.INFO.KV_B")["error"]["err_code"], 10059)

    def test_watches_stay_in_their_account(self):
        self.start(ACCOUNTS)
        a, b = self.connect("a"), self.connect("b")
        for client in (a, b):
            client.bucket_create("B")
            client.sid = client.sub("watch")
            client.flush()
            answer = client.consumer_create("B", "w", deliver_subject="watch",
                                            deliver_policy="last_per_subject")
            self.assertNotIn("error", answer)
        for i in range(50):
            a.put("B", "k%d" % i, b"of a")
            b.put("B", "k%d" % i, b"of b")
        self.assertEqual({m.data for m in a.next_many(50, a.sid)}, {b"of a"})
        self.assertEqual({m.data for m in b.next_many(50, b.sid)}, {b"of b"})

    @unittest.skipUnless(server_is_pail(), "pail restarts with another number of shards")
    def test_a_restart_knows_whose_streams_are_whose(self):
        self.start(ACCOUNTS)
        for user in "ab":
            client = self.connect(user)
            client.bucket_create("B")
            for i in range(10):
                client.put("B", "k%d" % i, user.encode())
        for how in (self.server.kill, self.server.stop):
            how()
            self.server.shards = 3 if how == self.server.stop else self.server.shards
            self.server.start()
            for user in "ab":
                client = self.connect(user)
                self.assertEqual(client.stream_state("B")["messages"], 10)
                self.assertEqual(client.direct_get("B", "k3").data, user.encode())
        self.assertEqual(self.connect("b").put("B", "k0", b"x"), 11)

    @unittest.skipUnless(server_is_pail(), "nats-server has another folder an account")
    def test_streams_of_an_account_that_is_gone_stay(self):
        self.start(ACCOUNTS)
        client = self.connect("b")
        client.bucket_create("B")
        client.put("B", "k", b"v")
        self.server.stop()
        self.write(ACCOUNTS.replace("  B {", "  C {"))
        self.server.start()
        self.server.wait_for_log(r"account \"B\" .*1 stream")
        client = self.connect("b")  # of C now
        self.assertEqual(client.api_ok("STREAM.NAMES")["streams"], None)
        client.bucket_create("B")
        self.server.stop()
        self.write(ACCOUNTS)
        self.server.start()
        self.assertEqual(self.connect("b").direct_get("B", "k").data, b"v")

    def test_no_jetstream_where_it_is_not_enabled(self):
        self.start(ACCOUNTS)
        client = self.connect("n")
        for request in ("INFO", "STREAM.NAMES", "STREAM.INFO.X", "STREAM.CREATE.X"):
            error = client.api(request, {"name": "X"} if "CREATE" in request else None)["error"]
            self.assertEqual((error["code"], error["err_code"]), (503, 10039))
        self.assertEqual(client.direct_get("B", "k").status, client.request("$KV.B.k").status)
        self.assertIsNotNone(client.request("$KV.B.k").status)

    def test_limits(self):
        self.start(ACCOUNTS)
        client = self.connect("b")
        limits = client.api_ok("INFO")["limits"]
        self.assertEqual([limits[k] for k in ("max_memory", "max_storage", "max_streams",
                                              "max_consumers")], [1000000, 2000000, 2, 2])

        def create(name, **changes):
            return client.api("STREAM.CREATE." + name,
                              dict({"name": name, "subjects": [name]}, **changes)
                              ).get("error", {}).get("err_code")

        self.assertEqual(create("m", storage="memory", max_bytes=1000001), 10028)
        self.assertEqual(create("f", storage="file", max_bytes=2000001), 10047)
        self.assertIsNone(create("f", storage="file", max_bytes=2000000))
        self.assertEqual(create("g", storage="file", max_bytes=1), 10047)
        client.bucket_create("B")
        self.assertEqual(create("h", storage="memory"), 10027)
        codes = [client.consumer_create("B", "c%d" % i, deliver_subject="d%d" % i,
                                        inactive_threshold=10**11).get("error", {}).get("err_code")
                 for i in range(3)]
        self.assertEqual(codes, [None, None, 10026])


CROSS = """
accounts {
  A { jetstream: enabled, users: [{user: a, password: a}],
      exports: [{service: "$JS.API.>", response_type: stream}, {service: "$KV.>"},
                {stream: "accI.>"}, {service: "svc.*"}, {stream: "pub.>"},
                {stream: "priv.>", accounts: [Y]}] }
  I { users: [{user: i, password: i}],
      imports: [{service: {account: A, subject: "$JS.API.>"}, to: "fromA.>"},
                {service: {account: A, subject: "$KV.>"}, to: "fromA.$KV.>"},
                {stream: {account: A, subject: "accI.>"}},
                {service: {account: A, subject: "svc.*"}, to: "my.*.x"},
                {stream: {account: A, subject: "pub.>"}, prefix: "P"}] }
  Y { users: [{user: y, password: y}] }
}
"""


class Imports(Case):
    def begin(self):
        self.start(CROSS)
        return self.connect("a"), self.connect("i")

    def test_a_bucket_of_another_account(self):
        a, i = self.begin()
        a.bucket_create("B")
        self.assertEqual(i.request("fromA.$KV.B.k", b"v1").json()["seq"], 1)
        self.assertEqual(i.request("fromA.$KV.B.k", b"v2").json()["seq"], 2)
        self.assertEqual(i.request("fromA.DIRECT.GET.KV_B.$KV.B.k").data, b"v2")
        self.assertEqual(i.request("fromA.STREAM.NAMES").json()["streams"], ["KV_B"])
        self.assertIsNotNone(i.request("fromA.DIRECT.GET.KV_X.$KV.X.k").status)
        self.assertEqual(i.api("INFO")["error"]["err_code"], 10039)

    def test_a_watch_from_another_account(self):
        a, i = self.begin()
        a.bucket_create("B")
        sid = i.sub("accI.w")
        i.flush()
        answer = i.request("fromA.CONSUMER.CREATE.KV_B.w", json.dumps({
            "stream_name": "KV_B", "config": {
                "name": "w", "deliver_subject": "accI.w", "deliver_policy": "last_per_subject",
                "ack_policy": "none", "filter_subject": "$KV.B.>", "mem_storage": True,
                "num_replicas": 1}})).json()
        self.assertNotIn("error", answer)
        for n in range(30):
            a.put("B", "k%d" % n, b"%d" % n)
        self.assertEqual([m.subject for m in i.next_many(30, sid)],
                         ["$KV.B.k%d" % n for n in range(30)])

    def test_services(self):
        a, i = self.begin()
        sid = a.sub("svc.*")
        a.flush()
        reply = i.request_start("my.abc.x", b"?")
        asked = a.next(sid)
        self.assertEqual((asked.subject, asked.data), ("svc.abc", b"?"))
        a.pub(asked.reply[:-1] + "X", b"forged")
        a.pub(asked.reply, b"!")
        self.assertEqual(i.answer(reply).data, b"!")
        self.assertTrue(i.hears_nothing())
        self.assertIsNotNone(i.request("my.none").status)  # no import
        a.unsub(sid)
        a.flush()
        self.assertIsNotNone(i.request("my.abc.x").status)  # nobody there

    def test_streams(self):
        a, i = self.begin()
        sids = [i.sub(subject) for subject in ("P.pub.>", "P.pub.a.*", ">")]
        queue = i.sub("P.pub.x", "q")
        other = i.sub("pub.>")
        i.flush()
        for subject in ("pub.a.b", "pub.x", "priv.x"):
            a.pub(subject, subject.encode())
        a.flush()
        for sid, wanted in zip(sids, (["P.pub.a.b", "P.pub.x"], ["P.pub.a.b"],
                                      ["P.pub.a.b", "P.pub.x"])):
            self.assertEqual([m.subject for m in i.next_many(len(wanted), sid)], wanted)
        self.assertEqual(i.next(queue).subject, "P.pub.x")
        self.assertTrue(i.hears_nothing(other))
        i.unsub(sids[0])
        i.unsub(sids[2])
        i.unsub(sids[1], 3)
        i.flush()
        for _ in range(5):
            a.pub("pub.a.b", b"x")
        a.flush()
        self.assertEqual(len(i.next_many(2, sids[1])), 2)
        self.assertTrue(i.hears_nothing())

    def test_a_reload_changes_them(self):
        a, i = self.begin()
        sid = i.sub("P.pub.>")
        i.flush()
        self.write(CROSS.replace('prefix: "P"', 'prefix: "Q"'))
        self.server.process.send_signal(signal.SIGHUP)
        self.server.wait_for_log(r"Reloaded server configuration")
        new = i.sub("Q.pub.>")
        poll_until(lambda: a.pub("pub.x", b"1") or not i.hears_nothing(new))
        i.messages.clear()
        a.pub("pub.x", b"1")
        self.assertEqual(i.next(new).subject, "Q.pub.x")
        self.assertTrue(i.hears_nothing(sid))

    def test_only_what_is_exported(self):
        self.fails_to_start(CROSS.replace("  Y {", "  Z { imports: [{stream: {account: A,"
                                          " subject: 'priv.>'}}] }\n  Y {"),
                            'stream import not authorized')


class Mistakes(Case):
    def test_told_by_key(self):
        for config, words in (
                ("authorization { user: a, password: b, token: c }",
                 "Cannot have a user/pass and token"),
                ("authorization { user: a, password: b, users: [] }",
                 "Can not have a single user/pass and a users array"),
                ("authorization { users: [{user: a}, {user: a}] }", 'Duplicate user "a" detected'),
                ("authorization { users: [{password: a}] }", "User entry requires a user"),
                ("authorization { users: [{user: a, permissions: {publish: 'a..b'}}] }",
                 'subject "a..b" is not a valid subject'),
                ("authorization { foo: 1 }", 'unknown field "foo"'),
                ("no_auth_user: x", 'no_auth_user: "x" present, but users/nkeys are not defined'),
                ("authorization { users: [{user: a, password: a}] }\nno_auth_user: x",
                 'no_auth_user: "x" not present as user or nkey'),
                ("system_account: X", "error resolving system account: account missing"),
                ("accounts { $G { } }", '"$G" is a Reserved Account'),
                ("accounts { A { imports: [{service: {account: Z, subject: x}}] } }",
                 '"Z" account not defined for service import')):
            with self.subTest(config=config):
                self.fails_to_start(config, words)

    @unittest.skipUnless(server_is_pail(), "what pail does not have")
    def test_what_pail_has_not_is_refused(self):
        for config, key in (
                ("authorization { auth_callout { issuer: x } }", "authorization.auth_callout"),
                ("authorization { users: [{nkey: UX}] }", "users.nkey"),
                ("accounts { A { mappings { a: b } } }", "accounts.mappings"),
                ("operator: x", "operator")):
            with self.subTest(config=config):
                self.fails_to_start(config, key)


class Reload(Case):
    def reload(self, config):
        self.write(config)
        self.server.process.send_signal(signal.SIGHUP)
        self.server.wait_for_log(r"Reloaded server configuration")
        self.server.log.clear()

    def users(self, *users):
        return "authorization { users: [%s] }" % ", ".join(users)

    A, B = "{user: a, password: a}", "{user: b, password: b}"

    def test_a_user_that_is_gone_or_changed(self):
        self.start(self.users(self.A, self.B, "{user: c, password: c}"))
        a, b, c = self.connect("a"), self.connect("b"), self.connect("c")
        self.reload(self.users(self.A, "{user: c, password: other}"))
        self.assertEqual(b.wait_for_close(), [])
        self.assertEqual(c.wait_for_close(), ["Authorization Violation"])
        a.flush()
        self.assert_refused(**login("b"))
        self.connect("c", "other")

    def test_a_hash_of_the_same_password(self):
        self.start(self.users("{user: a, password: pw}"))
        client = self.connect("a", "pw")
        self.reload(self.users("{user: a, password: '%s'}" % HASH))
        client.flush()
        client.flush()

    def test_permissions(self):
        self.start(self.users(self.A, self.B))
        a, b = self.connect("a"), self.connect("b")
        a.sub("foo", sid="1")
        a.sub("bar", sid="2")
        a.flush()
        self.reload(self.users("{user: a, password: a, permissions: {subscribe: bar,"
                               " publish: x}}", self.B))
        poll_until(lambda: a.flush() or a.errors)
        self.assertEqual(a.errors,
                         ['Permissions Violation for Subscription to "foo" (sid "1")'])
        b.pub("foo", b"no")
        b.pub("bar", b"yes")
        self.assertEqual(a.next("2").data, b"yes")
        a.pub("y", b"")
        a.flush()
        self.assertEqual(a.errors[1:], ['Permissions Violation for Publish to "y"'])

    def test_users_come_and_go_altogether(self):
        self.start("debug: false")
        client = self.connect()
        self.reload(self.users(self.A))
        self.assertEqual(client.wait_for_close(), ["Authorization Violation"])
        client = self.connect("a")
        self.reload("debug: false")
        self.assertEqual(client.wait_for_close(), [])
        self.connect().flush()

    def test_an_account_that_a_user_leaves(self):
        self.start("accounts { A { users: [%s] }, B { users: [%s] } }" % (self.A, self.B))
        a, b = self.connect("a"), self.connect("b")
        self.reload("accounts { A { users: [] }, B { users: [%s, %s] } }" % (self.A, self.B))
        self.assertEqual(a.wait_for_close(), [])
        b.flush()
        sid = b.sub("x")
        b.flush()
        self.connect("a").pub("x", b"1")
        self.assertEqual(b.next(sid).data, b"1")

    def test_while_clients_come_and_go(self):
        self.start(self.users(self.A, self.B))
        is_over = threading.Event()
        wrong = []

        def come_and_go():
            while not is_over.is_set():
                try:
                    client = Client(self.server.port, connect=login("a"))
                    client.flush()
                    client.close()
                except Closed as closed:
                    wrong.append(str(closed))

        threads = [threading.Thread(target=come_and_go) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(10):
            self.reload(self.users(self.A, *([self.B] if i % 2 else [])))
        is_over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    main()
