"""
tests/e2e/query_test.py: everything that reads: batches of direct gets, stream configurations, info and lists.

All values are those of nats-server 2.15.2, unless a test says why they are not.
"""

import json
import os
import re
import subprocess
import threading
import unittest
from unittest import mock

from harness import (Cli, Server, ServerTest, bucket_config, main, memory_limit, require_program,
                     server_is_pail, server_program)

EOB = "204"


class QueryTest(ServerTest):
    def setUp(self):
        self.client = self.connect()
        self.bucket = self.bucket_name()
        self.stream = "KV_" + self.bucket

    def create(self, **changes):
        return self.client.bucket_create(self.bucket, **changes)

    def subject(self, key):
        return "$KV.%s.%s" % (self.bucket, key)

    def put_all(self, keys, client=None):
        client = client or self.client
        return [client.put(self.bucket, key, "%s-value" % key) for key in keys]

    def put_many(self, count, size, prefix="k"):
        """Without waiting for each ack."""
        for first in range(0, count, 2000):
            replies = [self.client.put_start(self.bucket, "%s%d" % (prefix, number), b"x" * size)
                       for number in range(first, min(count, first + 2000))]
            for reply in replies:
                self.client.answer(reply)

    def batch_start(self, body, client=None):
        client = client or self.client
        reply = client.inbox()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        client.pub("$JS.API.DIRECT.GET." + self.stream, data, reply)
        return reply

    def batch_end(self, reply, client=None):
        """The messages of a batch, and the status that ends it."""
        client = client or self.client
        messages = []
        while True:
            msg = client.answer(reply)
            if msg.status is not None:
                return messages, msg
            messages.append(msg)

    def batch(self, body, client=None):
        return self.batch_end(self.batch_start(body, client), client)

    def assert_end(self, end, pending, last_seq, up_to=None):
        block = "NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n" % (
            pending, last_seq)
        if up_to is not None:
            block += "Nats-UpTo-Sequence: %d\r\n" % up_to
        self.assertEqual(end.headers.block, block.encode() + b"\r\n")
        self.assertEqual(end.data, b"")

    @staticmethod
    def seqs(messages):
        return [int(msg.header("Nats-Sequence")) for msg in messages]

    def time_of(self, seq):
        answer = self.client.api("STREAM.MSG.GET." + self.stream, {"seq": seq})
        return answer["message"]["time"]


