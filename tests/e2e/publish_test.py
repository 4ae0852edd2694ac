"""
tests/e2e/publish_test.py: what a publish can carry: message ids, expected headers, rollups, TTLs, and the markers TTLs leave.

Raw sockets against the real server; answers are compared byte by byte where clients read them.
"""

import base64
import contextlib
import json
import time
import unittest

from harness import SECOND_NS, Server, ServerTest, expected, main, poll_until, server_is_pail

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


class TtlTest(PublishTest):
    marker_headers = (b"NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: %s\r\n"
                      b"Nats-Rollup: sub\r\n\r\n")

    def get(self, key):
        """The message, or None."""
        msg = self.client.direct_get(self.bucket, key)
        return None if msg.status is not None else msg

    def wait_until_gone(self, key, seconds):
        """It is there for that long, and gone soon after."""
        begin = time.monotonic()
        while self.get(key) is not None:
            self.assertLess(time.monotonic() - begin, seconds + 2)
            time.sleep(0.02)
        return time.monotonic() - begin

    def messages(self):
        """All that is stored: (sequence, key, value)."""
        found = []
        for seq in range(1, self.state()["last_seq"] + 1):
            msg = self.client.direct_get_json(self.bucket, {"seq": seq})
            if msg.status is None:
                found.append((seq, msg.header("Nats-Subject").split(".", 2)[2], msg.data))
        return found


class MessageTtl(TtlTest):
    def test_a_message_goes_when_its_time_is_over(self):
        self.create(allow_msg_ttl=True)
        self.stored("kept", b"1")
        self.stored("never", b"1", {"Nats-TTL": "never"})
        self.stored("long", b"1", {"Nats-TTL": "1h"})
        self.stored("a", b"1", {"Nats-TTL": "1s"})
        self.assertEqual(self.get("a").header("Nats-TTL"), "1s")
        took = self.wait_until_gone("a", 1)
        self.assertGreater(took, 0.85)
        self.assertLess(took, 1.5)
        self.assertEqual([key for _, key, _ in self.messages()], ["kept", "never", "long"])
        self.assertEqual(self.state()["last_seq"], 4)

    def test_all_forms_of_a_ttl(self):
        self.create(allow_msg_ttl=True)
        for value in ("10", "1m30s", "1.5s", "90000ms", "NEVER", "00", "", "+5s"):
            self.stored("a", b"", {"Nats-TTL": value})
        for value in ("soon", "-5s", "10ms", "0", "0s", "5.5", "1h1"):
            self.assert_refused(self.put("a", b"", {"Nats-TTL": value}), 400, 10165,
                                "invalid per-message TTL")
        self.bucket += "-off"
        self.stream += "-off"
        self.create()
        self.assert_refused(self.put("a", b"", {"Nats-TTL": "1s"}), 400, 10166,
                            "per-message TTL is disabled")

    def test_a_newer_value_is_not_taken_along(self):
        self.create(allow_msg_ttl=True)
        self.stored("a", b"1", {"Nats-TTL": "1s"})
        self.stored("a", b"2")
        self.stored("b", b"1", {"Nats-TTL": "1s"})
        self.wait_until_gone("b", 1)
        time.sleep(0.3)
        self.assertEqual(self.get("a").data, b"2")

    def test_an_older_value_shows_again_with_a_history(self):
        self.create(allow_msg_ttl=True, max_msgs_per_subject=3)
        self.stored("a", b"1")
        self.stored("a", b"2", {"Nats-TTL": "1s"})
        poll_until(lambda: self.get("a").data == b"1")
        self.stored("a", b"3")
        self.stored("a", b"4")
        self.assertEqual([seq for seq, _, _ in self.messages()], [1, 3, 4])

    def test_max_age_counts_as_well(self):
        self.create(allow_msg_ttl=True, max_age=SECOND_NS, duplicate_window=SECOND_NS)
        self.stored("never", b"1", {"Nats-TTL": "never"})
        self.stored("a", b"1", {"Nats-TTL": "1h"})
        self.stored("b", b"1")
        for key in "ab":
            self.assertLess(self.wait_until_gone(key, 1), 1.6)
        self.assertIsNotNone(self.get("never"))

    def test_a_lower_max_age_counts_at_once(self):
        config = self.create(allow_msg_ttl=True)["config"]
        self.stored("never", b"1", {"Nats-TTL": "never"})
        self.stored("a", b"1", {"Nats-TTL": "1h"})
        self.stored("b", b"1")
        config.update(max_age=SECOND_NS, duplicate_window=SECOND_NS)
        self.client.api_ok("STREAM.UPDATE." + self.stream, config)
        for key in "ab":
            self.assertLess(self.wait_until_gone(key, 1), 1.6)
        self.assertIsNotNone(self.get("never"))

    def test_pending_counts_stay_exact(self):
        self.create(allow_msg_ttl=True)
        for i in range(20):
            self.stored("k%d" % i, b"1", {"Nats-TTL": "1s"} if i % 2 else None)
        poll_until(lambda: self.state()["messages"] == 10)
        info = self.client.consumer_create(
            self.bucket, "c", deliver_policy="last_per_subject", deliver_subject="nobody.listens",
            ack_policy="none")
        self.assertEqual(info["num_pending"], 10)

    def test_many_go_at_once(self):
        self.create(allow_msg_ttl=True)
        replies = [self.client.put_start(self.bucket, "k%d" % i, b"v", {"Nats-TTL": "1s"})
                   for i in range(3000)]
        for reply in replies:
            self.client.answer(reply)
        poll_until(lambda: self.state()["messages"] == 0)
        self.assertEqual(self.state()["last_seq"], 3000)

    def test_a_memory_bucket_too(self):
        self.create(allow_msg_ttl=True, storage="memory")
        self.stored("a", b"1", {"Nats-TTL": "1s"})
        self.assertGreater(self.wait_until_gone("a", 1), 0.85)


