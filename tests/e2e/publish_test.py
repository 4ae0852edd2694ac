"""
tests/e2e/publish_test.py: what a publish can carry: message ids, expected headers, rollups, TTLs, and the markers TTLs leave.

Raw sockets against the real server; answers are compared byte by byte where clients read them.
"""

import contextlib
import json
import time
import unittest

from harness import SECOND_NS, Server, ServerTest, expected, main, poll_until

ID = "Nats-Msg-Id"
KEY = "Nats-Expected-Last-Subject-Sequence"
SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
LAST = "Nats-Expected-Last-Sequence"
LAST_ID = "Nats-Expected-Last-Msg-Id"


def same_id_keys(count):
    """Keys that lie on different stripes, whatever their number."""
    return ["key%d" % i for i in range(count)]


class PublishTest(ServerTest):
    def setUp(self):
        self.client = self.connect()
        self.bucket = self.bucket_name()
        self.stream = "KV_" + self.bucket

    def create(self, **changes):
        return self.client.bucket_create(self.bucket, **changes)

    def create_stream(self, **changes):
        """A stream that is no bucket: it has one stripe."""
        self.stream = self.bucket
        config = {"name": self.stream, "subjects": [self.bucket + ".>"], "allow_rollup_hdrs": True}
        config.update(changes)
        self.client.api_ok("STREAM.CREATE." + self.stream, config)

    def publish(self, subject, data=b"", headers=None):
        return self.client.request(subject, data, headers)

    def put(self, key, data=b"", headers=None):
        return self.publish("$KV.%s.%s" % (self.bucket, key), data, headers)

    def stored(self, key, data=b"", headers=None):
        answer = self.put(key, data, headers).json()
        self.assertNotIn("error", answer)
        self.assertNotIn("duplicate", answer)
        return answer["seq"]

    def state(self):
        return self.client.api_ok("STREAM.INFO." + self.stream)["state"]

    def assert_refused(self, answer, code, err_code, description):
        self.assertEqual(answer.data.decode(),
                         '{"error":{"code":%d,"err_code":%d,"description":%s},"stream":"%s","seq":0}'
                         % (code, err_code, json.dumps(description), self.stream))

    def assert_duplicate(self, answer, seq):
        self.assertEqual(answer.data.decode(),
                         '{"stream":"%s","seq":%d,"duplicate": true}' % (self.stream, seq))