class Batch(QueryTest):
    """abcdab, history 5: sequences 1 to 6; 7 is a deletion of d."""

    def setUp(self):
        super().setUp()
        self.create(max_msgs_per_subject=5)
        self.put_all("abcdab")
        self.client.delete(self.bucket, "d")

    def test_headers_of_messages_and_end(self):
        messages, end = self.batch({"batch": 2, "next_by_subj": self.subject("d"), "seq": 2})
        self.assertEqual([msg.data for msg in messages], [b"d-value", b""])
        for msg, stored, seq, pending, last in ((messages[0], "", 4, 1, 0),
                                                (messages[1], "KV-Operation: DEL\r\n", 7, 0, 4)):
            self.assertRegex(msg.headers.block.decode(), (
                r"^NATS/1\.0\r\n%sNats-Stream: %s\r\nNats-Subject: \$KV\.%s\.d\r\n"
                r"Nats-Sequence: %d\r\nNats-Time-Stamp: [^\r]*Z\r\nNats-Num-Pending: %d\r\n"
                r"Nats-Last-Sequence: %d\r\n\r\n$" % (stored, self.stream, self.bucket, seq,
                                                      pending, last)))
            self.assertIsNone(msg.reply)
        self.assert_end(end, 0, 7)

    def test_forms(self):
        for body, seqs, pending, last in (
                ({"batch": 3, "seq": 1}, [1, 2, 3], 4, 3),
                ({"batch": 100, "seq": 5}, [5, 6, 7], 0, 7),
                ({"batch": 1, "seq": 7}, [7], 0, 7),
                ({"batch": 100, "next_by_subj": self.subject("a")}, [1, 5], 0, 5),
                ({"batch": 1, "next_by_subj": self.subject("*")}, [1], 6, 1),
                ({"batch": 9, "next_by_subj": self.subject("*"), "seq": 6}, [6, 7], 0, 7),
                ({"batch": 9, "start_time": self.time_of(5)}, [5, 6, 7], 0, 7),
                ({"batch": 9, "start_time": self.time_of(2), "next_by_subj": self.subject("a")},
                 [5], 0, 5),
                ({"batch": 1, "start_time": "1900-01-01T00:00:00Z"}, [1], 6, 1),
                ({"batch": -1, "seq": 3}, [], 5, 0),
                ({"batch": -2, "next_by_subj": self.subject("b")}, [], 2, 0)):
            messages, end = self.batch(body)
            self.assertEqual(self.seqs(messages), seqs, body)
            self.assert_end(end, pending, last)

    def test_bytes_end_it_behind_the_message_that_reaches_them(self):
        size = len(self.subject("a")) + len("a-value")
        for limit, count in ((1, 1), (size, 1), (size + 1, 2), (2 * size, 2), (-1, 1)):
            messages, end = self.batch({"batch": 100, "seq": 1, "max_bytes": limit})
            self.assertEqual(len(messages), count, limit)
            self.assert_end(end, 7 - count, count)

    def test_without_headers(self):
        """The client can tell neither sequence nor end from a message; the end counts all."""
        reply = self.batch_start({"batch": 2, "seq": 6, "no_hdr": True})
        first, second, end = (self.client.answer(reply) for _ in range(3))
        self.assertEqual((first.headers, first.data), (None, b"b-value"))
        self.assertEqual((second.headers, second.data), (None, b""))
        self.assert_end(end, 2, 7)

    def test_statuses(self):
        for body, status in (
                ({"batch": 5}, ("408", "Empty Request")),
                ({"batch": 5, "seq": 8}, ("404", "Message Not Found")),
                ({"batch": 5, "next_by_subj": "a..b"}, ("404", "Message Not Found")),
                ({"batch": 5, "start_time": "2100-01-01T00:00:00Z"}, ("404", "Message Not Found")),
                ({"batch": 5, "last_by_subj": self.subject("a")}, ("408", "Bad Request")),
                ({"batch": 5, "seq": 1, "start_time": "1900-01-01T00:00:00Z"},
                 ("408", "Bad Request")),
                ({"batch": 1.5, "seq": 1}, ("408", "Malformed Request")),
                ({"batch": 5, "start_time": "yesterday"}, ("408", "Malformed Request"))):
            messages, end = self.batch(body)
            self.assertEqual(messages, [])
            self.assert_status(end, *status)

    def test_single_gets_by_time(self):
        for body, seq in (({"start_time": self.time_of(3)}, 3),
                          ({"start_time": self.time_of(3), "next_by_subj": self.subject("b")}, 6)):
            self.assertEqual(self.seqs([self.client.direct_get_json(self.bucket, body)]), [seq])
            answer = self.client.api("STREAM.MSG.GET." + self.stream, body)
            self.assertEqual(answer["message"]["seq"], seq)
        late = {"start_time": "2100-01-01T00:00:00Z"}
        self.assert_status(self.client.direct_get_json(self.bucket, late), "404",
                           "Message Not Found")
        self.assert_error(self.client.api("STREAM.MSG.GET." + self.stream, late), 404, 10037)

    def test_msg_get_knows_no_batches(self):
        for body in ({"batch": 1, "seq": 1}, {"max_bytes": 1, "seq": 1}, {"multi_last": ["a"]}):
            answer = self.client.api("STREAM.MSG.GET." + self.stream, body)
            self.assert_error(answer, 400, 10003, "bad request")
        answer = self.client.api("STREAM.MSG.GET." + self.stream, {"batch": -1, "seq": 1})
        self.assertEqual(answer["message"]["seq"], 1)