class Markers(TtlTest):
    def create(self, marker_ttl_s=2, **changes):
        return super().create(subject_delete_marker_ttl=marker_ttl_s * SECOND_NS, **changes)

    def marker(self, key, deadline_s=3):
        def ask():
            msg = self.get(key)
            return msg if msg is not None and msg.header("Nats-Marker-Reason") else None
        return poll_until(ask, deadline_s)

    def test_the_configuration_switches_on_what_it_needs(self):
        config = self.create(marker_ttl_s=60, allow_rollup_hdrs=False, deny_purge=True)["config"]
        self.assertEqual((config["allow_msg_ttl"], config["allow_rollup_hdrs"],
                          config["deny_purge"], config["subject_delete_marker_ttl"]),
                         (True, True, False, 60 * SECOND_NS))

    def test_the_last_message_of_a_key_leaves_a_marker(self):
        self.create()
        seq = self.stored("a", b"1", {"Nats-TTL": "2s"})
        self.assertEqual(seq, 1)
        msg = self.marker("a")
        self.assertEqual(msg.data, b"")
        self.assertEqual(msg.header("Nats-Sequence"), "2")
        self.assertEqual((msg.header("Nats-TTL"), msg.header("Nats-Rollup"),
                          msg.header("Nats-Marker-Reason")), ("2s", "sub", "MaxAge"))
        self.assertEqual(self.state()["messages"], 1)
        poll_until(lambda: self.state()["messages"] == 0)
        self.assertEqual(self.state()["last_seq"], 2)  # its end is no news

    def test_max_age_leaves_markers_too(self):
        self.create(max_age=SECOND_NS, duplicate_window=SECOND_NS)
        self.stored("a", b"1")
        self.marker("a")

    def test_a_purge_leaves_none_and_a_delete_does(self):
        self.create()
        self.stored("p", b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "2s"})
        self.stored("d", b"", {"KV-Operation": "DEL", "Nats-TTL": "2s"})
        self.marker("d")
        self.assertIsNone(self.get("p"))
        self.assertEqual(self.state()["last_seq"], 3)

    def test_a_short_ttl_is_raised_where_there_is_a_history(self):
        self.create(marker_ttl_s=3661, max_msgs_per_subject=2)
        self.stored("a", b"1", {"Nats-TTL": "5s", "A": "b"})
        msg = self.client.request("$JS.API.STREAM.MSG.GET." + self.stream, b'{"seq":1}').json()
        self.assertEqual(base64.b64decode(msg["message"]["hdrs"]),
                         b"NATS/1.0\r\nA: b\r\nNats-TTL: 3661\r\n\r\n")

    def test_a_create_over_a_marker_needs_its_revision(self):
        self.create(marker_ttl_s=60)
        self.stored("a", b"1", {"Nats-TTL": "1s"})
        revision = int(self.marker("a").header("Nats-Sequence"))
        self.assert_refused(self.put("a", b"2", expected(0)), 400, 10071,
                            "wrong last sequence: %d" % revision)
        self.stored("a", b"2", expected(revision))

    def test_a_stream_purge_leaves_no_marker(self):
        self.create()
        self.stored("a", b"1")
        self.client.api_ok("STREAM.PURGE." + self.stream)
        self.assertEqual(self.state()["messages"], 0)

    @unittest.skipUnless(server_is_pail(), "nats-server keeps the message for ever")
    def test_a_bucket_without_room_for_a_marker(self):
        self.create(discard="new", max_bytes=120)
        self.stored("a", b"1", {"Nats-TTL": "1s"})
        poll_until(lambda: self.state()["messages"] == 0)
        self.assertEqual(self.state()["last_seq"], 1)

    def test_many_markers_at_once(self):
        self.create(marker_ttl_s=60)
        replies = [self.client.put_start(self.bucket, "k%d" % i, b"v", {"Nats-TTL": "1s"})
                   for i in range(2000)]
        for reply in replies:
            self.client.answer(reply)
        poll_until(lambda: self.state()["last_seq"] >= 4000)
        self.assertEqual(self.state()["messages"], 2000)

    def test_writers_beside_expiring_keys_lose_nothing(self):
        self.create(marker_ttl_s=60)
        for i in range(40):
            self.stored("k%d" % i, b"old", {"Nats-TTL": "1s"})
        until = time.monotonic() + 1.6
        newest = {}
        while time.monotonic() < until:
            for i in range(0, 40, 2):
                newest[i] = self.stored("k%d" % i, b"new", {"Nats-TTL": "1h"})
        for i in range(40):
            msg = self.get("k%d" % i)
            if i % 2:
                self.assertEqual(msg.header("Nats-Marker-Reason"), "MaxAge")
            else:
                self.assertEqual(int(msg.header("Nats-Sequence")), newest[i])