class MessageIds(PublishTest):
    def test_a_duplicate_gets_the_first_ones_ack(self):
        self.create()
        seq = self.stored("a", b"1", {ID: "x"})
        self.assert_duplicate(self.put("a", b"1", {ID: "x"}), seq)
        for key in same_id_keys(8):  # an id is the stream's, not the key's
            self.assert_duplicate(self.put(key, b"2", {ID: "x"}), seq)
        self.assertEqual(self.state()["messages"], 1)
        self.assertEqual(self.stored("a", b"3", {ID: "y"}), seq + 1)

    def test_an_id_is_told_from_longer_ones_and_none(self):
        self.create()
        for name in ("x", "xx", "X", "x ", "ü"):
            self.stored("a", b"", {ID: name})
        self.stored("a", b"", {ID: ""})
        self.stored("a", b"", {ID: ""})
        self.stored("a", b"")

    def test_a_refused_put_leaves_no_id(self):
        self.create()
        self.stored("a", b"1")
        for key in same_id_keys(6):
            headers = dict(expected(99), **{ID: "x"})
            self.assert_refused(self.put(key, b"", headers), 400, 10071, "wrong last sequence: 0")
        self.stored("b", b"", {ID: "x"})

    def test_a_cas_comes_before_the_id(self):
        self.create()
        headers = dict(expected(0), **{ID: "x"})
        seq = self.stored("a", b"1", headers)
        self.assert_refused(self.put("a", b"1", headers), 400, 10071,
                            "wrong last sequence: %d" % seq)
        self.assert_duplicate(self.put("a", b"1", dict(expected(seq), **{ID: "x"})), seq)

    def test_an_id_outlives_purges_and_deletions(self):
        self.create(deny_delete=False)
        seq = self.stored("a", b"1", {ID: "x"})
        self.client.api_ok("STREAM.PURGE." + self.stream)
        self.assert_duplicate(self.put("a", b"1", {ID: "x"}), seq)

    def test_the_window_ends(self):
        self.create(duplicate_window=SECOND_NS // 2)
        seq = self.stored("a", b"1", {ID: "x"})
        self.assert_duplicate(self.put("b", b"1", {ID: "x"}), seq)
        time.sleep(0.8)
        again = self.stored("b", b"1", {ID: "x"})
        self.assertEqual(again, seq + 1)
        self.assert_duplicate(self.put("a", b"1", {ID: "x"}), again)

    def test_a_changed_window_counts_for_ids_that_are_there(self):
        config = self.create(duplicate_window=100 * SECOND_NS)["config"]
        self.stored("a", b"1", {ID: "x"})
        config["duplicate_window"] = SECOND_NS // 10
        self.client.api_ok("STREAM.UPDATE." + self.stream, config)
        time.sleep(0.3)
        self.stored("a", b"1", {ID: "x"})

    def test_one_of_concurrent_publishes_is_stored(self):
        self.create()
        clients = [self.connect() for _ in range(6)]
        for round_number in range(30):
            headers = {ID: "round-%d" % round_number}
            replies = [(client, client.request_start("$KV.%s.key%d" % (self.bucket, i), b"v", headers))
                       for i, client in enumerate(clients)]
            answers = [client.answer(reply).json() for client, reply in replies]
            self.assertEqual(sum("duplicate" not in answer for answer in answers), 1, answers)
            self.assertEqual(len({answer["seq"] for answer in answers}), 1, answers)
        self.assertEqual(self.state()["last_seq"], 30)

    def test_a_connection_keeps_its_order(self):
        self.create(max_msgs_per_subject=64)
        sub = self.client.inbox()
        replies = []
        for i in range(60):
            headers = {ID: "n%d" % i} if i % 3 == 0 else None
            replies.append(self.client.request_start("$KV.%s.key%d" % (self.bucket, i % 7), b"%d" % i,
                                                     headers))
        seqs = [self.client.answer(reply).json()["seq"] for reply in replies]
        self.assertEqual(seqs, list(range(1, 61)))
        self.assertTrue(sub)

    def test_memory_streams_know_ids_too(self):
        self.create(storage="memory")
        seq = self.stored("a", b"1", {ID: "x"})
        self.assert_duplicate(self.put("b", b"1", {ID: "x"}), seq)


class ExpectedHeaders(PublishTest):
    def test_the_last_message_id(self):
        self.create_stream()
        subject = self.bucket + ".a"
        self.assert_refused(self.publish(subject, b"", {LAST_ID: "zz"}), 400, 10070,
                            "wrong last msg ID: ")
        self.publish(subject, b"", {ID: "x"})
        self.assert_refused(self.publish(subject, b"", {LAST_ID: "zz"}), 400, 10070,
                            "wrong last msg ID: x")
        self.assertEqual(self.publish(subject, b"", {LAST_ID: "x", ID: "y"}).json()["seq"], 2)
        self.publish(subject, b"")
        self.assert_refused(self.publish(subject, b"", {LAST_ID: "y"}), 400, 10070,
                            "wrong last msg ID: ")

    def test_two_expectations(self):
        self.create()
        first = self.stored("a", b"1")
        last = self.stored("b", b"1")
        self.assert_refused(self.put("a", b"", {KEY: "9", LAST: "9"}), 400, 10071,
                            "wrong last sequence: %d" % first)
        self.assert_refused(self.put("a", b"", {KEY: str(first), LAST: "9"}), 400, 10071,
                            "wrong last sequence: %d" % last)
        self.assertEqual(self.stored("a", b"2", {KEY: str(first), LAST: str(last)}), last + 1)

    def test_another_subject(self):
        self.create_stream()
        name = self.bucket
        first = self.publish(name + ".a.1").json()["seq"]
        second = self.publish(name + ".a.2").json()["seq"]
        self.assert_refused(self.publish(name + ".b", b"", {KEY: "0", SUBJECT: name + ".a.1"}), 400,
                            10071, "wrong last sequence: %d" % first)
        self.assert_refused(self.publish(name + ".b", b"", {KEY: "0", SUBJECT: name + ".a.*"}), 400,
                            10071, "wrong last sequence: %d" % second)
        for value, filter_subject in ((second, name + ".a.>"), (0, "elsewhere"), (0, name + ".c.*")):
            headers = {KEY: str(value), SUBJECT: filter_subject}
            self.assertIn("seq", self.publish(name + ".b", b"", headers).json())
        self.assert_refused(self.publish(name + ".b", b"", {SUBJECT: name + ".a.1"}), 400, 10193,
                            "missing sequence for expected last sequence per subject")

    def test_faults_come_in_the_order_of_the_checks(self):
        self.create_stream()
        subject = self.bucket + ".a"
        self.publish(subject, b"", {ID: "x"})
        broken = {"Nats-Rollup": "some", "Nats-TTL": "soon"}
        for headers, code, text in (
                (dict(broken, **{KEY: "7"}), 10071, "wrong last sequence: 1"),
                (dict(broken, **{KEY: "1", LAST: "7"}), 10071, "wrong last sequence: 1"),
                (dict(broken, **{"Nats-Stream-Source": "s", ID: "x"}), 10227,
                 "message stream source header is not allowed"),
                (dict(broken, **{LAST_ID: "z"}), 10070, "wrong last msg ID: x"),
                (dict(broken, **{KEY: "1"}), 10111, None),
                ({"Nats-TTL": "soon", KEY: "1"}, 10165, "invalid per-message TTL"),
                ({"Nats-TTL": "soon"}, 10165, "invalid per-message TTL"),
                ({"Nats-TTL": "5s", KEY: "7"}, 10166, "per-message TTL is disabled"),
                ({"Nats-Incr": "1", KEY: "7"}, 10168, "message counters is disabled"),
                ({"Nats-Schedule": "@every 1s"}, 10188, "message schedules is disabled")):
            answer = self.publish(subject, b"", headers).json()
            self.assertEqual(answer["error"]["err_code"], code, headers)
            if text is not None:
                self.assertEqual(answer["error"]["description"], text)
        self.assert_duplicate(self.publish(subject, b"", dict(broken, **{ID: "x"})), 1)
        self.assert_refused(self.publish(subject, b"", dict(broken, **{ID: "y"})), 500, 10111,
                            'rollup value invalid: "some"')
        self.assertEqual(self.state()["last_seq"], 1)


class Restarts(unittest.TestCase):
    """Ids after the end of the process: clean, and by kill -9."""

    def restart(self, end):
        with contextlib.closing(Server()) as server:
            with server.connect() as client:
                client.bucket_create("b", max_msgs_per_subject=64)
                seqs = {}
                for i in range(40):
                    answer = client.request("$KV.b.k%d" % (i % 9), b"v", {ID: "id-%d" % i})
                    seqs["id-%d" % i] = answer.json()["seq"]
                stream = {"name": "s", "subjects": ["s.>"]}
                client.api_ok("STREAM.CREATE.s", stream)
                client.request("s.a", b"", {ID: "last"})
            end(server)
            with server.connect() as client:
                for name, seq in seqs.items():
                    for key in ("k1", "other"):
                        answer = client.request("$KV.b." + key, b"v", {ID: name}).json()
                        self.assertEqual((answer.get("seq"), answer.get("duplicate")), (seq, True))
                answer = client.request("s.a", b"", {LAST_ID: "no"}).json()
                self.assertEqual(answer["error"]["description"], "wrong last msg ID: last")
                answer = client.request("s.a", b"", {LAST_ID: "last", ID: "next"}).json()
                self.assertEqual(answer.get("seq"), 2)

    def test_after_a_clean_end(self):
        self.restart(lambda server: server.restart())

    def test_after_kill_9(self):
        def end(server):
            server.kill()
            server.start()
        self.restart(end)

    def test_with_another_number_of_shards(self):
        def end(server):
            server.stop()
            server.shards = 3 if server.shards != 3 else 1
            server.start()
        self.restart(end)


if __name__ == "__main__":
    main()