class MultiLast(QueryTest):
    """abcdab, history 5, as in Batch."""

    def setUp(self):
        super().setUp()
        self.create(max_msgs_per_subject=5)
        self.put_all("abcdab")
        self.client.delete(self.bucket, "d")

    def test_forms(self):
        everything = [self.subject(">")]
        for body, seqs, pending, last, up_to in (
                ({"multi_last": everything}, [3, 5, 6, 7], 0, 7, 7),
                ({"multi_last": [self.subject("a"), self.subject("d")]}, [5, 7], 0, 7, 7),
                ({"multi_last": [self.subject("a"), self.subject("*"), self.subject("a")]},
                 [3, 5, 6, 7], 0, 7, 7),
                ({"multi_last": everything, "batch": 2}, [3, 5], 2, 5, 7),
                ({"multi_last": everything, "batch": -2}, [3, 5, 6, 7], 0, 7, 7),
                ({"multi_last": everything, "seq": 6}, [6, 7], 0, 7, 7),
                ({"multi_last": everything, "seq": 100}, [], 0, 0, 7),
                ({"multi_last": everything, "up_to_seq": 5}, [2, 3, 4, 5], 0, 5, 5),
                ({"multi_last": everything, "up_to_seq": 5, "seq": 3, "batch": 1}, [3], 2, 3, 5),
                ({"multi_last": everything, "up_to_time": self.time_of(5)}, [1, 2, 3, 4], 0, 4, 4),
                ({"multi_last": everything, "up_to_time": "2100-01-01T00:00:00Z"},
                 [3, 5, 6, 7], 0, 7, 7),
                ({"multi_last": everything, "max_bytes": 1}, [3], 3, 3, 7),
                ({"multi_last": everything, "no_hdr": True}, [3, 5, 6, 7], 0, 7, 7)):
            messages, end = self.batch(body)
            self.assertEqual(self.seqs(messages), seqs, body)
            self.assert_end(end, pending, last, up_to)
            left = [int(msg.header("Nats-Num-Pending")) for msg in messages]
            self.assertEqual(left, [pending + number for number in reversed(range(len(seqs)))])

    @unittest.skipUnless(server_is_pail(), "nats-server finds nothing there, on file storage")
    def test_a_ceiling_beyond_the_end(self):
        messages, end = self.batch({"multi_last": [self.subject(">")], "up_to_seq": 100})
        self.assertEqual(self.seqs(messages), [3, 5, 6, 7])
        self.assert_end(end, 0, 7, 100)

    def test_statuses(self):
        everything = [self.subject(">")]
        for body, status in (
                ({"multi_last": [self.subject("none")]}, ("404", "No Results")),
                ({"multi_last": ["a..b"]}, ("404", "No Results")),
                ({"multi_last": everything, "up_to_time": self.time_of(1)}, ("404", "No Results")),
                ({"multi_last": []}, ("408", "Empty Request")),
                ({"multi_last": "x"}, ("408", "Malformed Request")),
                ({"multi_last": everything, "next_by_subj": "x"}, ("408", "Bad Request")),
                ({"multi_last": everything, "last_by_subj": "x"}, ("408", "Bad Request")),
                ({"multi_last": everything, "up_to_seq": 1, "up_to_time": "1900-01-01T00:00:00Z"},
                 ("408", "Bad Request"))):
            messages, end = self.batch(body)
            self.assertEqual(messages, [])
            self.assert_status(end, *status)

    def test_at_most_1024_subjects(self):
        bucket = self.bucket = self.bucket + "-many"
        self.stream = "KV_" + bucket
        self.create()
        self.put_many(1024, 1)
        messages, end = self.batch({"multi_last": [self.subject(">")]})
        self.assertEqual(len(messages), 1024)
        self.put_many(1, 1, "more")
        messages, end = self.batch({"multi_last": [self.subject(">")], "batch": 1})
        self.assert_status(end, "413", "Too Many Results")
        messages, end = self.batch({"multi_last": [self.subject(">")], "up_to_seq": 1024})
        self.assertEqual(len(messages), 1024)


