"""
tests/e2e/protocol_test.py: the client protocol over a raw socket.

First the rows of a conformance list, each a few bytes and the exact answer of nats-server 2.15.2;
then what bad input, slow peers and many connections may do: nothing to anybody else.
"""

import random
import socket
import time

from harness import (DEADLINE_S, SANITIZED, Client, ServerTest, expected, main, memory_limit,
                     poll_until)

UNKNOWN_OPERATION = "Unknown Protocol Operation"
CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'


class ProtocolTest(ServerTest):
    def raw(self):
        """A connection on which nothing has been sent."""
        return self.connect(connect=False)

    def assert_closes(self, sent, *errors, connect=True):
        """After these bytes the server says exactly these errors and closes."""
        client = self.connect() if connect else self.raw()
        client.send(sent)
        self.assertEqual(client.wait_for_close(), list(errors), sent)

    def names(self, client, count):
        """The names of the next `count` operations after INFO."""
        client.wait_until(lambda: len(client.ops) > count)
        return [name for name, _ in client.ops[1:count + 1]]


class ConnectionLife(ProtocolTest):
    def test_info_comes_first_and_has_what_clients_read(self):
        connection = socket.create_connection(("127.0.0.1", self.server.port), DEADLINE_S)
        self.addCleanup(connection.close)
        line = b""
        while not line.endswith(b"\r\n"):
            line += connection.recv(4096)
        self.assertTrue(line.startswith(b"INFO {") and line.endswith(b"} \r\n"), line)
        self.assertLess(len(line), 4096)
        info = self.raw().info
        self.assertRegex(info["server_id"], r"^N[A-Z2-7]{55}$")
        self.assertRegex(info["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(info["port"], self.server.port)
        self.assertEqual(info["client_ip"], "127.0.0.1")
        self.assertEqual(info["max_payload"], 1048576)
        self.assertGreaterEqual(info["proto"], 1)
        self.assertGreater(info["client_id"], 0)
        for field, kind in (("server_name", str), ("go", str), ("host", str)):
            self.assertIsInstance(info[field], kind)
        self.assertIs(info["headers"], True)
        self.assertIs(info["jetstream"], True)
        for absent in ("auth_required", "tls_required", "connect_urls", "ldm", "nonce"):
            self.assertNotIn(absent, info)

    def test_every_connection_has_its_own_id(self):
        ids = [self.raw().info["client_id"] for _ in range(20)]
        self.assertEqual(len(set(ids)), 20)

    def test_an_empty_connect_is_verbose(self):
        for text in ("CONNECT {}\r\n", 'CONNECT {"verbose":null}\r\n', "CONNECT null\r\n",
                     'CONNECT{}\r\n', 'CONNECT {"Verbose":true,"unknown":{"a":[1]}}\r\n'):
            client = self.raw()
            client.send(text)
            client.wait_until(lambda: client.ok_count == 1, what="+OK for " + text)

    def test_the_second_info_follows_the_first_pong(self):
        client = self.raw()
        client.send_connect()
        client.send("PING\r\n")
        self.assertEqual(self.names(client, 2), ["PONG", "INFO"])
        self.assertIs(client.infos[1]["connect_info"], True)
        self.assertEqual(client.infos[1]["remote_account"], "$G")
        client.flush()
        client.flush()
        self.assertEqual(len(client.infos), 2)

    def test_a_client_of_protocol_0_gets_no_second_info(self):
        client = self.raw()
        client.send_connect(protocol=0)
        client.flush()
        client.flush()
        self.assertEqual([name for name, _ in client.ops], ["INFO", "PONG", "PONG"])

    def test_operations_work_without_connect(self):
        client = self.raw()
        client.send("PING\r\nSUB a 1\r\nPUB a 1\r\nx\r\n")
        self.assertEqual(self.names(client, 4), ["PONG", "+OK", "+OK", "MSG"])

    def test_operation_names_in_any_case_and_bare_newlines(self):
        client = self.raw()
        client.send('connect {"verbose":false}\nPING\n')
        client.wait_until(lambda: client.pong_count == 1)
        client.send("sub a 1\r\npub a 5\r\nhello\r\n")
        self.assertEqual(client.next(sid="1").data, b"hello")

    def test_bad_connects(self):
        self.assert_closes('CONNECT {"no_responders":true}\r\n',
                           "no responders requires headers support", connect=False)
        self.assert_closes('CONNECT {"protocol":2}\r\n', "invalid client protocol", connect=False)
        for silent in ('{"verbose":"no"}', '{"echo":1}', '{"protocol":1.0}', "{", "[]", '"x"',
                       "{} x", ""):
            with self.subTest(silent):
                self.assert_closes("CONNECT %s\r\n" % silent, connect=False)

    def test_the_first_ping_comes_about_two_seconds_after_connect(self):
        client = self.connect()
        start = time.monotonic()
        client.wait_until(lambda: ("PING", None) in client.ops, 10, "PING")
        self.assertGreater(time.monotonic() - start, 1.5)
        self.assertLess(time.monotonic() - start, 6)

    def test_half_close_still_delivers_what_was_caused(self):
        client = self.connect()
        client.sub("x.half", sid="1")
        client.send(b"PUB x.half 1\r\nv\r\n" * 3000 + b"PING\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        client.wait_for_close()
        self.assertEqual(len(client.messages), 3000)
        self.assertEqual(client.ops[-1][0], "PONG")


class Parser(ProtocolTest):
    def test_pings_in_pieces_of_one_byte(self):
        client = self.connect()
        for byte in b"PING\r\nPING\r\n":
            client.send(bytes([byte]))
        before = client.pong_count
        client.pings_asked += 2
        client.wait_until(lambda: client.pong_count >= before + 2)

    def test_blanks_between_and_behind_arguments(self):
        client = self.connect()
        client.sub("a", sid="1")
        for text in ("PUB a   2  \r\nhi\r\n", "PUB\ta\t2\t\r\nhi\r\n", "PUB  a 2\nhi\r\n"):
            client.send(text)
            self.assertEqual(client.next(sid="1").data, b"hi")

    def test_leading_zeros_of_a_size_are_echoed(self):
        client = self.connect()
        client.sub("a", sid="1")
        client.send("PUB a 002\r\nhi\r\nHPUB a 0012 0014\r\nNATS/1.0\r\n\r\nhi\r\n")
        self.assertEqual(client.next(sid="1").size_text, "002")
        self.assertEqual(client.next(sid="1").size_text, "0012 0014")

    def test_unknown_operations_close_with_a_word(self):
        for text in ("FOO\r\n", " PING\r\n", "\r\n", "PUBX a 1\r\n", "SUBa 1\r\n", "PUB\r\n",
                     "MSG a 1 1\r\nx\r\n", "\x00\x01\x02\x03\r\n", "RS+ a\r\n",
                     "GET / HTTP/1.1\r\n"):
            with self.subTest(text):
                self.assert_closes(text, UNKNOWN_OPERATION)

    def test_a_payload_without_its_end_closes_with_a_word(self):
        self.assert_closes("PUB a 5\r\nhelloX", UNKNOWN_OPERATION)
        self.assert_closes("PUB a 1\r\nhello\r\n", UNKNOWN_OPERATION)

    def test_bad_arguments_close_without_a_word(self):
        for text in ("PUB a x\r\n", "PUB a -1\r\n", "PUB a 0000000002\r\nhi\r\n", "SUB a\r\n",
                     "PUB a\r\n", "PUB a b c 1\r\n", "SUB a b c d\r\n", "UNSUB\t\r\n",
                     "HPUB a 5 2\r\n", "HPUB a 5\r\n", "HPUB a x 2\r\n", "PUB a 0x1\r\n"):
            with self.subTest(text):
                self.assert_closes(text)

    def test_hpub_without_headers_in_connect_closes_without_a_word(self):
        client = self.connect(connect={"headers": False, "no_responders": False})
        client.send("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        self.assertEqual(client.wait_for_close(), [])

    def test_a_payload_above_the_maximum_closes_with_a_word(self):
        self.assert_closes("PUB a 1048577\r\n", "Maximum Payload Violation")
        self.assert_closes("PUB a 2000000\r\n", "Maximum Payload Violation")
        self.assert_closes("HPUB a 12 1048577\r\n", "Maximum Payload Violation")

    def test_a_payload_of_the_maximum_passes(self):
        client = self.connect()
        client.sub("max", sid="1")
        data = random.Random(1).randbytes(1048576)
        client.pub("max", data)
        self.assertEqual(client.next(sid="1").data, data)

    def test_a_control_line_of_5_kib_closes_with_a_word(self):
        too_long = "maximum control line exceeded"
        self.assert_closes("SUB " + "a" * 5120 + " 1\r\n", too_long)
        self.assert_closes("PUB " + "a" * 5120 + " 1\r\nx\r\n", too_long)
        self.assert_closes("SUB " + "a" * 5120, too_long)  # not even when its end never comes
        self.assert_closes("CONNECT " + '{"name":"%s"}' % ("a" * 5120), too_long, connect=False)

    def test_a_control_line_of_4096_bytes_passes_and_4097_do_not(self):
        client = self.connect()
        client.send("SUB " + "a" * 4094 + " 1\r\n")
        client.send("PUB " + "a" * 4094 + " 1\r\nx\r\n")
        self.assertEqual(client.next(sid="1").data, b"x")
        self.assert_closes("SUB " + "a" * 4095 + " 1\r\n", "maximum control line exceeded")

    def test_verbose_answers_each_operation_in_order(self):
        client = self.raw()
        client.send('CONNECT {"verbose":true,"pedantic":false}\r\nSUB a 1\r\nPUB a 1\r\nx\r\n'
                    "UNSUB 1\r\nPING\r\n")
        self.assertEqual(self.names(client, 6), ["+OK", "+OK", "+OK", "MSG", "+OK", "PONG"])

    def test_what_a_client_need_not_send_is_ignored(self):
        client = self.connect()
        client.send("+OK\r\nPONG\r\nINFO {}\r\nPING foo\r\n")
        client.pings_asked += 1
        client.flush()
        self.assertEqual(client.errors, [])

    def test_an_error_from_the_client_closes_without_a_word(self):
        self.assert_closes("-ERR 'no'\r\n")


class SplitInput(ProtocolTest):
    """Input may be cut anywhere; the messages are the same."""

    OPERATIONS = (b"SUB split.a q 7\r\nSUB split.> 8\r\nPUB split.a 5\r\nhello\r\n"
                  b"PUB split.a r.1 3\r\na\r\n\r\n"
                  b"HPUB split.b r.2 18 21\r\nNATS/1.0\r\nA: b\r\n\r\nxyz\r\n"
                  b"UNSUB 7\r\nUNSUB 8 4\r\npub split.c 0\r\n\r\nPUB split.d 2\n\r\n\r\n"
                  b"sub gone 9\r\nUNSUB 9\r\nPING\r\n")

    def observed(self, ops):
        """What was received, to compare: each subscription has an order of its own."""
        messages = [value for name, value in ops if name in ("MSG", "HMSG")]
        return sorted((m.sid, m.subject, m.reply or "", m.headers.block if m.headers else b"",
                       m.data) for m in messages)

    def transcript(self, pieces):
        """Sends the pieces, each after the server has read the one before."""
        client = self.connect()
        client.ops.clear()
        for piece in pieces[:-1]:
            client.send(piece)
            client.wait_until_read()
        client.send(pieces[-1])
        pongs = client.pong_count + 1
        client.pings_asked += 1
        client.wait_until(lambda: client.pong_count >= pongs, what="the last PONG")
        result = self.observed(client.ops)
        client.close()
        return result

    def setUp(self):
        self.whole = self.transcript([self.OPERATIONS])

    def test_the_whole_has_the_expected_messages(self):
        header = b"NATS/1.0\r\nA: b\r\n\r\n"
        self.assertEqual(self.whole, [
            ("7", "split.a", "", b"", b"hello"), ("7", "split.a", "r.1", b"", b"a\r\n"),
            ("8", "split.a", "", b"", b"hello"), ("8", "split.a", "r.1", b"", b"a\r\n"),
            ("8", "split.b", "r.2", header, b"xyz"), ("8", "split.c", "", b"", b"")])

    def test_cut_in_two_at_every_byte(self):
        for cut in range(1, len(self.OPERATIONS)):
            pieces = [self.OPERATIONS[:cut], self.OPERATIONS[cut:]]
            self.assertEqual(self.transcript(pieces), self.whole, pieces)

    def test_cut_at_every_byte_at_once(self):
        self.assertEqual(self.transcript([bytes([byte]) for byte in self.OPERATIONS]), self.whole)

    def test_cut_in_three_at_random(self):
        chance = random.Random(20)
        for _ in range(50):
            a, b = sorted(chance.sample(range(1, len(self.OPERATIONS)), 2))
            pieces = [self.OPERATIONS[:a], self.OPERATIONS[a:b], self.OPERATIONS[b:]]
            self.assertEqual(self.transcript(pieces), self.whole, pieces)

    def test_connect_cut_at_every_byte(self):
        text = CONNECT + b"PING\r\n"
        for cut in range(1, len(text)):
            client = self.raw()
            client.send(text[:cut])
            client.wait_until_read()
            client.send(text[cut:])
            client.wait_until(lambda: client.pong_count == 1, what="PONG, cut at %d" % cut)
            self.assertEqual(client.errors, [])
            client.close()

    def test_a_large_payload_in_many_pieces(self):
        client = self.connect()
        client.sub("large", sid="1")
        data = random.Random(21).randbytes(300_000)
        text = client.pub_bytes("large", data)
        for start in range(0, len(text), 7_001):
            client.send(text[start:start + 7_001])
        self.assertEqual(client.next(sid="1").data, data)

    def test_kv_writes_cut_at_every_byte(self):
        bucket = self.bucket_name()
        self.connect().bucket_create(bucket, max_msgs_per_subject=64)
        client = self.connect()
        client.sub("ack.*", sid="1")
        subject = "$KV.%s.k" % bucket
        revision = 0
        for cut in range(1, len(client.pub_bytes(subject, b"value", "ack.1", expected(0)))):
            write = client.pub_bytes(subject, b"value", "ack.1", expected(revision))
            client.send(write[:cut])
            client.wait_until_read()
            client.send(write[cut:])
            revision = client.next(sid="1").json()["seq"]
            self.assertEqual(revision, cut)


class Subjects(ProtocolTest):
    def test_invalid_subjects_are_refused_and_the_connection_stays(self):
        client = self.connect()
        bad = ("a..b", ".a", "a.", ".", "a.>.b", ">.a")
        for subject in bad:
            client.sub(subject)
        client.flush()
        self.assertEqual(client.errors, ["Invalid Subject"] * len(bad))

    def test_pedantic_publishes_are_checked_and_still_routed(self):
        client = self.connect(connect={"pedantic": True})
        client.sub("pedantic.>", sid="1")
        client.pub("pedantic..b")
        client.pub("pedantic.*")
        client.flush()
        self.assertEqual(client.errors, ["Invalid Publish Subject"] * 2)
        self.assertEqual([msg.subject for msg in client.messages], ["pedantic.*"])

    def test_a_subject_with_an_empty_token_reaches_nobody(self):
        client = self.connect()
        client.sub(">", sid="1")
        client.pub("empty..token", "x")
        self.assertTrue(client.hears_nothing("1"))
        self.assert_no_responders(client.request("empty..token"), "empty..token")

    def test_wildcards(self):
        client = self.connect()
        subscriptions = {"w.*": "1", "w.>": "2", "w.*.c": "3", "*.b": "4", "w.b": "5", ">": "6",
                         "w.*.*": "7", "w.b.>": "8", "w.*x": "9", "W.b": "10"}
        for subject, sid in subscriptions.items():
            client.sub(subject, sid=sid)
        for subject, sids in (("w", "6"), ("w.b", "1 2 4 5 6"), ("w.b.c", "2 3 6 7 8"),
                              ("w.b.c.d", "2 6 8"), ("w.*x", "1 2 6 9"), ("w.*", "1 2 6"),
                              ("w.>", "1 2 6"), ("W.b", "4 6 10"), ("w.zx", "1 2 6")):
            client.pub(subject)
            client.flush()
            got = {msg.sid for msg in client.messages}
            self.assertEqual(len(got), len(client.messages))
            client.messages.clear()
            self.assertEqual(got, set(sids.split()), subject)

    def test_opaque_bytes_in_subjects(self):
        client = self.connect()
        for subject in ("ünï.cödé", "a.\x01\x7f", "a.{}\"'"):
            client.sub(subject, sid="1")
            client.pub(subject, "x")
            self.assertEqual(client.next(sid="1").data, b"x")
            client.unsub("1")

    def test_the_same_sid_twice_keeps_the_first_subscription(self):
        client = self.connect()
        client.sub("sid.a", sid="1")
        client.sub("sid.b", sid="1")
        client.pub("sid.b")
        client.pub("sid.a")
        client.flush()
        self.assertEqual([msg.subject for msg in client.messages], ["sid.a"])

    def test_unsub_after_a_number_of_messages(self):
        client = self.connect()
        client.sub("auto", sid="1")
        client.unsub("1", 2)
        for _ in range(3):
            client.pub("auto")
        client.flush()
        self.assertEqual(len(client.messages), 2)
        client.sub("auto", sid="2")
        client.pub("auto")
        client.unsub("2", 1)  # one was delivered already: gone now
        client.pub("auto")
        client.flush()
        self.assertEqual([msg.sid for msg in client.messages], ["1", "1", "2"])
        client.unsub("unknown")
        client.flush()
        self.assertEqual(client.errors, [])

    def test_echo_off_keeps_own_messages_away(self):
        client = self.connect(connect={"echo": False})
        other = self.connect()
        client.sub("echo", sid="1")
        client.flush()
        client.pub("echo", "own")
        client.flush()
        other.pub("echo", "other")
        self.assertEqual(client.next(sid="1").data, b"other")

    def test_reserved_reply_subjects_are_refused(self):
        client = self.connect()
        client.sub("reserved", sid="1")
        client.send("PUB reserved $JS.ACK.x 0\r\n\r\n")
        client.flush()
        self.assertEqual(client.errors,
                         ['Permissions Violation for Publish with Reply of "$JS.ACK.x"'])
        self.assertFalse(client.messages)

    def test_many_subscriptions_on_one_connection(self):
        client = self.connect()
        client.send("".join("SUB many.%d %d\r\n" % (n, n) for n in range(5000)))
        client.flush()
        client.send("".join("PUB many.%d 0\r\n\r\n" % n for n in range(5000)))
        client.flush()
        self.assertEqual([msg.sid for msg in client.messages], [str(n) for n in range(5000)])
        client.send("".join("UNSUB %d\r\n" % n for n in range(5000)))
        client.messages.clear()
        client.pub("many.1")
        client.flush()
        self.assertFalse(client.messages)


class HeadersAndReplies(ProtocolTest):
    def test_headers_reach_those_who_want_them(self):
        client = self.connect()
        plain = self.connect(connect={"headers": False, "no_responders": False})
        client.sub("hdr", sid="1")
        plain.sub("hdr", sid="1")
        plain.flush()
        client.flush()
        client.send("HPUB hdr 12 14\r\nNATS/1.0\r\n\r\nhi\r\n")
        msg = client.next(sid="1")
        self.assertEqual((msg.headers.block, msg.data), (b"NATS/1.0\r\n\r\n", b"hi"))
        msg = plain.next(sid="1")
        self.assertEqual((msg.headers, msg.data, msg.size_text), (None, b"hi", "2"))

    def test_header_blocks_pass_unchanged(self):
        client = self.connect()
        client.sub("hdr.raw", sid="1")
        for block in (b"NATS/1.0\r\nA: 1\r\na:2\r\nA:   3 \r\n\r\n", b"garbage",
                      b"NATS/1.0\r\n\r\n"):
            client.pub("hdr.raw", b"x", headers=block)
            msg = client.next(sid="1")
            self.assertEqual((msg.headers.block, msg.data), (block, b"x"))

    def test_a_header_block_of_no_bytes_is_no_header_block(self):
        client = self.connect()
        client.sub("hdr.none", sid="1")
        client.send("HPUB hdr.none 0 2\r\nhi\r\n")
        msg = client.next(sid="1")
        self.assertEqual((msg.headers, msg.data), (None, b"hi"))

    def test_replies_pass_to_the_subscriber(self):
        client, service = self.connect(), self.connect()
        service.sub("service", sid="1")
        service.flush()
        reply = client.request_start("service", "question")
        msg = service.next(sid="1")
        self.assertEqual((msg.reply, msg.data), (reply, b"question"))
        service.pub(msg.reply, "answer")
        self.assertEqual(client.answer(reply).data, b"answer")

    def test_no_responders_text_is_exact(self):
        client = self.connect()
        client.sub("r.*", sid="1")
        client.pub("nobody", reply="r.1")
        msg = client.next(sid="1")
        self.assertEqual(msg.subject, "r.1")
        self.assertEqual(msg.size_text, "38 38")
        self.assert_no_responders(msg, "nobody")
        client.pub("nobody", b"x" * 100, reply="r.2", headers={"A": "b"})
        self.assert_no_responders(client.next(sid="1"), "nobody")

    def test_no_responders_go_only_to_those_who_asked(self):
        client = self.connect(connect={"no_responders": False})
        client.sub("r.*", sid="1")
        client.pub("nobody", reply="r.1")
        self.assertTrue(client.hears_nothing("1"))
        client = self.connect()
        client.pub("nobody", reply="r.1")  # no subscription of this connection takes it
        client.sub("other", sid="1")
        self.assertTrue(client.hears_nothing())

    def test_no_responders_come_when_only_oneself_listens_without_echo(self):
        client = self.connect(connect={"echo": False})
        client.sub("lonely", sid="1")
        client.sub("r.*", sid="2")
        client.pub("lonely", reply="r.1")
        self.assert_no_responders(client.next(sid="2"), "lonely")

    def test_a_status_does_not_count_for_unsub(self):
        client = self.connect()
        client.sub("r.1", sid="1")
        client.unsub("1", 1)
        client.pub("nobody", reply="r.1")
        self.assertEqual(client.next(sid="1").status, "503")
        client.pub("r.1", "x")
        self.assertEqual(client.next(sid="1").data, b"x")


class QueueGroups(ProtocolTest):
    def test_one_member_of_each_group_and_every_plain_subscription(self):
        client = self.connect()
        client.sub("q", "g", sid="1")
        client.sub("q", "g", sid="2")
        client.sub("q", sid="3")
        client.sub("q", "h", sid="4")
        for _ in range(100):
            client.pub("q")
        client.flush()
        counts = {sid: 0 for sid in "1234"}
        for msg in client.messages:
            counts[msg.sid] += 1
        self.assertEqual((counts["3"], counts["4"], counts["1"] + counts["2"]), (100, 100, 100))
        self.assertGreater(counts["1"], 0)
        self.assertGreater(counts["2"], 0)

    def test_a_group_over_connections_shares_the_messages(self):
        members = [self.connect() for _ in range(8)]
        for index, member in enumerate(members):
            member.sub(("shared.*", "shared.a", "shared.>")[index % 3], "workers", sid="1")
            member.flush()
        publishers = [self.connect() for _ in range(3)]
        for number in range(300):
            publishers[number % 3].pub("shared.a", str(number))
        for publisher in publishers:
            publisher.flush()

        # All in all exactly one copy: the last has come when 300 are there, and then no more come.
        def received():
            for member in members:
                member._receive(0.005)
            return sum(len(member.messages) for member in members) >= 300
        poll_until(received)
        for member in members:
            member.flush()
        numbers = sorted(int(msg.data) for member in members for msg in member.messages)
        self.assertEqual(numbers, list(range(300)))
        self.assertGreater(min(len(member.messages) for member in members), 0)

    def test_a_member_that_leaves_gets_no_more(self):
        stays, leaves, publisher = self.connect(), self.connect(), self.connect()
        for member in (stays, leaves):
            member.sub("leaving", "g", sid="1")
            member.flush()
        leaves.unsub("1")
        leaves.flush()
        for _ in range(50):
            publisher.pub("leaving")
        publisher.flush()
        self.assertEqual(len(stays.next_many(50, "1")), 50)

    def test_a_closed_member_gets_no_more(self):
        stays, goes, publisher = self.connect(), self.connect(), self.connect()
        for member in (stays, goes):
            member.sub("closing", "g", sid="1")
            member.flush()
        goes.send("FOO\r\n")
        goes.wait_for_close()
        for _ in range(50):
            publisher.pub("closing")
        self.assertEqual(len(stays.next_many(50, "1")), 50)


class Barriers(ProtocolTest):
    def test_whoever_got_pong_after_sub_misses_nothing(self):
        """
        A subscribes, sends PING and gets PONG; from then on B, wherever it is connected, reaches A.
        The first message is the interesting one, so each round takes a new subject.
        """
        connections = [self.connect() for _ in range(16)]
        chance = random.Random(22)
        for number in range(500):
            subscriber, publisher = chance.sample(connections, 2)
            subject = "barrier.%d" % number
            sid = subscriber.sub(subject if number % 3 else "barrier.%d.>" % number)
            subscriber.flush()
            publisher.pub(subject if number % 3 else subject + ".x", str(number))
            self.assertEqual(subscriber.next(sid).data, str(number).encode())
            subscriber.unsub(sid)

    def test_the_same_on_fresh_connections(self):
        publisher = self.connect()
        for number in range(100):
            subscriber = self.connect(connect=False)
            subscriber.send(CONNECT + b"SUB fresh.%d 1\r\nPING\r\n" % number)
            subscriber.wait_until(lambda: subscriber.pong_count == 1)
            publisher.pub("fresh.%d" % number, "x")
            self.assertEqual(subscriber.next("1").data, b"x")
            subscriber.close()

    def test_whoever_got_pong_after_unsub_gets_no_more(self):
        connections = [self.connect() for _ in range(8)]
        chance = random.Random(23)
        for number in range(200):
            subscriber, publisher = chance.sample(connections, 2)
            sid = subscriber.sub("unsub.%d" % number)
            subscriber.flush()
            subscriber.unsub(sid)
            subscriber.flush()
            answer = publisher.request("unsub.%d" % number)
            self.assert_no_responders(answer, "unsub.%d" % number)
            self.assertFalse(subscriber.messages)

    def test_pong_after_publishes_follows_all_own_deliveries(self):
        client = self.connect()
        client.sub("own", sid="1")
        client.send(b"".join(client.pub_bytes("own", str(n)) for n in range(10_000)) + b"PING\r\n")
        client.pings_asked += 1
        client.wait_until(lambda: client.pong_count >= client.pings_asked)
        self.assertEqual(client.ops[-1][0], "PONG")
        self.assertEqual([int(msg.data) for msg in client.messages], list(range(10_000)))


class Order(ProtocolTest):
    def test_messages_of_each_publisher_arrive_in_order(self):
        subscribers = [self.connect() for _ in range(4)]
        for subscriber in subscribers:
            subscriber.sub("order.>", sid="1")
            subscriber.flush()
        publishers = [self.connect() for _ in range(4)]
        chance = random.Random(24)
        for start in range(0, 2000, 100):
            for index, publisher in enumerate(publishers):
                publisher.send(b"".join(
                    publisher.pub_bytes("order.%d" % chance.randrange(50), "%d %d" % (index, n))
                    for n in range(start, start + 100)))
        for subscriber in subscribers:
            last = [-1] * 4
            for msg in subscriber.next_many(8000, "1"):
                index, number = map(int, msg.data.split())
                self.assertEqual(number, last[index] + 1)
                last[index] = number


class ManyConnections(ProtocolTest):
    def test_500_half_open_connections_cost_little_and_disturb_nobody(self):
        """They connect, send a part of something or nothing at all, and stay."""
        parts = (b"", b"C", b"CONNECT {", CONNECT, CONNECT + b"PUB a 1000\r\nxx",
                 b"SUB half.> 1\r\nPUB half 1", CONNECT + b"HPUB a 100", b"PING\r\nPIN")
        client = self.connect()
        client.flush()
        before = self.server.rss_bytes()
        idle = []
        for index in range(500):
            connection = socket.create_connection(("127.0.0.1", self.server.port), DEADLINE_S)
            self.addCleanup(connection.close)
            connection.sendall(parts[index % len(parts)])
            idle.append(connection)
        for connection in idle:  # INFO: the server has taken the connection
            self.assertTrue(connection.recv(5).startswith(b"INFO"))
        bucket = self.bucket_name()
        client.bucket_create(bucket)
        for number in range(100):
            self.assertEqual(client.put(bucket, "k%d" % number, "v"), number + 1)
        grown = self.server.rss_bytes() - before
        self.assertLess(grown, memory_limit(500 * 128 * 1024),
                        "more than 128 KiB for each connection")
        self.assertEqual(self.connect().flush(), None)

    def test_memory_does_not_grow_with_connections_that_came_and_went(self):
        def come_and_go(count):
            for _ in range(count):
                client = Client(self.server.port)
                client.sub("gone.>")
                client.flush()
                client.close()
        come_and_go(300)
        before = self.server.rss_bytes()
        come_and_go(1000)
        self.assertLess(self.server.rss_bytes() - before, memory_limit(32 * 1024 * 1024))

    def test_half_sent_payloads_do_not_hold_memory_for_what_was_only_announced(self):
        """Two hundred times a megabyte is promised; nobody pays before it comes."""
        before = self.server.rss_bytes()
        for _ in range(200):
            client = self.connect()
            client.send("PUB promised 1000000\r\nx")
        self.connect().flush()
        self.assertLess(self.server.rss_bytes() - before, memory_limit(64 * 1024 * 1024))


class Garbage(ProtocolTest):
    def test_garbage_bytes_close_their_connection_and_no_other(self):
        witness = self.connect()
        bucket = self.bucket_name()
        witness.bucket_create(bucket)
        revision = witness.put(bucket, "k", "before")
        chance = random.Random(25)
        for number in range(200):
            client = self.connect(connect=False)
            garbage = chance.randbytes(chance.randrange(1, 3000))
            if number % 2:
                garbage = CONNECT + b"SUB ok 1\r\n" + garbage
            if number % 3 == 0:
                garbage = b"PUB x 10\r\n0123456789" + garbage
            try:
                client.send(garbage + b"\r\n\r\nFOO\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass
            errors = client.wait_for_close()
            self.assertLessEqual(len([e for e in errors if e != "Invalid Subject"]), 1, errors)
            client.close()
        self.assertEqual(witness.direct_get(bucket, "k").data, b"before")
        self.assertEqual(witness.put(bucket, "k", "after"), revision + 1)

    def test_mutated_operations_never_hurt_the_server(self):
        """Real operations with a few bytes changed: closer to the parser's edges than noise is."""
        witness = self.connect()
        chance = random.Random(26)
        seed = (CONNECT + b"SUB m.> q 1\r\nPUB m.a r 3\r\nabc\r\nHPUB m.b r 12 15\r\n"
                b"NATS/1.0\r\n\r\nabc\r\nUNSUB 1 5\r\nPING\r\n"
                b"PUB $JS.API.INFO m.r 2\r\n{}\r\nPUB $JS.API.STREAM.CREATE.x m.r 5\r\n{\"a\"}\r\n")
        for _ in range(300):
            mutated = bytearray(seed)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(mutated))
                what = chance.randrange(3)
                if what == 0:
                    mutated[at] = chance.randrange(256)
                elif what == 1:
                    del mutated[at:at + chance.randrange(1, 4)]
                else:
                    mutated[at:at] = chance.randbytes(chance.randrange(1, 4))
            client = self.connect(connect=False)
            try:
                client.send(bytes(mutated))
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            client.wait_for_close()
            client.close()
        witness.flush()


class SlowConsumers(ProtocolTest):
    MESSAGE_BYTES = 1 << 20
    MESSAGES = 160  # far above the 64 MiB that may wait for one connection

    def test_a_subscriber_that_does_not_read_is_cut_off_and_nobody_else(self):
        slow = self.connect(receive_buffer_bytes=4096)
        slow.sub("flood", sid="1")
        slow.flush()
        good, publisher, other = self.connect(), self.connect(), self.connect()
        good.sub("tick", sid="1")
        good.flush()
        bucket = self.bucket_name()
        other.bucket_create(bucket)

        data = b"x" * self.MESSAGE_BYTES
        flood = publisher.pub_bytes("flood", data)
        for number in range(self.MESSAGES):
            publisher.send(flood)
            if number % 10 == 0:  # the others are served meanwhile
                publisher.pub("tick", str(number))
                self.assertEqual(good.next("1", 3 * DEADLINE_S).data, str(number).encode())
                other.put(bucket, "k", str(number))
        publisher.flush(3 * DEADLINE_S)

        # Whoever floods and listens with no_responders hears when the slow one is gone.
        slow.wait_for_close(6 * DEADLINE_S)
        self.assertLess(len(slow.messages), self.MESSAGES)
        self.assertEqual(slow.errors, [])
        self.assert_no_responders(publisher.request("flood"), "flood")
        self.assertTrue(self.server.is_alive())

    def test_a_subscriber_that_reads_gets_everything(self):
        reader, publisher = self.connect(), self.connect()
        reader.sub("all", sid="1")
        reader.flush()
        data = b"y" * self.MESSAGE_BYTES
        for number in range(100):
            publisher.pub("all", b"%04d" % number + data[4:])
            if number >= 20:
                self.assertEqual(int(reader.next("1").data[:4]), number - 20)
        for number in range(80, 100):
            self.assertEqual(int(reader.next("1").data[:4]), number)


class Restart(ProtocolTest):
    def test_sigterm_ends_the_server_at_once_with_connections_open(self):
        clients = [self.connect() for _ in range(10)]
        start = time.monotonic()
        self.assertEqual(self.server.stop(), 0)
        self.assertLess(time.monotonic() - start, 10 if SANITIZED else 2)
        for client in clients:
            self.assertEqual(client.wait_for_close(), [])
        self.server.start()

    def test_after_a_kill_the_same_port_is_free_at_once(self):
        for _ in range(3):
            client = self.connect()
            client.sub("x")
            client.flush()
            port = self.server.port
            self.server.kill()
            self.server.start(port)
            self.assertEqual(self.server.port, port)


if __name__ == "__main__":
    main()