class TtlRestarts(unittest.TestCase):
    """What is over stays over, and what is left counts, whatever the end was."""

    def end(self, server, how):
        if how == "kill":
            server.kill()
            server.start()
        else:
            server.restart()

    def keys(self, client, bucket):
        return sorted(client.api_ok("STREAM.INFO.KV_" + bucket, {"subjects_filter": ">"})["state"]
                      .get("subjects", {}))

    def test_nothing_comes_back_to_life(self):
        """nats-server issue 8505: a purge's marker that ended had kept the values dead."""
        with contextlib.closing(Server()) as server:
            with server.connect() as client:
                client.bucket_create("b", allow_msg_ttl=True, max_msgs_per_subject=5)
                for i in range(10):
                    client.put("b", "k%d" % i, b"old")
                    client.put("b", "k%d" % i, b"", {"KV-Operation": "PURGE", "Nats-Rollup": "sub",
                                                     "Nats-TTL": "1s"})
                client.put("b", "short", b"", {"Nats-TTL": "1s"})
                poll_until(lambda: client.stream_state("b")["messages"] == 0)
                # The segments with the markers go, those with the old values may stay.
                client.put("b", "kept", b"x" * 100)
            for how in ("kill", "clean", "kill"):
                self.end(server, how)
                with server.connect() as client:
                    self.assertEqual(self.keys(client, "b"), ["$KV.b.kept"])

    def test_nothing_comes_back_when_segments_are_used_again(self):
        """The purge's own record is gone from the disk, the values it had removed are not."""
        with contextlib.closing(Server()) as server:
            def fill(client):
                for _ in range(2):
                    replies = [client.put_start("fill", "f", b"x" * 500000) for _ in range(10)]
                    for reply in replies:
                        client.answer(reply)
            with server.connect() as client:
                client.bucket_create("b", allow_msg_ttl=True)
                client.bucket_create("fill")
                for i in range(20):
                    client.put("b", "kept%d" % i, b"pins its segment")
                    client.put("b", "k%d" % i, b"old")
                fill(client)
                for i in range(20):
                    client.put("b", "k%d" % i, b"new", {"Nats-TTL": "1s"})
                fill(client)
                poll_until(lambda: client.stream_state("b")["messages"] == 20)
                fill(client)
            for how in ("kill", "clean"):
                self.end(server, how)
                with server.connect() as client:
                    self.assertEqual(self.keys(client, "b"),
                                     sorted("$KV.b.kept%d" % i for i in range(20)))
                    fill(client)

    def test_the_rest_of_the_time_counts(self):
        for how in ("kill", "clean"):
            with contextlib.closing(Server()) as server:
                with server.connect() as client:
                    client.bucket_create("b", allow_msg_ttl=True)
                    begin = time.monotonic()
                    client.put("b", "a", b"1", {"Nats-TTL": "2s"})
                    client.put("b", "c", b"1", {"Nats-TTL": "1h"})
                self.end(server, how)
                with server.connect() as client:
                    self.assertEqual(len(self.keys(client, "b")), 2)
                    poll_until(lambda: len(self.keys(client, "b")) == 1)
                    took = time.monotonic() - begin
                    self.assertTrue(1.8 < took < 2.8, took)

    def test_markers_are_made_after_a_restart(self):
        with contextlib.closing(Server()) as server:
            with server.connect() as client:
                client.bucket_create("b", subject_delete_marker_ttl=60 * SECOND_NS)
                client.put("b", "a", b"1", {"Nats-TTL": "1s"})
                client.put("b", "c", b"1", {"Nats-TTL": "1h"})
            server.stop()
            time.sleep(1.2)
            server.start()
            with server.connect() as client:
                poll_until(lambda: client.stream_state("b")["last_seq"] == 3)
                msg = client.direct_get("b", "a")
                self.assertEqual(msg.header("Nats-Marker-Reason"), "MaxAge")
            self.end(server, "kill")
            with server.connect() as client:
                self.assertEqual(client.stream_state("b")["last_seq"], 3)
                msg = client.direct_get("b", "a")
                self.assertEqual(msg.header("Nats-Marker-Reason"), "MaxAge")


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