class BatchesUnderLoad(QueryTest):
    """A batch shows one moment, whatever is written, purged or deleted meanwhile."""

    KEYS = 900

    def write_until(self, stop):
        with self.server.connect() as client:
            number = 0
            while not stop.is_set():
                replies = [client.put_start(self.bucket, "k%d" % ((number + i) * 7 % self.KEYS),
                                            b"y" * 50) for i in range(64)]
                number += 64
                for reply in replies:
                    client.answer(reply)

    def run_under_load(self, body, rounds, **changes):
        self.create(**changes)
        self.put_many(self.KEYS, 20)
        stop = threading.Event()
        writers = [threading.Thread(target=self.write_until, args=(stop,)) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(rounds):
                messages, end = self.batch(body)
                keys = [msg.header("Nats-Subject") for msg in messages]
                self.assertEqual(len(set(keys)), self.KEYS)
                self.assertEqual(len(keys), self.KEYS)
                seqs = self.seqs(messages)
                self.assertEqual(seqs, sorted(seqs))
                self.assertEqual(end.status, EOB)
                self.assertEqual(end.header("Nats-Num-Pending"), "0")
                self.assertEqual(int(end.header("Nats-Last-Sequence")), seqs[-1])
        finally:
            stop.set()
            for writer in writers:
                writer.join()

    def test_a_batch_has_every_key_once(self):
        self.run_under_load({"batch": 10000, "next_by_subj": self.subject(">")}, 20)

    def test_so_it_does_in_memory(self):
        self.run_under_load({"batch": 10000, "next_by_subj": self.subject("*")}, 20,
                            storage="memory")

    def test_multi_last_has_every_key_once(self):
        self.run_under_load({"multi_last": [self.subject("*")]}, 20)

    def test_what_is_purged_meanwhile_is_still_sent(self):
        self.create()
        self.put_many(60, 100_000)
        slow = self.connect(receive_buffer_bytes=4096)
        reply = self.batch_start({"batch": 1000, "seq": 1}, slow)
        first = slow.answer(reply)
        self.assertEqual(first.header("Nats-Num-Pending"), "59")
        self.client.api_ok("STREAM.PURGE." + self.stream)
        self.assertEqual(self.client.stream_state(self.bucket)["messages"], 0)
        messages, end = self.batch_end(reply, slow)
        self.assertEqual(self.seqs(messages), list(range(2, 61)))
        self.assertTrue(all(msg.data == b"x" * 100_000 for msg in messages))
        self.assert_end(end, 0, 60)

    @unittest.skipUnless(server_is_pail(), "nats-server never ends the answer")
    def test_a_stream_deleted_meanwhile_does_not_wait_for_the_reader(self):
        self.create()
        self.put_many(60, 100_000)
        slow = self.connect(receive_buffer_bytes=4096)
        reply = self.batch_start({"batch": 1000, "seq": 1}, slow)
        slow.answer(reply)
        self.client.api_ok("STREAM.DELETE." + self.stream)
        messages, end = self.batch_end(reply, slow)
        self.assertEqual(end.status, EOB)
        self.assertEqual(self.seqs(messages), list(range(2, 2 + len(messages))))
        slow.flush()

    @unittest.skipUnless(server_is_pail(), "nats-server queues the whole answer")
    def test_slow_readers_cost_little_memory(self):
        self.create()
        self.put_many(150, 100_000)
        before = self.server.rss_bytes()
        slow = [self.connect(receive_buffer_bytes=4096) for _ in range(6)]
        replies = [self.batch_start({"batch": 1000, "seq": 1}, client) for client in slow]
        for client, reply in zip(slow, replies):
            client.answer(reply)
        self.client.flush()
        self.assertLess(self.server.rss_bytes() - before, memory_limit(45 << 20))
        answers = {}
        readers = [threading.Thread(
            target=lambda n: answers.update({n: self.batch_end(replies[n], slow[n])}), args=(n,))
            for n in range(len(slow))]  # all at once: who does not read for 10 s is cut off
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        for number in range(len(slow)):
            messages, end = answers[number]
            self.assertEqual(len(messages), 149)
            self.assert_end(end, 0, 150)

    def test_a_reader_that_goes_away_hurts_nobody(self):
        self.create()
        self.put_many(100, 100_000)
        for _ in range(20):
            slow = self.connect(receive_buffer_bytes=4096)
            reply = self.batch_start({"batch": 1000, "seq": 1}, slow)
            slow.answer(reply)
            slow.close()
        messages, end = self.batch({"batch": 1000, "seq": 1})
        self.assertEqual(len(messages), 100)

    def test_many_batches_at_once(self):
        self.create()
        self.put_many(200, 10)
        replies = [self.batch_start({"batch": 50, "next_by_subj": self.subject("*"),
                                     "seq": 1 + number % 150}) for number in range(600)]
        for number, reply in enumerate(replies):
            messages, end = self.batch_end(reply)
            start = 1 + number % 150
            self.assertEqual(self.seqs(messages), list(range(start, start + 50)))


class StreamInfo(QueryTest):
    def info(self, body=None):
        return self.client.api_ok("STREAM.INFO." + self.stream, body)

    def test_pages_of_subjects(self):
        """A page has 100,000; the order is that of the bytes."""
        self.create()
        self.put_many(100_003, 0)
        wanted = sorted(self.subject("k%d" % number) for number in range(100_003))
        first = self.info({"subjects_filter": self.subject("*")})
        self.assertEqual((first["total"], first["offset"], first["limit"]), (100_003, 0, 100_000))
        self.assertEqual(list(first["state"]["subjects"]), wanted[:100_000])
        last = self.info({"subjects_filter": ">", "offset": 100_000})
        self.assertEqual((last["total"], last["offset"], last["limit"]),
                         (100_003, 100_000, 100_000))
        self.assertEqual(last["state"]["subjects"], dict.fromkeys(wanted[100_000:], 1))
        for offset in (100_003, 200_000):
            behind = self.info({"subjects_filter": ">", "offset": offset})
            self.assertEqual((behind["total"], behind["offset"], behind["limit"]),
                             (100_003, offset, 100_000))
            self.assertNotIn("subjects", behind["state"])
        none = self.info({"subjects_filter": "none.>", "offset": 5})
        self.assertEqual((none["total"], none["offset"], none["limit"]), (0, 0, 0))

    def test_bodies_that_clients_send(self):
        self.create()
        self.put_all("ab")
        for body in (b"null", {"offset": 0}, b'{"deleted_details": false, '
                     b'"subjects_filter": null, "offset": null}', b"", b"{}", b"true", b" "):
            answer = self.info(body)
            self.assertEqual((answer["total"], answer["offset"], answer["limit"]), (0, 0, 0))
            self.assertEqual(answer["state"]["messages"], 2)
            self.assertNotIn("subjects", answer["state"])
        for body in (b'{"offset":"1"}', b'{"subjects_filter":1}', b'{"unknown":1}', b"[]"):
            self.assert_error(self.client.api("STREAM.INFO." + self.stream, body), 400, 10025)

    def test_deleted_details(self):
        self.create()
        self.put_all("abacabc")
        state = self.info({"deleted_details": True, "subjects_filter": ">"})["state"]
        self.assertEqual((state["first_seq"], state["last_seq"], state["messages"]), (5, 7, 3))
        self.client.api_ok("STREAM.PURGE." + self.stream, {"filter": self.subject("b")})
        state = self.info({"deleted_details": True, "subjects_filter": ">"})["state"]
        self.assertEqual((state["num_deleted"], state["deleted"]), (1, [6]))
        self.assertEqual(state["subjects"], {self.subject("a"): 1, self.subject("c"): 1})
        self.assertNotIn("deleted", self.info()["state"])

    def test_a_first_sequence_shows_before_there_is_any(self):
        for storage in ("file", "memory"):
            name = "first-" + storage
            answer = self.client.api_ok("STREAM.CREATE." + name, {
                "name": name, "subjects": [name], "first_seq": 50, "storage": storage})
            for state in (answer["state"], self.client.api("STREAM.INFO." + name)["state"]):
                self.assertEqual((state["first_seq"], state["last_seq"]), (50, 49))
                self.assertEqual(state["last_ts"], "0001-01-01T00:00:00Z")
            self.assertEqual(self.client.request(name, "x").json()["seq"], 50)

    def test_metadata_is_sorted_with_the_servers_keys(self):
        answer = self.create(metadata={"z": "1", "A": "2", "_nats.mine": "3", "_nats.ver": "no"})
        self.assertEqual(list(answer["config"]["metadata"]),
                         ["A", "_nats.level", "_nats.mine", "_nats.req.level", "_nats.ver", "z"])


class Limits(QueryTest):
    """A bucket that is made without limits lies on all shards; it keeps those it gets later."""

    def update(self, **changes):
        answer = self.client.api("STREAM.UPDATE." + self.stream,
                                 bucket_config(self.bucket, **changes))
        self.assertNotIn("error", answer)
        return answer

    def size_of(self, key, value):
        return 30 + len(self.subject(key)) + len(value)

    def write_until_full(self, prefix, refusals):
        """Pipelined, on a connection of its own; keeps how many were stored."""
        with self.server.connect() as client:
            replies = [client.put_start(self.bucket, "%s%03d" % (prefix, number), b"v" * 50)
                       for number in range(200)]
            answers = [client.answer(reply).json() for reply in replies]
        refusals.extend(answer["error"] for answer in answers if "error" in answer)

    def fill_at_once(self):
        refusals = []
        writers = [threading.Thread(target=self.write_until_full, args=(prefix, refusals))
                   for prefix in "abcdefgh"]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        return refusals

    def test_bytes_of_a_bucket_that_had_no_limit(self):
        self.create()
        self.put_all("xyz")
        size = self.size_of("a000", b"v" * 50)
        before = self.client.stream_state(self.bucket)["bytes"]
        limit = before + 500 * size + size // 2
        answer = self.update(max_bytes=limit)
        self.assertEqual(answer["config"]["max_bytes"], limit)
        refusals = self.fill_at_once()
        state = self.client.stream_state(self.bucket)
        self.assertEqual((state["bytes"], state["messages"]), (before + 500 * size, 503))
        self.assertEqual(len(refusals), 1600 - 500)
        for error in refusals:
            self.assertEqual(error, {"code": 503, "err_code": 10077,
                                     "description": "maximum bytes exceeded"})
        self.assertEqual(self.client.put(self.bucket, "x", "X-value"), state["last_seq"] + 1)
        longer = self.client.publish_kv(self.bucket, "x", "much longer" * 20)
        self.assert_error(longer, 503, 10077, "maximum bytes exceeded")
        self.client.api_ok("STREAM.PURGE." + self.stream, {"filter": self.subject("y")})
        self.client.put(self.bucket, "y", "y-value")
        self.update(max_bytes=limit + 10 * size)
        self.assertEqual(len(self.fill_at_once()) < 1600, True)
        self.assertLessEqual(self.client.stream_state(self.bucket)["bytes"], limit + 10 * size)
        self.update()
        self.assertEqual(self.fill_at_once(), [])
        self.assertEqual(self.client.stream_state(self.bucket)["messages"], 1603)

    def test_messages_of_a_bucket_that_had_no_limit(self):
        self.create()
        self.update(max_msgs=100)
        refusals = self.fill_at_once()
        self.assertEqual(len(refusals), 1500)
        self.assertEqual(refusals[0]["description"], "maximum messages exceeded")
        self.assertEqual(self.client.stream_state(self.bucket)["messages"], 100)
        answer = self.client.update(self.bucket, "new", "x", 0)
        self.assert_error(answer, 503, 10077, "maximum messages exceeded")

    def test_they_outlive_a_restart(self):
        server = self.server = Server()
        self.addCleanup(server.close)
        with server.connect() as self.client:
            self.create()
            self.update(max_msgs=10)
            self.assertEqual(len(self.fill_at_once()), 1590)
            server.kill()
            server.start(server.port)
            self.client = server.connect()
            answer = self.client.publish_kv(self.bucket, "new", "x")
            self.assert_error(answer, 503, 10077, "maximum messages exceeded")
            self.assertEqual(self.client.stream_state(self.bucket)["messages"], 10)
            self.client.close()

    def test_the_old_are_discarded_in_one_place_only(self):
        """pail refuses this in words where the bucket lies on several shards."""
        self.create()
        answer = self.client.api("STREAM.UPDATE." + self.stream, bucket_config(
            self.bucket, max_msgs=10, discard="old"))
        if "error" in answer:
            self.assertEqual(answer["error"]["err_code"], 10052)
            self.assertIn("pail can not discard old messages", answer["error"]["description"])
        else:
            self.put_many(20, 1)
            self.assertEqual(self.client.stream_state(self.bucket)["messages"], 10)


class MessageDelete(QueryTest):
    def test_what_is_not_there(self):
        for storage in ("file", "memory"):
            name = "gone-" + storage
            self.client.api_ok("STREAM.CREATE." + name, {
                "name": name, "subjects": [name + ".*"], "storage": storage})

            def delete(seq, **more):
                return self.client.api("STREAM.MSG.DELETE." + name, dict(more, seq=seq))

            for subject in "abcd":
                self.client.request("%s.%s" % (name, subject), subject)
            self.assertTrue(delete(1)["success"])
            self.assertTrue(delete(3, no_erase=True)["success"])
            self.assert_error(delete(3), 400, 10043, "sequence 3 not found")
            for seq, file_words in ((9, "stream store EOF"), (1, "no message found"),
                                    (0, "no message found")):
                if storage == "file":
                    self.assert_error(delete(seq), 500, 10057, file_words)
                else:
                    self.assert_error(delete(seq), 400, 10043, "sequence %d not found" % seq)
            self.client.api_ok("STREAM.PURGE." + name)
            answer = delete(4)
            self.assertEqual(answer["error"]["err_code"], 10057 if storage == "file" else 10043)


class CommandLine(unittest.TestCase):
    """`nats stream` and `nats kv` print the same with both servers."""

    COMMANDS = """
stream add S1 --subjects s1.> --defaults
stream add S2 --subjects s2.> --defaults --storage memory --max-msgs 100 --max-bytes 1MB --max-age 1h --discard new --max-msgs-per-subject 5 --max-msg-size 1000 --dupe-window 1m --allow-rollup --deny-delete --no-deny-purge --allow-direct --description hello --metadata a=b --compression s2 --no-ack
stream add S3 --subjects s3 --defaults --replicas 3
stream add S4 --subjects s4 --defaults --first-sequence 100 --max-consumers 3 --tag x --discard-per-subject --discard new --max-msgs-per-subject 2
stream add S1 --subjects s1.>,x --defaults
stream info S1
stream info S2 --json
stream info S1 --no-select
stream info NOPE
stream state S1
stream subjects S1
pub s1.a one
pub s1.b two
pub s1.a three
pub s1.c four --header X:1
stream subjects S1 --json
stream subjects S1 s1.a
stream state S1
stream ls
stream ls -a
stream ls -n
stream ls --subject s1.a
stream ls --json
stream report
stream find
stream find --subject s1.a
stream find --empty
stream get S1 2
stream get S1 -S s1.a
stream get S1 99
stream get S1 4 --json
stream rmm S1 2 -f
stream rmm S1 2 -f
stream rmm S1 99 -f
stream rmm S2 1 -f
stream info S1
stream purge S1 -f --subject s1.a --keep 1
stream purge S1 -f --seq 4
stream purge S1 -f
stream purge S1 -f --seq 50
stream state S1
stream edit S1 -f --description new --max-msgs 10
stream edit S1 -f --subjects s1.>,y --max-age 2h
stream edit S2 -f --deny-purge
stream edit S2 -f --no-deny-delete
stream edit S1 -f --storage memory
stream edit S1 -f --replicas 3
stream seal S4 -f
stream info S4
pub s4 x
stream cluster step-down S1
stream gaps S1
stream graph S1
stream view S1
stream copy S1 S5 --subjects s5
stream rm S5 -f
stream rm S4 -f
stream rm NOPE -f
kv add b --history 5 --description d --ttl 1h --max-value-size 1024 --max-bucket-size 1MB
kv add c
kv add c --history 3
kv put c a one
kv put c a two
kv put c b.c three
kv get c a
kv get c a --raw
kv get c a --revision 2 --raw
kv get c a --revision 1 --raw
kv get c none
kv create c a x
kv create c n x
kv update c n y 4
kv update c n y 4
kv history c a
kv del c a -f
kv get c a
kv history c a
kv purge c b.c -f
kv ls
kv ls c
kv ls c -v
kv ls c -v --display-value
kv ls -n
kv info c
kv info nope
kv status b
kv edit c --history 4 --description zz
kv edit c --max-bucket-size 1MB
kv info c
kv edit c --ttl 1h --max-value-size 100
kv put c big 12345678901234567890
kv revert c n 4 --force
kv history c n
kv compact c -f
kv ls c
kv del c -f
kv del nope -f
kv add m --storage memory
kv put m k v
kv get m k --raw
account info
"""

    @staticmethod
    def comparable(text):
        """Without what differs from run to run."""
        text = text.replace("\u00a0", " ")  # the library that prints differences puts them at random
        for pattern, word in (
                (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
                (r"\b\d\d:\d\d:\d\d\b", "TIME"),
                (r"\b(\d+(\.\d+)?(ms|µs|s|m|h))+\b", "DURATION"),
                (r"\bN[A-Z0-9]{55}\b", "ID"), (r"127\.0\.0\.1:\d+", "ADDRESS"),
                (r"Client ID: \d+", "Client ID"), (r"hosted at level \d", "hosted"),
                (r'"_nats\.level": "\d"', "level"), (r"[ \t─]+", " ")):
            text = re.sub(pattern, word, text)
        return text

    def run_all(self, program):
        found = []
        with mock.patch.dict(os.environ, PAIL_SERVER=program):
            server = Server()
        try:
            cli = Cli(server)
            self.addCleanup(cli.close)
            for line in self.COMMANDS.strip().split("\n"):
                done = subprocess.run(cli.command(line.split()), env=cli.environment(),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, timeout=60)
                found.append("%s -> %d\n%s" % (line, done.returncode, self.comparable(
                    done.stdout.decode(errors="replace"))))
        finally:
            server.close()
        return found

    @unittest.skipUnless(server_is_pail(), "there is nothing to compare")
    def test_every_command(self):
        reference = self.run_all(require_program("nats-server"))
        ours = self.run_all(server_program())
        for expected, given in zip(reference, ours):
            self.assertEqual(given, expected)


if __name__ == "__main__":
    main()
