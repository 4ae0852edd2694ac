"""
tests/e2e/api_test.py: streams, reads, writes and consumers, as raw requests of the JetStream API.

Clients read codes and texts of these answers, so the tests compare them exactly. All values are
those of nats-server 2.15.2; where it leaves something open (the order of two answers) so do the
tests.
"""

import base64
import json
import random
import re
import threading
import time
import unittest

from harness import (DEADLINE_S, SECOND_NS, Client, Server, ServerTest, bucket_config, expected,
                     main, poll_until, server_is_pail)

TYPE = "io.nats.jetstream.api.v1."
RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"
ZERO_TIME = "0001-01-01T00:00:00Z"


class ApiTest(ServerTest):
    def setUp(self):
        self.client = self.connect()
        self.bucket = self.bucket_name()
        self.stream = "KV_" + self.bucket

    def create(self, **changes):
        return self.client.bucket_create(self.bucket, **changes)

    def fresh_bucket(self):
        """Another bucket: nats-server may show old messages in a new one of the same name."""
        self.bucket_count = getattr(self, "bucket_count", 0) + 1
        self.bucket = "%s-%d" % (self.bucket_name(), self.bucket_count)
        self.stream = "KV_" + self.bucket

    def key_subject(self, key):
        return "$KV.%s.%s" % (self.bucket, key)

    def put(self, key, value=b"", headers=None):
        return self.client.put(self.bucket, key, value, headers)

    def put_all(self, keys):
        """One put for each letter; the value is the letter and its revision."""
        return [self.put(key, "%s-value" % key) for key in keys]

    def state(self):
        return self.client.stream_state(self.bucket)

    def stored(self):
        """What the bucket holds, as (sequence, key), asked for one by one."""
        found = []
        for seq in range(1, self.state()["last_seq"] + 1):
            msg = self.client.direct_get_json(self.bucket, {"seq": seq})
            if msg.status is None:
                found.append((seq, msg.header("Nats-Subject").split(".", 2)[2]))
        return found


class BadRequests(ApiTest):
    def test_unknown_api_subjects_are_never_answered(self):
        for suffix in ("FOO", "STREAM", "STREAM.NOTHING", "STREAM.INFO", "STREAM.INFO.a.b",
                       "STREAM.CREATE.a.b", "INFO.x", "CONSUMER.NOTHING.a", "CONSUMER.INFO.a"):
            self.client.request_start("$JS.API." + suffix, "{}")
        self.assertTrue(self.client.hears_nothing())

    def test_an_api_subject_with_an_empty_token_has_no_responders(self):
        for subject in ("$JS.API.STREAM.INFO.", "$JS.API..INFO", "$JS.API.DIRECT.GET.x."):
            self.assert_no_responders(self.client.request(subject), subject)
        self.assert_no_responders(self.client.request("$JS.other.API.INFO"), "$JS.other.API.INFO")

    def test_invalid_json_is_refused(self):
        self.create()
        invalid = re.compile("^invalid JSON: ")
        for body in (b"{", b"{\"name\":}", b"[]", b"nonsense", b"{\"name\":1}",
                     b"{\"name\":\"%s\"} x" % self.stream.encode(), b"{\"max_age\":1.5}",
                     b"{\"storage\":\"paper\"}", b"{\"max_msgs\":99999999999999999999}",
                     b"{\"unknown_field\":1}"):
            for suffix in ("STREAM.CREATE.", "STREAM.UPDATE."):
                with self.subTest(suffix + body.decode()):
                    answer = self.client.api(suffix + self.stream, body)
                    self.assert_error(answer, 400, 10025, invalid)
        for suffix in ("STREAM.INFO.", "STREAM.PURGE.", "STREAM.MSG.GET.", "CONSUMER.CREATE."):
            answer = self.client.api(suffix + self.stream, b"{")
            self.assert_error(answer, 400, 10025, invalid)
        self.assert_error(self.client.api("STREAM.NAMES", b"{"), 400, 10025, invalid)

    def test_json_forms_that_clients_send_are_accepted(self):
        self.create(description="a")
        config = json.dumps(bucket_config(self.bucket, description="a"))
        spaced = json.dumps(bucket_config(self.bucket, description="a"), indent=1)
        upper = config.replace('"name"', '"NAME"')
        escaped = config.replace(".>", ".\\u003e")
        nulls = config[:-1] + ',"mirror":null,"placement":null,"consumer_limits":null}'
        repeated = config[:-1] + ',"max_bytes":5,"max_bytes":-1}'
        for body in (config, spaced, upper, escaped, nulls, repeated, config + " {}"):
            with self.subTest(body):
                self.client.api_ok("STREAM.CREATE." + self.stream, body.encode())
        for body in (b"", b"null", b"{}", b" ", b'{"offset":0}',
                     b'{"deleted_details":false,"subjects_filter":null,"offset":null}'):
            self.client.api_ok("STREAM.INFO." + self.stream, body)

    def test_deep_json_is_refused_and_hurts_nobody(self):
        answer = self.client.api("STREAM.CREATE.x", b"[" * 100_000)
        self.assert_error(answer, 400, 10025)
        answer = self.client.api("STREAM.CREATE.x", b'{"a":' * 100_000)
        self.assert_error(answer, 400, 10025)

    def test_stream_names_with_dots_and_worse(self):
        for name in ("KV_a.b", "a b", "a*", "a>", ""):
            # The name in the subject cannot hold a dot: the two differ, or the name is refused.
            answer = self.client.api("STREAM.CREATE.KV_a", {"name": name, "subjects": ["dots"]})
            self.assert_error(answer, 400, 10056, "stream name in subject does not match request")
        answer = self.client.api("STREAM.CREATE.a\\b", {"name": "a\\b", "subjects": ["dots"]})
        self.assert_error(answer, 400, 10128, "Stream name can not contain path separators")
        name = "n" * 256
        answer = self.client.api("STREAM.CREATE." + name, {"name": name, "subjects": ["dots"]})
        self.assert_error(answer, 500, 10052,
                          "stream name is too long, maximum allowed is 255")

    def test_requests_without_a_reply_subject_are_executed(self):
        self.client.pub("$JS.API.STREAM.CREATE." + self.stream,
                        json.dumps(bucket_config(self.bucket)))
        poll_until(
            lambda: "error" not in self.client.api("STREAM.INFO." + self.stream))

    def test_a_required_api_level_above_the_servers_is_refused(self):
        answer = self.client.api("INFO", headers={"Nats-Required-Api-Level": "99"})
        self.assert_error(answer, 412, 10185)
        self.client.api_ok("INFO", headers={"Nats-Required-Api-Level": "0"})


class AccountInfo(ApiTest):
    def test_it_has_all_its_fields(self):
        before = self.client.api_ok("INFO")
        self.assertEqual(before["type"], TYPE + "account_info_response")
        self.assertEqual(before["limits"], {
            "max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1,
            "max_ack_pending": -1, "memory_max_stream_bytes": -1, "storage_max_stream_bytes": -1,
            "max_bytes_required": False})
        self.assertNotIn("error", before)
        for field in ("memory", "storage", "reserved_memory", "reserved_storage", "streams",
                      "consumers"):
            self.assertIsInstance(before[field], int)
        self.assertGreaterEqual(before["api"]["level"], 1)
        self.create()
        self.put("k", "v")
        after = self.client.api_ok("INFO", b"[]")  # nats.rs sends this body
        self.assertEqual(after["streams"], before["streams"] + 1)
        self.assertGreater(after["storage"], before["storage"])
        self.assertGreater(after["api"]["total"], before["api"]["total"])


class StreamCreate(ApiTest):
    def test_the_answer_echoes_the_configuration(self):
        answer = self.create(max_msgs_per_subject=5, description="d", metadata={"a": "b"})
        self.assertEqual(answer["type"], TYPE + "stream_create_response")
        self.assertIs(answer["did_create"], True)
        config = answer["config"]
        metadata = config.pop("metadata")
        self.assertEqual(config, {
            "name": self.stream, "description": "d", "subjects": [self.key_subject(">")],
            "retention": "limits", "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            "max_age": 0, "max_msgs_per_subject": 5, "max_msg_size": -1, "discard": "new",
            "storage": "file", "num_replicas": 1, "duplicate_window": 120 * SECOND_NS,
            "compression": "none", "allow_direct": True, "mirror_direct": False, "sealed": False,
            "deny_delete": True, "deny_purge": False, "allow_rollup_hdrs": True,
            "consumer_limits": {}, "allow_msg_ttl": False})
        self.assertEqual(metadata["a"], "b")
        self.assertEqual(metadata["_nats.req.level"], "0")
        self.assertRegex(metadata["_nats.ver"], r"^\d+\.\d+\.\d+")
        self.assertRegex(answer["created"], RFC3339)
        self.assertRegex(answer["ts"], RFC3339)
        self.assertEqual(answer["state"], {
            "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": ZERO_TIME, "last_seq": 0,
            "last_ts": ZERO_TIME, "consumer_count": 0})

    def test_it_is_idempotent(self):
        first = self.create()
        self.put("k", "v")
        again = self.create()
        self.assertIs(again["did_create"], True)
        self.assertEqual(again["created"], first["created"])
        self.assertEqual(again["state"]["messages"], 1)

    def test_bodies_of_all_clients_give_the_same_bucket(self):
        name, subjects = self.stream, [self.key_subject(">")]
        go = bucket_config(self.bucket, max_msgs_per_subject=5)
        c = {"name": name, "subjects": subjects, "retention": "limits", "max_consumers": -1,
             "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
             "max_msgs_per_subject": 5, "discard": "new", "storage": "file", "num_replicas": 1,
             "deny_delete": True, "allow_rollup_hdrs": True, "allow_direct": True}
        rust = {"name": name, "max_bytes": 0, "max_msgs": 0, "max_msgs_per_subject": 5,
                "discard": "new", "subjects": subjects, "retention": "limits", "max_consumers": 0,
                "max_age": 0, "storage": "file", "num_replicas": 1, "description": "",
                "allow_rollup_hdrs": True, "deny_delete": True, "allow_direct": True,
                "consumer_limits": None}
        java = {"name": name, "subjects": subjects, "retention": "limits",
                "max_msgs_per_subject": 5, "storage": "file", "num_replicas": 1, "discard": "new",
                "duplicate_window": 120 * SECOND_NS, "allow_rollup_hdrs": True,
                "allow_direct": True, "deny_delete": True}
        configs = [self.client.api_ok("STREAM.CREATE." + name, body)["config"]
                   for body in (go, c, rust, java)]
        for config in configs[1:]:
            self.assertEqual(config, configs[0])

    def test_a_different_configuration_is_refused(self):
        self.create()
        for change in ({"max_msgs_per_subject": 2}, {"description": "other"}, {"discard": "old"},
                       {"allow_direct": False}, {"storage": "memory"}, {"max_bytes": 1000}):
            answer = self.client.api("STREAM.CREATE." + self.stream,
                                     bucket_config(self.bucket, **change))
            self.assert_error(answer, 400, 10058,
                              "stream name already in use with a different configuration")

    def test_bad_configurations(self):
        def refused(code, err_code, text, **changes):
            answer = self.client.api("STREAM.CREATE." + self.stream,
                                     bucket_config(self.bucket, **changes))
            self.assertEqual(answer["type"], TYPE + "stream_create_response")
            self.assert_error(answer, code, err_code, text)
            self.assertNotIn("config", answer)

        refused(500, 10074, "replicas > 1 not supported in non-clustered mode", num_replicas=3)
        refused(500, 10052, "maximum replicas is 5", num_replicas=6)
        refused(500, 10052, "max age can not be negative", max_age=-1)
        refused(500, 10052, "max age needs to be >= 100ms", max_age=1000)
        refused(500, 10052, "duplicates window can not be larger then max age",
                max_age=SECOND_NS)
        refused(500, 10052, "duplicates window needs to be >= 100ms", duplicate_window=1)
        refused(500, 10052, "roll-ups require the purge permission", deny_purge=True)
        refused(500, 10052, "invalid subject", subjects=["a..b"])
        refused(500, 10052, 'subject "a.*" overlaps with "a.b"', subjects=["a.*", "a.b"])
        refused(500, 10052, "subjects that overlap with jetstream api require no-ack to be true",
                subjects=["$JS.API.>"])
        refused(500, 10052, "stream description is too long, maximum allowed is 4096",
                description="d" * 4097)

    def test_subjects_of_another_stream_are_refused(self):
        self.create()
        answer = self.client.api("STREAM.CREATE.OTHER", {"name": "OTHER",
                                                         "subjects": [self.key_subject("k")]})
        self.assert_error(answer, 400, 10065, "subjects overlap with an existing stream")

    def test_publishing_right_after_the_answer_is_captured(self):
        for number in range(20):
            bucket = "%s-%d" % (self.bucket, number)
            self.client.bucket_create(bucket)
            self.assertEqual(self.client.put(bucket, "k", "v"), 1)


class StreamUpdate(ApiTest):
    def update(self, **changes):
        return self.client.api("STREAM.UPDATE." + self.stream,
                               bucket_config(self.bucket, **changes))

    def test_it_changes_what_may_be_changed(self):
        created = self.create(max_msgs_per_subject=3)
        self.put_all("aaab")
        answer = self.update(max_msgs_per_subject=3, description="new", max_msg_size=1000,
                             metadata={"x": "y"})
        self.assertNotIn("error", answer)
        self.assertEqual(answer["type"], TYPE + "stream_update_response")
        self.assertEqual(answer["config"]["description"], "new")
        self.assertEqual(answer["config"]["max_msg_size"], 1000)
        self.assertEqual(answer["created"], created["created"])
        self.assertEqual(answer["state"]["messages"], 4)
        self.assertNotIn("did_create", answer)
        info = self.client.api_ok("STREAM.INFO." + self.stream)
        self.assertEqual(info["config"], answer["config"])

    def test_a_limit_of_bytes_is_set_or_refused_in_words(self):
        self.create()
        answer = self.update(max_bytes=100_000)
        if "error" in answer and server_is_pail():
            self.assert_error(answer, 500, 10052, re.compile("^pail can ?not "))
            self.assertEqual(self.client.api_ok("STREAM.INFO." + self.stream)
                             ["config"]["max_bytes"], -1)
        else:
            self.assertEqual(answer["config"]["max_bytes"], 100_000)

    def test_a_shorter_history_takes_effect_at_once(self):
        self.create(max_msgs_per_subject=3)
        self.put_all("aaab")
        self.update(max_msgs_per_subject=1)
        self.assertEqual(self.stored(), [(3, "a"), (4, "b")])

    def test_what_may_not_be_changed(self):
        self.create()
        prefix = "stream configuration update can not "
        for changes, text in (({"storage": "memory"}, "change storage type"),
                              ({"deny_delete": False}, "cancel deny message deletes"),
                              ({"retention": "workqueue"},
                               "change retention policy to/from workqueue")):
            # What pail does not have it refuses in words of its own, with the same code.
            self.assert_error(self.update(**changes), 500, 10052,
                              re.compile("^(%s%s|pail does not support .*)$" % (prefix, text)))

    def test_a_missing_stream(self):
        self.assert_error(self.update(), 404, 10059, "stream not found")

    def test_direct_gets_can_be_switched_off(self):
        self.create()
        self.put("k", "v")
        self.update(allow_direct=False)
        self.assertEqual(self.client.direct_get(self.bucket, "k").status, "503")
        self.update(allow_direct=True)
        self.assertEqual(self.client.direct_get(self.bucket, "k").data, b"v")


class StreamInfo(ApiTest):
    def test_it_counts_what_is_stored(self):
        self.create(max_msgs_per_subject=2)
        self.put_all("abaac")
        info = self.client.api_ok("STREAM.INFO." + self.stream)
        self.assertEqual(info["type"], TYPE + "stream_info_response")
        self.assertEqual((info["total"], info["offset"], info["limit"]), (0, 0, 0))
        self.assertEqual(info["cluster"], {"leader": self.client.info["server_name"]})
        state = info["state"]
        # Subject, value and the store's overhead of 22 bytes and 8 more, for each of four messages.
        subject_bytes = len(self.key_subject("a"))
        self.assertEqual(state.pop("bytes"), 4 * (subject_bytes + len("a-value") + 22 + 8))
        for field in ("first_ts", "last_ts"):
            self.assertRegex(state.pop(field), RFC3339)
        self.assertEqual(state, {"messages": 4, "first_seq": 2, "last_seq": 5, "num_subjects": 3,
                                 "consumer_count": 0})

    def test_gaps_are_counted(self):
        self.create()
        self.put_all("abbbc")
        self.assertEqual(self.state()["num_deleted"], 2)
        info = self.client.api_ok("STREAM.INFO." + self.stream, {"deleted_details": True})
        self.assertEqual(info["state"]["deleted"], [2, 3])

    def test_subjects_are_listed_on_request(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abab")
        self.put("c.d", "x")
        info = self.client.api_ok("STREAM.INFO." + self.stream,
                                  {"subjects_filter": self.key_subject("*")})
        self.assertEqual(info["state"]["subjects"],
                         {self.key_subject("a"): 2, self.key_subject("b"): 2})
        self.assertEqual((info["total"], info["offset"], info["limit"]), (2, 0, 100_000))
        info = self.client.api_ok("STREAM.INFO." + self.stream, {"subjects_filter": "none"})
        self.assertNotIn("subjects", info["state"])
        self.assertEqual(info["total"], 0)

    def test_a_missing_stream(self):
        answer = self.client.api("STREAM.INFO.KV_missing")
        self.assertEqual(answer, {
            "type": TYPE + "stream_info_response",
            "error": {"code": 404, "err_code": 10059, "description": "stream not found"},
            "total": 0, "offset": 0, "limit": 0})

    def test_every_acked_write_is_in_the_next_info(self):
        """Whoever got an ack finds it in every later answer, on whatever connection he asks."""
        self.create()
        others = [self.connect() for _ in range(4)]
        for number in range(200):
            seq = self.put("k%d" % (number % 50), "v")
            state = others[number % 4].stream_state(self.bucket)
            self.assertEqual((seq, state["last_seq"]), (number + 1, number + 1))
            self.assertEqual(state["messages"], min(number + 1, 50))


class StreamNamesAndLists(ApiTest):
    def test_names_and_list_in_order_with_a_filter(self):
        prefix = "lists"
        for suffix in ("c", "a", "b"):
            self.client.bucket_create("%s-%s" % (prefix, suffix))
        names = self.client.api_ok("STREAM.NAMES", {"subject": "$KV.*.>"})
        self.assertEqual(names["type"], TYPE + "stream_names_response")
        self.assertEqual((names["offset"], names["limit"]), (0, 1024))
        self.assertEqual(names["total"], len(names["streams"]))
        self.assertEqual(names["streams"], sorted(names["streams"]))
        self.assertEqual([n for n in names["streams"] if n.startswith("KV_lists-")],
                         ["KV_lists-a", "KV_lists-b", "KV_lists-c"])
        one = self.client.api_ok("STREAM.NAMES", {"subject": "$KV.lists-b.some.key"})
        self.assertEqual((one["total"], one["streams"]), (1, ["KV_lists-b"]))

        listed = self.client.api_ok("STREAM.LIST", {"subject": "$KV.lists-b.>"})
        self.assertEqual(listed["type"], TYPE + "stream_list_response")
        self.assertEqual((listed["total"], listed["offset"], listed["limit"]), (1, 0, 256))
        self.assertEqual(listed["streams"][0]["config"]["name"], "KV_lists-b")
        self.assertIn("state", listed["streams"][0])
        self.assertEqual(self.client.api_ok("STREAM.LIST")["total"],
                         self.client.api_ok("STREAM.NAMES")["total"])

    def test_nothing_found(self):
        names = self.client.api_ok("STREAM.NAMES", {"subject": "no.such.subject"})
        self.assertEqual((names["total"], names["streams"]), (0, None))
        listed = self.client.api_ok("STREAM.LIST", {"subject": "no.such.subject"})
        self.assertEqual((listed["total"], listed["streams"]), (0, []))

    def test_an_offset_beyond_the_end(self):
        self.create()
        total = self.client.api_ok("STREAM.NAMES")["total"]
        names = self.client.api_ok("STREAM.NAMES", {"offset": total + 10})
        self.assertEqual((names["total"], names["offset"], names["streams"]), (total, total, None))


class StreamPages(ServerTest):
    def test_a_list_of_300_buckets_has_two_pages(self):
        client = self.connect()
        replies = [client.request_start("$JS.API.STREAM.CREATE.KV_page%03d" % n,
                                        json.dumps(bucket_config("page%03d" % n)))
                   for n in range(300)]
        for reply in replies:
            self.assertNotIn("error", client.answer(reply).json())
        first = client.api_ok("STREAM.LIST", {"offset": 0})
        second = client.api_ok("STREAM.LIST", {"offset": 256})
        self.assertEqual((first["total"], len(first["streams"]), len(second["streams"])),
                         (300, 256, 44))
        names = [s["config"]["name"] for s in first["streams"] + second["streams"]]
        self.assertEqual(names, ["KV_page%03d" % n for n in range(300)])
        self.assertEqual(client.api_ok("STREAM.NAMES")["streams"], names)


class StreamDelete(ApiTest):
    def test_it_takes_the_messages_and_the_name_is_free_at_once(self):
        self.create()
        self.put_all("abc")
        answer = self.client.api("STREAM.DELETE." + self.stream)
        self.assertEqual(answer, {"type": TYPE + "stream_delete_response", "success": True})
        self.assert_error(self.client.api("STREAM.INFO." + self.stream), 404, 10059)
        self.assert_no_responders(self.client.answer(self.client.put_start(self.bucket, "a", "x")),
                                  self.key_subject("a"))
        self.create(max_msgs_per_subject=7)
        self.assertEqual(self.state()["messages"], 0)
        self.assertEqual(self.put("a", "new"), 1)
        self.assertEqual(self.client.direct_get(self.bucket, "b").status, "404")

    def test_bodies(self):
        self.create()
        answer = self.client.api("STREAM.DELETE." + self.stream, b"x")
        self.assert_error(answer, 400, 10038)
        self.client.api_ok("STREAM.DELETE." + self.stream, b"{}")

    def test_a_missing_stream(self):
        self.assert_error(self.client.api("STREAM.DELETE." + self.stream), 404, 10059,
                          "stream not found")


class StreamPurge(ApiTest):
    def purge(self, body=None):
        answer = self.client.api_ok("STREAM.PURGE." + self.stream, body)
        self.assertEqual((answer["type"], answer["success"]),
                         (TYPE + "stream_purge_response", True))
        return answer["purged"]

    def setUp(self):
        super().setUp()
        self.create(max_msgs_per_subject=10)
        self.put_all("abcab")

    def test_everything(self):
        self.assertEqual(self.purge(), 5)
        state = self.state()
        self.assertEqual((state["messages"], state["bytes"], state["first_seq"],
                          state["last_seq"]), (0, 0, 6, 5))
        self.assertEqual(self.put("a", "x"), 6)

    def test_forms(self):
        for body, purged, left in (
                ({"filter": "$KV.BUCKET.a"}, 2, [(2, "b"), (3, "c"), (5, "b")]),
                ({"filter": "$KV.BUCKET.a", "keep": 1},
                 1, [(2, "b"), (3, "c"), (4, "a"), (5, "b")]),
                ({"filter": "$KV.BUCKET.*", "keep": 2}, 3, [(4, "a"), (5, "b")]),
                ({"filter": "$KV.BUCKET.b", "seq": 5},
                 1, [(1, "a"), (3, "c"), (4, "a"), (5, "b")]),
                ({"seq": 4}, 3, [(4, "a"), (5, "b")]),
                ({"seq": 1}, 0, [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")]),
                ({"keep": 1}, 4, [(5, "b")]),
                ({"keep": 9}, 0, [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")]),
                ({"filter": ">"}, 5, []),
                ({"filter": "$KV.BUCKET.none"}, 0,
                 [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")])):
            with self.subTest(body):
                self.fresh_bucket()
                self.create(max_msgs_per_subject=10)
                self.put_all("abcab")
                if "filter" in body:
                    body["filter"] = body["filter"].replace("BUCKET", self.bucket)
                self.assertEqual(self.purge(body), purged)
                self.assertEqual(self.stored(), left)

    def test_what_was_purged_is_not_expected_any_more(self):
        self.purge({"filter": self.key_subject("a")})
        self.assert_error(self.client.update(self.bucket, "a", "x", 4), 400, 10071,
                          "wrong last sequence: 0")
        self.assertEqual(self.client.update(self.bucket, "a", "x", 0)["seq"], 6)
        self.assertEqual(self.client.direct_get(self.bucket, "a").data, b"x")

    def test_refusals(self):
        answer = self.client.api("STREAM.PURGE." + self.stream, {"seq": 2, "keep": 2})
        self.assert_error(answer, 400, 10003, "bad request")
        answer = self.client.api("STREAM.PURGE.KV_missing")
        self.assert_error(answer, 404, 10059, "stream not found")
        self.assertEqual(answer["purged"], 0)


class MsgGet(ApiTest):
    def get(self, body):
        return self.client.api("STREAM.MSG.GET." + self.stream, body)

    def test_forms(self):
        self.create(max_msgs_per_subject=10)
        self.put_all("abca")
        self.put("b", "", {"KV-Operation": "DEL"})
        for body, seq in (({"seq": 2}, 2), ({"last_by_subj": self.key_subject("a")}, 4),
                          ({"last_by_subj": self.key_subject(">")}, 5),
                          ({"next_by_subj": self.key_subject("a")}, 1),
                          ({"next_by_subj": self.key_subject("a"), "seq": 2}, 4),
                          ({"next_by_subj": self.key_subject("*"), "seq": 3}, 3)):
            answer = self.get(body)
            self.assertEqual(answer["type"], TYPE + "stream_msg_get_response")
            self.assertEqual(answer["message"]["seq"], seq, body)
        message = self.get({"seq": 1})["message"]
        self.assertRegex(message.pop("time"), RFC3339)
        self.assertEqual(message, {"subject": self.key_subject("a"), "seq": 1,
                                   "data": base64.b64encode(b"a-value").decode()})
        message = self.get({"seq": 5})["message"]
        self.assertNotIn("data", message)
        self.assertEqual(base64.b64decode(message["hdrs"]),
                         b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n")
        self.assertNotIn("hdrs", self.get({"seq": 5, "no_hdr": True})["message"])

    def test_refusals(self):
        self.create()
        self.put_all("aa")
        for body in ({"seq": 1}, {"seq": 3}, {"last_by_subj": self.key_subject("none")},
                     {"next_by_subj": self.key_subject("a"), "seq": 3}):
            answer = self.get(body)
            self.assert_error(answer, 404, 10037, "no message found")
            self.assertNotIn("message", answer)
        for body in (b"", b"{}", {"seq": 1, "last_by_subj": "a"},
                     {"last_by_subj": "a", "next_by_subj": "b"}):
            self.assert_error(self.get(body), 400, 10003, "bad request")
        answer = self.client.api("STREAM.MSG.GET.KV_missing", {"seq": 1})
        self.assert_error(answer, 404, 10059, "stream not found")

    def test_messages_cannot_be_deleted(self):
        self.create()
        self.put("a", "x")
        answer = self.client.api("STREAM.MSG.DELETE." + self.stream, {"seq": 1})
        self.assert_error(answer, 500, 10057, "message delete not permitted")


class DirectGet(ApiTest):
    def setUp(self):
        super().setUp()
        self.create(max_msgs_per_subject=10)
        self.put("a", "one")
        self.put("b.c", "two", {"X-Own": "1", "x-own": "2"})
        self.put("a", "three")
        self.client.delete(self.bucket, "d")

    def assert_message(self, msg, seq, key, data, stored_headers=b""):
        self.assertRegex(msg.headers.block, (
            rb"^NATS/1\.0\r\n%sNats-Stream: %s\r\nNats-Subject: %s\r\nNats-Sequence: %d\r\n"
            rb"Nats-Time-Stamp: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\r\n\r\n$"
            % (re.escape(stored_headers), self.stream.encode(),
               re.escape(self.key_subject(key)).encode(), seq)))
        self.assertEqual(msg.data, data)
        self.assertIsNone(msg.reply)

    def test_by_subject(self):
        self.assert_message(self.client.direct_get(self.bucket, "a"), 3, "a", b"three")
        self.assert_message(self.client.direct_get(self.bucket, "b.c"), 2, "b.c", b"two",
                            b"X-Own: 1\r\nx-own: 2\r\n")
        self.assert_message(self.client.direct_get(self.bucket, "d"), 4, "d", b"",
                            b"KV-Operation: DEL\r\n")
        self.assert_message(self.client.direct_get(self.bucket, ">"), 4, "d", b"",
                            b"KV-Operation: DEL\r\n")

    def test_by_body(self):
        def get(body):
            return self.client.direct_get_json(self.bucket, body)
        self.assert_message(get({"seq": 1}), 1, "a", b"one")
        self.assert_message(get({"last_by_subj": self.key_subject("a")}), 3, "a", b"three")
        self.assert_message(get({"next_by_subj": self.key_subject("a")}), 1, "a", b"one")
        self.assert_message(get({"next_by_subj": self.key_subject("a"), "seq": 2}), 3, "a",
                            b"three")
        self.assert_message(get(b'{"seq": 1, "unknown": [1]}'), 1, "a", b"one")

    def test_statuses(self):
        missing = ("404", "Message Not Found")
        for subject in ("none", "a.b", "b", "$"):
            self.assert_status(self.client.direct_get(self.bucket, subject), *missing)
        for body, status in (({"seq": 9}, missing),
                             ({"last_by_subj": self.key_subject("none")}, missing),
                             ({"next_by_subj": self.key_subject("a"), "seq": 4}, missing),
                             (b"", ("408", "Empty Request")), (b"{}", ("408", "Empty Request")),
                             (b"{", ("408", "Malformed Request")),
                             (b'{"seq":"x"}', ("408", "Malformed Request")),
                             ({"seq": 1, "last_by_subj": "a"}, ("408", "Bad Request"))):
            self.assert_status(self.client.direct_get_json(self.bucket, body), *status)
        subject = "$JS.API.DIRECT.GET.%s.%s" % (self.stream, self.key_subject("a"))
        self.assert_status(self.client.request(subject, '{"seq":1}'), "408", "Bad Request")
        self.assert_status(self.client.request(subject, "x"), "408", "Malformed Request")

    def test_a_missing_stream_has_no_responders(self):
        subject = "$JS.API.DIRECT.GET.KV_missing.$KV.missing.a"
        self.assert_no_responders(self.client.request(subject), subject)
        self.assert_no_responders(self.client.request("$JS.API.DIRECT.GET.KV_missing", '{"seq":1}'),
                                  "$JS.API.DIRECT.GET.KV_missing")

    def test_a_revision_that_history_has_dropped_is_missing(self):
        bucket = self.bucket + "-1"
        self.client.bucket_create(bucket)
        for value in ("one", "two"):
            self.client.put(bucket, "a", value)
        self.assert_status(self.client.direct_get_json(bucket, {"seq": 1}), "404",
                           "Message Not Found")

    def test_values_of_all_sizes_come_back(self):
        chance = random.Random(30)
        values = {}
        for size in (0, 1, 127, 128, 4095, 4096, 4097, 65_535, 65_536, 1_000_000, 1_048_576):
            values["size%d" % size] = chance.randbytes(size)
            self.put("size%d" % size, values["size%d" % size])
        for key, value in values.items():
            self.assertEqual(self.client.direct_get(self.bucket, key).data, value)

    def test_pipelined_gets_are_all_answered(self):
        replies = {}
        for number in range(2000):
            key = ("a", "b.c", "none")[number % 3]
            reply = self.client.request_start("$JS.API.DIRECT.GET.%s.%s"
                                              % (self.stream, self.key_subject(key)))
            replies[reply] = (b"three", b"two", b"")[number % 3]
        for _ in range(2000):
            msg = self.client.next("inbox")
            self.assertEqual(msg.data, replies.pop(msg.subject))
        self.assertFalse(replies)


class Writes(ApiTest):
    def test_the_ack_is_exact(self):
        self.create()
        msg = self.client.answer(self.client.put_start(self.bucket, "k", "v"))
        self.assertEqual(msg.data, b'{"stream":"%s","seq":1}' % self.stream.encode())
        self.assertIsNone(msg.headers)

    def test_a_refusal_is_exact(self):
        self.create()
        self.put("k", "v")
        reply = self.client.put_start(self.bucket, "k", "w", expected(7))
        self.assertEqual(
            self.client.answer(reply).data,
            b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},'
            b'"stream":"%s","seq":0}' % self.stream.encode())
        self.assertEqual(self.client.direct_get(self.bucket, "k").data, b"v")
        self.assertEqual(self.put("k", "x"), 2)  # a refusal costs no sequence

    def test_expected_sequences(self):
        self.create()
        update = self.client.update

        def refused(answer, revision):
            self.assert_error(answer, 400, 10071, "wrong last sequence: %d" % revision)

        refused(update(self.bucket, "k", "v", 5), 0)
        self.assertEqual(update(self.bucket, "k", "v", 0)["seq"], 1)
        refused(update(self.bucket, "k", "v", 0), 1)
        self.put("other", "x")
        self.assertEqual(update(self.bucket, "k", "v", 1)["seq"], 3)
        refused(update(self.bucket, "k", "v", 1), 3)
        revision = self.client.delete(self.bucket, "k")
        refused(update(self.bucket, "k", "v", 0), revision)  # a marker is a message
        self.assertEqual(update(self.bucket, "k", "v", revision)["seq"], revision + 1)
        revision = self.client.purge(self.bucket, "k")
        refused(update(self.bucket, "k", "v", 0), revision)
        for text in ("abc", "-1", "+1", "%d " % revision, "99999999999999999999"):
            refused(update(self.bucket, "k", "v", text), revision)
        self.assertEqual(update(self.bucket, "k", "v", "00%d" % revision)["seq"], revision + 1)
        refused(update(self.bucket, "absent", "", 3), 0)

    def test_deletes_and_purges_at_a_revision(self):
        self.create()
        self.put("k", "v")
        headers = {"KV-Operation": "DEL", "Nats-Expected-Last-Subject-Sequence": "9"}
        answer = self.client.publish_kv(self.bucket, "k", b"", headers)
        self.assert_error(answer, 400, 10071, "wrong last sequence: 1")
        headers = {"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": "1",
                   "KV-Operation": "PURGE"}
        self.assertEqual(self.put("k", b"", headers), 2)

    def test_header_names_are_compared_exactly(self):
        self.create()
        self.put("k", "v")
        self.assertEqual(self.put("k", "w", {"nats-expected-last-subject-sequence": "9"}), 2)
        self.assertEqual(self.put("k", "x", b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence:2"
                                            b"\r\n\r\n"), 3)  # no blank after the colon

    def test_stored_headers_come_back_byte_for_byte(self):
        self.create()
        block = b"NATS/1.0\r\nB:  2\r\na:1\r\nB: 3 \r\n\r\n"
        self.put("k", "v", block)
        answer = self.client.api_ok("STREAM.MSG.GET." + self.stream, {"seq": 1})
        self.assertEqual(base64.b64decode(answer["message"]["hdrs"]), block)

    def test_a_header_block_of_no_bytes_is_stored_as_none(self):
        self.create()  # nats.js puts this way
        reply = self.client.inbox()
        self.client.send("HPUB %s %s 0 1\r\nv\r\n" % (self.key_subject("k"), reply))
        self.assertEqual(self.client.answer(reply).json()["seq"], 1)
        answer = self.client.api_ok("STREAM.MSG.GET." + self.stream, {"seq": 1})
        self.assertNotIn("hdrs", answer["message"])

    def test_rollup_removes_what_was_before(self):
        self.create(max_msgs_per_subject=10)
        self.put_all("abaa")
        self.assertEqual(self.client.purge(self.bucket, "a"), 5)
        self.assertEqual(self.stored(), [(2, "b"), (5, "a")])
        self.assertEqual(self.put("b", "x", {"Nats-Rollup": "sub"}), 6)
        self.assertEqual(self.stored(), [(5, "a"), (6, "b")])
        answer = self.client.publish_kv(self.bucket, "a", "x", {"Nats-Rollup": "nonsense"})
        self.assert_error(answer, 500, 10111)

    def test_rollups_that_are_not_allowed(self):
        self.create(allow_rollup_hdrs=False)
        answer = self.client.publish_kv(self.bucket, "a", "x", {"Nats-Rollup": "sub"})
        self.assert_error(answer, 500, 10111, "rollup not permitted")

    def test_history_keeps_as_many_as_it_says(self):
        for history in (1, 2, 5, 64):
            bucket = "%s-%d" % (self.bucket, history)
            self.client.bucket_create(bucket, max_msgs_per_subject=history)
            for number in range(70):
                self.client.put(bucket, "k", str(number))
                self.client.put(bucket, "l", str(number))
            state = self.client.stream_state(bucket)
            self.assertEqual((state["messages"], state["last_seq"]), (2 * history, 140))
            oldest = self.client.direct_get_json(bucket, {"seq": 1, "next_by_subj":
                                                          "$KV.%s.k" % bucket})
            self.assertEqual(oldest.data, str(70 - history).encode())

    def test_deleting_a_missing_key_leaves_a_marker(self):
        self.create()
        self.assertEqual(self.client.delete(self.bucket, "never"), 1)
        self.assertEqual(self.client.delete(self.bucket, "never"), 2)
        self.assertEqual(self.stored(), [(2, "never")])

    def test_values_above_the_buckets_maximum(self):
        self.create(max_msg_size=40)
        self.put("k", "x" * 40)
        answer = self.client.publish_kv(self.bucket, "k", "x" * 41)
        self.assert_error(answer, 400, 10054, "message size exceeds maximum allowed")
        self.put("k", "x" * 9, {"KV-Operation": "DEL"})  # the header block's 31 bytes count
        answer = self.client.publish_kv(self.bucket, "k", "x" * 10, {"KV-Operation": "DEL"})
        self.assert_error(answer, 400, 10054)

    def test_a_bucket_that_is_full(self):
        self.create(max_bytes=300)
        self.put("a", "x" * 100)
        answer = self.client.publish_kv(self.bucket, "b", "x" * 200)
        self.assert_error(answer, 503, 10077, "maximum bytes exceeded")
        self.put("a", "y" * 100)  # takes the place of the old value
        self.assertEqual(self.client.direct_get(self.bucket, "a").data, b"y" * 100)

    def test_a_missing_bucket_has_no_responders(self):
        reply = self.client.put_start("missing", "k", "v")
        self.assert_no_responders(self.client.answer(reply), "$KV.missing.k")

    def test_any_subject_without_an_empty_token_is_a_key(self):
        self.create()
        for number, key in enumerate(("a.*", "*", ">", "ünï", "a=b/c-d_e", "k" * 200), 1):
            self.assertEqual(self.put(key, key), number)
        self.assert_status(self.client.direct_get(self.bucket, "absent"), "404",
                           "Message Not Found")
        self.assertEqual(self.client.direct_get_json(self.bucket, {"seq": 4}).data,
                         "ünï".encode())
        reply = self.client.put_start(self.bucket, "a..b", "v")
        self.assert_no_responders(self.client.answer(reply), self.key_subject("a..b"))

    def test_subscribers_hear_writes_too(self):
        self.create()
        listener = self.connect()
        listener.sub(self.key_subject(">"), sid="1")
        listener.flush()
        self.put("k", "v", {"A": "b"})
        msg = listener.next("1")
        self.assertEqual((msg.subject, msg.data, msg.header("A")),
                         (self.key_subject("k"), b"v", "b"))

    def test_writes_without_a_reply_subject_are_stored(self):
        self.create()
        self.client.pub(self.key_subject("k"), "v")
        poll_until(lambda: self.state()["messages"] == 1)

    def test_bucket_ttl(self):
        self.create(max_age=SECOND_NS, duplicate_window=SECOND_NS)
        start = time.monotonic()
        self.put("k", "v")
        self.assert_error(self.client.update(self.bucket, "k", "w", 0), 400, 10071)
        poll_until(lambda: self.client.direct_get(self.bucket, "k").status == "404",
                               what="the end of the value")
        self.assertGreater(time.monotonic() - start, 0.95)
        self.assertLess(time.monotonic() - start, 3)
        self.assertEqual(self.client.update(self.bucket, "k", "w", 0)["seq"], 2)
        state = self.state()
        self.assertEqual((state["messages"], state["first_seq"], state["last_seq"]), (1, 2, 2))


class WriteOrder(ApiTest):
    def acked_sequences(self, client, replies):
        """The sequence of each reply; acks may come in any order."""
        found = {}
        while len(found) < len(replies):
            msg = client.next("inbox")
            found[msg.subject] = msg.json()["seq"]
        return [found[reply] for reply in replies]

    def test_5000_keys_of_one_connection_get_sequences_in_the_order_sent(self):
        self.create()
        replies = [self.client.put_start(self.bucket, "key.%d" % n, "v%d" % n)
                   for n in range(5000)]
        self.assertEqual(self.acked_sequences(self.client, replies), list(range(1, 5001)))
        for number in (0, 17, 2500, 4999):
            msg = self.client.direct_get_json(self.bucket, {"seq": number + 1})
            self.assertEqual((msg.header("Nats-Subject"), msg.data),
                             (self.key_subject("key.%d" % number), b"v%d" % number))

    def test_also_when_puts_creates_updates_and_deletes_are_mixed(self):
        self.create(max_msgs_per_subject=64)
        chance = random.Random(31)
        last = {}
        replies = []
        for number in range(1, 2001):
            key = "key.%d" % chance.randrange(100)
            how = chance.randrange(4)
            headers = [None, expected(last.get(key, 0)), {"KV-Operation": "DEL"},
                       {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}][how]
            value = b"" if how >= 2 else b"v%d" % number
            replies.append(self.client.put_start(self.bucket, key, value, headers))
            last[key] = number  # known without waiting: nobody else writes
        self.assertEqual(self.acked_sequences(self.client, replies), list(range(1, 2001)))

    def test_also_when_many_connections_write_at_once(self):
        self.create()
        writers = [self.connect() for _ in range(4)]
        results = [None] * 4

        def write(index):
            client = writers[index]
            replies = [client.put_start(self.bucket, "w%d.%d" % (index, n % 300), "v")
                       for n in range(1000)]
            results[index] = self.acked_sequences(client, replies)

        threads = [threading.Thread(target=write, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for sequences in results:
            self.assertEqual(sequences, sorted(sequences))
        self.assertEqual(sorted(sum(results, [])), list(range(1, 4001)))
        self.assertEqual(self.state()["last_seq"], 4000)

    def test_of_concurrent_creates_of_one_key_one_wins(self):
        self.create()
        clients = [self.connect() for _ in range(8)]
        for round_number in range(50):
            key = "round.%d" % round_number
            replies = [(client, client.put_start(self.bucket, key, str(index), expected(0)))
                       for index, client in enumerate(clients)]
            answers = [client.answer(reply).json() for client, reply in replies]
            winners = [index for index, answer in enumerate(answers) if "error" not in answer]
            self.assertEqual(len(winners), 1, answers)
            revision = answers[winners[0]]["seq"]
            for answer in answers:
                if "error" in answer:
                    self.assert_error(answer, 400, 10071, "wrong last sequence: %d" % revision)
            self.assertEqual(self.client.direct_get(self.bucket, key).data,
                             str(winners[0]).encode())

    def test_a_counter_of_many_clients_loses_no_step(self):
        """Compare and set as people use it: read, add one, write if nobody else did."""
        self.create()
        self.put("counter", "0")
        clients = [self.connect() for _ in range(4)]

        def count(client):
            done = 0
            while done < 50:
                msg = client.direct_get(self.bucket, "counter")
                answer = client.update(self.bucket, "counter", str(int(msg.data) + 1),
                                       int(msg.header("Nats-Sequence")))
                done += "error" not in answer

        threads = [threading.Thread(target=count, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.client.direct_get(self.bucket, "counter").data, b"200")

    def test_whoever_got_an_ack_reads_it_on_every_connection(self):
        self.create()
        readers = [self.connect() for _ in range(6)]
        for number in range(300):
            revision = self.put("k%d" % (number % 7), str(number))
            msg = readers[number % 6].direct_get(self.bucket, "k%d" % (number % 7))
            self.assertEqual((int(msg.header("Nats-Sequence")), msg.data),
                             (revision, str(number).encode()))


class ConsumerTest(ApiTest):
    def setUp(self):
        super().setUp()
        self.consumer_count = 0

    def watch(self, client=None, subscribe=True, **config):
        """
        Creates a push consumer; .answer is the API's, .next() gives deliveries. Subscribes after
        the creation, as half of the clients do.
        """
        self.consumer_count += 1
        watch = Watch(client or self.client, self.bucket, "c%d" % self.consumer_count, config)
        if subscribe and "error" not in watch.answer:
            watch.subscribe()
        return watch

    def assert_delivers(self, watch, pairs):
        """The next deliveries are these, each as (stream sequence, pending), and then no more."""
        got = []
        for _ in pairs:
            msg = watch.next()
            ack = msg.ack()
            self.assertEqual((ack.stream, ack.consumer, ack.delivered_count),
                             (self.stream, watch.name, 1))
            self.assertEqual(ack.consumer_seq, watch.delivered_count)
            got.append((ack.stream_seq, ack.pending_count))
        self.assertEqual(got, pairs)


class Watch:
    """A consumer and the subscription on its deliver subject."""

    def __init__(self, client, bucket, name, config):
        self.client = client
        self.bucket = bucket
        self.name = name
        self.deliver_subject = "deliver.%s.%s" % (bucket, name)
        self.sid = "watch-" + name
        self.delivered_count = 0
        self.statuses = []
        self.answer = client.consumer_create(bucket, name, deliver_subject=self.deliver_subject,
                                             **config)

    def subscribe(self):
        self.client.sub(self.deliver_subject, sid=self.sid)

    def unsubscribe(self):
        self.client.unsub(self.sid)
        self.client.flush()

    def next_any(self, deadline_s=None):
        return self.client.next(self.sid, deadline_s)

    def next_that(self, accepts):
        """The next message that accepts() takes. Heartbeats go on for ever; the wait does not."""
        until = time.monotonic() + self.client.deadline_s
        while True:
            msg = self.next_any(max(until - time.monotonic(), 0))
            if msg.status is None:
                self.delivered_count += 1
            else:
                self.statuses.append(msg)
            if accepts(msg):
                return msg

    def next(self):
        """The next delivery; statuses on the way are kept."""
        return self.next_that(lambda msg: msg.status is None)

    def next_status(self, description):
        return self.next_that(lambda msg: msg.headers and msg.headers.status
                              and msg.headers.description == description)

    def info(self):
        return self.client.api("CONSUMER.INFO.KV_%s.%s" % (self.bucket, self.name))


class ConsumerManagement(ConsumerTest):
    def test_the_answer_to_a_create(self):
        self.create()
        self.put_all("abc")
        watch = self.watch(deliver_policy="last_per_subject", flow_control=True,
                           idle_heartbeat=5 * SECOND_NS, ack_wait=79200 * SECOND_NS,
                           headers_only=True, subscribe=False)
        answer = watch.answer
        for field in ("created", "ts"):
            self.assertRegex(answer.pop(field), RFC3339)
        metadata = answer["config"].pop("metadata")
        self.assertEqual(metadata["_nats.req.level"], "0")
        self.assertEqual(answer, {
            "type": TYPE + "consumer_create_response", "stream_name": self.stream,
            "name": watch.name,
            "config": {"name": watch.name, "deliver_policy": "last_per_subject",
                       "ack_policy": "none", "ack_wait": 79200 * SECOND_NS, "max_deliver": 1,
                       "filter_subject": self.key_subject(">"), "replay_policy": "instant",
                       "flow_control": True, "headers_only": True,
                       "deliver_subject": watch.deliver_subject,
                       "idle_heartbeat": 5 * SECOND_NS, "inactive_threshold": 5 * SECOND_NS,
                       "num_replicas": 1, "mem_storage": True},
            "delivered": {"consumer_seq": 0, "stream_seq": 0},
            "ack_floor": {"consumer_seq": 0, "stream_seq": 0}, "num_ack_pending": 0,
            "num_redelivered": 0, "num_waiting": 0, "num_pending": 3})

    def test_a_create_says_whether_somebody_listens(self):
        self.create()
        self.assertNotIn("push_bound", self.watch(subscribe=False).answer)
        self.client.sub("deliver.%s.c2" % self.bucket)
        self.assertIs(self.watch(subscribe=False).answer["push_bound"], True)

    def test_info_names_list_and_delete(self):
        self.create()
        self.put_all("ab")
        watches = [self.watch(deliver_policy="all", subscribe=False) for _ in range(3)]
        info = watches[1].info()
        self.assertEqual((info["type"], info["name"], info["num_pending"]),
                         (TYPE + "consumer_info_response", "c2", 2))
        self.assertNotIn("push_bound", info)
        watches[1].subscribe()
        self.assert_delivers(watches[1], [(1, 1), (2, 0)])
        info = watches[1].info()
        self.assertIs(info["push_bound"], True)
        self.assertEqual((info["num_pending"], info["delivered"]["consumer_seq"],
                          info["delivered"]["stream_seq"]), (0, 2, 2))
        names = self.client.api_ok("CONSUMER.NAMES." + self.stream)
        self.assertEqual(names, {"type": TYPE + "consumer_names_response", "total": 3,
                                 "offset": 0, "limit": 1024, "consumers": ["c1", "c2", "c3"]})
        listed = self.client.api_ok("CONSUMER.LIST." + self.stream)
        self.assertEqual([c["name"] for c in listed["consumers"]], ["c1", "c2", "c3"])
        self.assertEqual((listed["total"], listed["limit"]), (3, 256))
        self.assertEqual(self.state()["consumer_count"], 3)

        answer = self.client.api("CONSUMER.DELETE.%s.c2" % self.stream)
        self.assertEqual(answer, {"type": TYPE + "consumer_delete_response", "success": True})
        self.assert_error(watches[1].info(), 404, 10014, "consumer not found")
        self.put("c", "x")
        self.assertTrue(self.client.hears_nothing(watches[1].sid))
        self.assert_error(self.client.api("CONSUMER.DELETE.%s.c2" % self.stream), 404, 10014,
                          "consumer not found")
        names = self.client.api_ok("CONSUMER.NAMES." + self.stream)
        self.assertEqual(names["consumers"], ["c1", "c3"])

    def test_missing_streams(self):
        missing = (404, 10059, "stream not found")
        for suffix in ("CONSUMER.INFO.KV_missing.c", "CONSUMER.DELETE.KV_missing.c",
                       "CONSUMER.NAMES.KV_missing", "CONSUMER.LIST.KV_missing"):
            self.assert_error(self.client.api(suffix), *missing)
        answer = self.client.consumer_create("missing", "c", deliver_subject="d.missing")
        self.assert_error(answer, *missing)

    def test_no_consumers(self):
        self.create()
        names = self.client.api_ok("CONSUMER.NAMES." + self.stream)
        self.assertEqual((names["total"], names["consumers"]), (0, []))

    def test_creates_without_a_name_and_with_escapes(self):
        self.create()
        self.put("k", "v")
        body = (b'{"stream_name": "%s", "config": {"deliver_subject": "unnamed", "ack_policy": '
                b'"none", "deliver_policy": "last_per_subject", "filter_subject": "%s", '
                b'"description": null}, "action": ""}'
                % (self.stream.encode(), self.key_subject("\\u003e").encode()))
        answer = self.client.api_ok("CONSUMER.CREATE." + self.stream, body)
        self.assertRegex(answer["name"], r"^[A-Za-z0-9]{8,}$")
        self.assertEqual(answer["config"]["filter_subject"], self.key_subject(">"))
        self.assertEqual(answer["num_pending"], 1)
        self.client.sub("unnamed", sid="1")
        self.assertEqual(self.client.next("1").data, b"v")

    def test_creating_again(self):
        self.create()
        config = {"inactive_threshold": 60 * SECOND_NS}
        first = self.watch(subscribe=False, **config)
        again = self.client.consumer_create(self.bucket, first.name, **config,
                                            deliver_subject=first.deliver_subject)
        self.assertEqual(again["created"], first.answer["created"])

    def test_refusals(self):
        self.create()

        def refused(code, err_code, text=None, subject_filter=True, **config):
            config.setdefault("deliver_subject", "d.refused")
            answer = self.client.consumer_create(self.bucket, "refused", subject_filter, **config)
            self.assertEqual(answer["type"], TYPE + "consumer_create_response")
            self.assert_error(answer, code, err_code, text)

        refused(400, 10094, re.compile("optional start sequence is not set"),
                deliver_policy="by_start_sequence")
        refused(400, 10094, re.compile("optional start sequence is also set"),
                deliver_policy="all", opt_start_seq=1)
        refused(400, 10094, re.compile("optional start time is not set"),
                deliver_policy="by_start_time")
        refused(400, 10094, deliver_policy="last_per_subject", filter_subject=None)
        refused(400, 10108, flow_control=True)
        refused(400, 10083, idle_heartbeat=1000)
        refused(400, 10079, deliver_subject="d.*")
        refused(400, 10112, deliver_subject="d..e")
        refused(400, 10081, deliver_subject=self.key_subject("x"))
        refused(500, 10074, num_replicas=3)
        refused(400, 10025, re.compile("^invalid JSON: "), deliver_policy="sometimes")
        refused(400, 10025, re.compile("^invalid JSON: "), unknown=1)
        a, b = self.key_subject("a"), self.key_subject("b")
        refused(400, 10136, subject_filter=False, filter_subject=a, filter_subjects=[b])
        refused(400, 10138, filter_subject=None, filter_subjects=[self.key_subject("*"), a])
        refused(400, 10139, filter_subject=None, filter_subjects=[a, ""])
        answer = self.client.api("CONSUMER.CREATE.%s.n.%s" % (self.stream, a),
                                 {"stream_name": self.stream, "config": {
                                     "filter_subject": b, "deliver_subject": "d"}})
        self.assert_error(answer, 400, 10131)
        answer = self.client.api("CONSUMER.CREATE.%s.n.%s" % (self.stream, a),
                                 {"stream_name": self.stream, "config": {
                                     "filter_subjects": [b], "deliver_subject": "d"}})
        self.assert_error(answer, 400, 10137)
        answer = self.client.api("CONSUMER.CREATE.%s" % self.stream, {"stream_name": "OTHER"})
        self.assert_error(answer, 400, 10056)
        self.assertEqual(self.state()["consumer_count"], 0)


class DeliverPolicies(ConsumerTest):
    def check(self, config, pairs, history=3):
        self.create(max_msgs_per_subject=history)
        self.put_all("abcab")
        watch = self.watch(**config)
        self.assertEqual(watch.answer["num_pending"], len(pairs))
        self.assert_delivers(watch, pairs)
        self.put("d", "x")
        self.assert_delivers(watch, [(6, 0)])
        self.assertTrue(self.client.hears_nothing(watch.sid))

    def test_all(self):
        self.check({"deliver_policy": "all"}, [(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)])

    def test_all_of_a_bucket_without_history(self):
        self.check({"deliver_policy": "all"}, [(3, 2), (4, 1), (5, 0)], history=1)

    def test_last_per_subject(self):
        self.check({"deliver_policy": "last_per_subject"}, [(3, 2), (4, 1), (5, 0)])

    def test_last_per_subject_without_history(self):
        self.check({"deliver_policy": "last_per_subject"}, [(3, 2), (4, 1), (5, 0)], history=1)

    def test_last(self):
        self.check({"deliver_policy": "last"}, [(5, 0)])

    def test_new(self):
        self.check({"deliver_policy": "new"}, [])

    def test_by_start_sequence(self):
        self.check({"deliver_policy": "by_start_sequence", "opt_start_seq": 3},
                   [(3, 2), (4, 1), (5, 0)])

    def test_by_start_sequence_after_the_last(self):
        """An ordered client restarts at the last sequence it saw plus one."""
        self.check({"deliver_policy": "by_start_sequence", "opt_start_seq": 6}, [])

    def test_by_start_sequence_at_a_sequence_that_is_gone(self):
        self.check({"deliver_policy": "by_start_sequence", "opt_start_seq": 1},
                   [(3, 2), (4, 1), (5, 0)], history=1)

    def test_by_start_time(self):
        self.create(max_msgs_per_subject=3)
        self.put_all("abcab")
        when = self.client.direct_get_json(self.bucket, {"seq": 4}).header("Nats-Time-Stamp")
        watch = self.watch(deliver_policy="by_start_time", opt_start_time=when)
        self.assert_delivers(watch, [(4, 1), (5, 0)])
        watch = self.watch(deliver_policy="by_start_time", opt_start_time="2000-01-01T00:00:00Z")
        self.assert_delivers(watch, [(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)])
        watch = self.watch(deliver_policy="by_start_time", opt_start_time="2100-01-01T00:00:00Z")
        self.assertEqual(watch.answer["num_pending"], 0)
        self.put("d", "x")
        self.assert_delivers(watch, [(6, 0)])


class Pending(ConsumerTest):
    """What a consumer has still to deliver is exact, whatever happens before the subscription."""

    def filters(self, keys):
        """The consumer's filter fields for these keys of the current bucket."""
        if len(keys) == 1:
            return {"filter_subject": self.key_subject(keys)}
        return {"filter_subject": None, "filter_subjects": [self.key_subject(k) for k in keys]}

    def check(self, history, policy, created, change, pairs, keys=">"):
        config = {"deliver_policy": policy}
        with self.subTest(history=history, policy=policy, keys=keys, pairs=pairs):
            self.fresh_bucket()
            self.create(max_msgs_per_subject=history)
            self.put_all("abcab")
            watch = self.watch(subscribe=False, **dict(config, **self.filters(keys)))
            self.assertEqual(watch.answer["num_pending"], created)
            change()
            poll_until(lambda: watch.info().get("num_pending") == pairs[0][1] + 1,
                       4, "num_pending %d" % (pairs[0][1] + 1))  # an idle consumer lives for 5 s
            watch.subscribe()
            self.assert_delivers(watch, pairs)
            self.assertTrue(self.client.hears_nothing(watch.sid, 0.02))

    def test_last_per_subject_without_history(self):
        def check(*args, **options):
            self.check(1, "last_per_subject", *args, **options)

        purge = {"KV-Operation": "PURGE", "Nats-Rollup": "sub"}
        check(3, lambda: None, [(3, 2), (4, 1), (5, 0)])
        check(3, lambda: self.put_all("c"), [(4, 2), (5, 1), (6, 0)])
        check(3, lambda: self.put_all("aa"), [(3, 2), (5, 1), (7, 0)])
        check(3, lambda: self.put_all("d"), [(3, 3), (4, 2), (5, 1), (6, 0)])
        check(3, lambda: self.put("c", b"", purge), [(4, 2), (5, 1), (6, 0)])
        check(3, lambda: self.client.api_ok("STREAM.PURGE." + self.stream,
                                            {"filter": self.key_subject("b")}), [(3, 1), (4, 0)])
        check(3, lambda: (self.client.api_ok("STREAM.PURGE." + self.stream), self.put_all("a")),
              [(6, 0)])
        check(2, lambda: self.put_all("cba"), [(6, 1), (8, 0)], keys="ac")

    def test_last_per_subject_with_history(self):
        def check(*args, **options):
            self.check(3, "last_per_subject", *args, **options)

        check(3, lambda: self.put_all("c"), [(3, 3), (4, 2), (5, 1), (6, 0)])
        check(3, lambda: self.put_all("aaa"), [(3, 4), (5, 3), (6, 2), (7, 1), (8, 0)])
        check(2, lambda: self.put_all("cba"), [(3, 3), (4, 2), (6, 1), (8, 0)], keys="ac")

    def test_last_per_subject_goes_on_where_a_member_has_gone(self):
        """
        The newest value of a key is removed before its turn comes. nats-server pauses there until
        its next heartbeat, hence the heartbeat.
        """
        for remove, pairs in (
                (lambda: self.client.purge(self.bucket, "c"), [(4, 2), (5, 1), (6, 0)]),
                (lambda: self.client.api_ok("STREAM.PURGE." + self.stream,
                                            {"filter": self.key_subject("a")}), [(3, 1), (5, 0)])):
            self.fresh_bucket()
            self.create(max_msgs_per_subject=3)
            self.put_all("abcab")
            watch = self.watch(subscribe=False, deliver_policy="last_per_subject",
                               idle_heartbeat=SECOND_NS // 5)
            self.assertEqual(watch.answer["num_pending"], 3)
            remove()
            watch.subscribe()
            self.assert_delivers(watch, pairs)

    def test_other_policies_with_history(self):
        self.check(3, "all", 5, lambda: self.put_all("ca"),
                   [(1, 6), (2, 5), (3, 4), (4, 3), (5, 2), (6, 1), (7, 0)])
        self.check(3, "last", 1, lambda: self.put_all("c"), [(3, 1), (6, 0)], keys="c")

    def test_nothing_there(self):
        self.create()
        for config in ({"deliver_policy": "last_per_subject"}, {"deliver_policy": "all"},
                       {"deliver_policy": "new"},
                       {"deliver_policy": "last_per_subject",
                        "filter_subject": self.key_subject("none")}):
            watch = self.watch(**config)
            self.assertEqual((watch.answer["num_pending"],
                              watch.answer["delivered"]["consumer_seq"]), (0, 0))
            self.assertTrue(self.client.hears_nothing(watch.sid, 0.02))

    def test_markers_count_and_are_delivered(self):
        self.create()
        self.put_all("ab")
        self.client.delete(self.bucket, "a")
        self.client.purge(self.bucket, "b")
        watch = self.watch(deliver_policy="last_per_subject")
        self.assertEqual(watch.answer["num_pending"], 2)
        msg = watch.next()
        self.assertEqual((msg.subject, msg.headers.block, msg.data),
                         (self.key_subject("a"), b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", b""))
        msg = watch.next()
        self.assertEqual((msg.header("KV-Operation"), msg.ack().pending_count), ("PURGE", 0))

    def test_counts_down_to_zero_over_many_keys(self):
        self.create()
        replies = [self.client.put_start(self.bucket, "k.%d" % n, "v") for n in range(3000)]
        for reply in replies:
            self.client.next("inbox")
        watch = self.watch(deliver_policy="last_per_subject", headers_only=True,
                           idle_heartbeat=5 * SECOND_NS)
        self.assertEqual(watch.answer["num_pending"], 3000)
        for number in range(1, 3001):
            ack = watch.next().ack()
            self.assertEqual((ack.stream_seq, ack.consumer_seq, ack.pending_count),
                             (number, number, 3000 - number))

    def test_a_filter_that_skips_what_lies_between(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abababc")
        watch = self.watch(deliver_policy="all", filter_subject=self.key_subject("b"))
        self.assert_delivers(watch, [(2, 2), (4, 1), (6, 0)])


class Delivery(ConsumerTest):
    def test_the_subject_is_the_keys_and_values_are_plain(self):
        self.create()
        self.put("a", "plain")
        self.put("b", "with", {"X": "y"})
        watch = self.watch(deliver_policy="all")
        msg = watch.next()
        self.assertEqual((msg.subject, msg.headers, msg.data),
                         (self.key_subject("a"), None, b"plain"))
        when = self.client.direct_get(self.bucket, "a").header("Nats-Time-Stamp")
        self.assertEqual(msg.ack().time_ns % SECOND_NS, int((when[20:-1] + "0" * 9)[:9]))
        msg = watch.next()
        self.assertEqual((msg.headers.block, msg.data), (b"NATS/1.0\r\nX: y\r\n\r\n", b"with"))

    def test_headers_only(self):
        self.create()
        self.put("a", "12345")
        self.put("b", "123", {"X": "y"})
        self.client.delete(self.bucket, "c")
        watch = self.watch(deliver_policy="last_per_subject", headers_only=True)
        for block in (b"Nats-Msg-Size: 5\r\n", b"X: y\r\nNats-Msg-Size: 3\r\n",
                      b"KV-Operation: DEL\r\nNats-Msg-Size: 0\r\n"):
            msg = watch.next()
            self.assertEqual((msg.headers.block, msg.data),
                             (b"NATS/1.0\r\n" + block + b"\r\n", b""))

    def test_it_starts_when_the_exact_subscription_appears(self):
        self.create()
        self.put_all("ab")
        watch = self.watch(subscribe=False, deliver_policy="all",
                           inactive_threshold=60 * SECOND_NS)
        other = self.connect()
        other.sub("deliver.>", sid="wild")
        other.sub(watch.deliver_subject, "queue", sid="queue")
        other.flush()
        self.assertTrue(other.hears_nothing())
        self.assertEqual(watch.info()["delivered"]["consumer_seq"], 0)
        other.sub(watch.deliver_subject, sid="exact")
        # Now everybody gets it who listens there, the wildcard and the queue too.
        for sid in ("exact", "wild", "queue"):
            self.assertEqual([m.data for m in other.next_many(2, sid)], [b"a-value", b"b-value"])

    def test_it_goes_on_after_unsub_and_a_new_subscription(self):
        self.create()
        watch = self.watch(deliver_policy="all", inactive_threshold=60 * SECOND_NS)
        self.put("a", "1")
        self.assertEqual(watch.next().ack().consumer_seq, 1)
        watch.unsubscribe()
        poll_until(lambda: "push_bound" not in watch.info())
        self.put("b", "2")
        self.put("c", "3")
        poll_until(lambda: watch.info()["num_pending"] == 2)  # nats-server counts a little later
        self.client.sub(watch.deliver_subject, sid="again")
        acks = [msg.ack() for msg in self.client.next_many(2, "again")]
        self.assertEqual([(a.consumer_seq, a.stream_seq, a.pending_count) for a in acks],
                         [(2, 2, 1), (3, 3, 0)])

    def test_it_goes_on_on_another_connection(self):
        self.create()
        first = self.connect()
        watch = self.watch(client=first, deliver_policy="all", inactive_threshold=60 * SECOND_NS)
        self.put("a", "1")
        watch.next()
        first.close()
        poll_until(lambda: "push_bound" not in self.client.api(
            "CONSUMER.INFO.%s.%s" % (self.stream, watch.name)))
        self.put("b", "2")
        self.client.sub(watch.deliver_subject, sid="next")
        self.assertEqual(self.client.next("next").ack().consumer_seq, 2)

    def test_an_abandoned_consumer_goes_after_its_threshold(self):
        self.create()
        other = self.connect()
        left = self.watch(inactive_threshold=SECOND_NS)
        closed = self.watch(client=other, inactive_threshold=SECOND_NS)
        never = self.watch(subscribe=False, inactive_threshold=SECOND_NS)
        kept = self.watch(inactive_threshold=SECOND_NS)
        self.client.flush()
        other.flush()
        start = time.monotonic()
        left.unsubscribe()
        other.close()
        names = [left.name, closed.name, never.name]

        def remaining():
            return self.client.api_ok("CONSUMER.NAMES." + self.stream)["consumers"]
        self.assertTrue(set(names[:2]) <= set(remaining()))
        poll_until(lambda: remaining() == [kept.name], what="the end of consumers")
        self.assertGreater(time.monotonic() - start, 0.9)
        self.assertLess(time.monotonic() - start, 4)
        self.assert_error(left.info(), 404, 10014, "consumer not found")

    def test_a_deleted_stream_ends_its_consumers(self):
        self.create()
        watch = self.watch(deliver_policy="all")
        self.client.api_ok("STREAM.DELETE." + self.stream)
        self.assert_error(watch.info(), 404, 10059, "stream not found")
        self.create()
        self.put("a", "x")
        self.assertTrue(self.client.hears_nothing(watch.sid))
        self.assert_error(watch.info(), 404, 10014)

    def test_a_purged_stream_keeps_its_consumers(self):
        self.create()
        self.put_all("ab")
        watch = self.watch(deliver_policy="all")
        self.assert_delivers(watch, [(1, 1), (2, 0)])
        self.client.api_ok("STREAM.PURGE." + self.stream)
        self.put("c", "x")
        self.assert_delivers(watch, [(3, 0)])

    def test_many_watchers_each_get_everything_in_order(self):
        self.create()
        clients = [self.connect() for _ in range(8)]
        watches = [self.watch(client=client, deliver_policy="all") for client in clients]
        for client in clients:
            client.flush()
        replies = [self.client.put_start(self.bucket, "k.%d" % n, str(n)) for n in range(1000)]
        for _ in replies:
            self.client.next("inbox")
        for watch in watches:
            for number in range(1000):
                msg = watch.next()
                ack = msg.ack()
                self.assertEqual((ack.stream_seq, ack.consumer_seq, msg.data),
                                 (number + 1, number + 1, str(number).encode()))

    def test_a_watch_that_begins_under_load_misses_nothing(self):
        """The initial values and what follows end at the newest value of every key."""
        self.create()
        stop = threading.Event()
        totals = [{} for _ in range(3)]

        def write(index):
            with Client(self.server.port) as writer:
                number = 0
                while not stop.is_set():
                    replies = {}
                    for _ in range(20):
                        key = "w%d.%d" % (index, number % 100)
                        replies[writer.put_start(self.bucket, key, str(number))] = (key, number)
                        number += 1
                    for _ in range(20):
                        msg = writer.next("inbox")
                        key, value = replies.pop(msg.subject)
                        totals[index][key] = (msg.json()["seq"], str(value).encode())

        threads = [threading.Thread(target=write, args=(index,)) for index in range(3)]
        for thread in threads:
            thread.start()
        try:
            poll_until(lambda: self.state()["last_seq"] > 1000, 3 * DEADLINE_S)
            clients = [self.connect() for _ in range(5)]
            watches = [self.watch(client=client, deliver_policy="last_per_subject")
                       for client in clients]
            target = self.state()["last_seq"] + 1000
            poll_until(lambda: self.state()["last_seq"] > target, 3 * DEADLINE_S)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        newest = {key: value for total in totals for key, value in total.items()}
        end = self.put("end", "x")
        newest["end"] = (end, b"x")
        for watch in watches:
            seen, last_seq = {}, 0
            while last_seq < end:
                msg = watch.next()
                ack = msg.ack()
                self.assertGreater(ack.stream_seq, last_seq)
                self.assertEqual(ack.consumer_seq, watch.delivered_count)
                last_seq = ack.stream_seq
                seen[msg.subject.split(".", 2)[2]] = (ack.stream_seq, msg.data)
            self.assertEqual(seen, newest)

    def test_info_never_counts_what_has_not_been_sent(self):
        """nats-py and jnats subscribe, ask INFO, and take its numbers for what has come so far."""
        if not server_is_pail():
            self.skipTest("nats-server fails it in some of a thousand rounds")
        self.create()
        self.put_all("abcdefgh")
        for _ in range(200):
            watch = self.watch(deliver_policy="last_per_subject")
            reply = self.client.request_start("$JS.API.CONSUMER.INFO.%s.%s"
                                              % (self.stream, watch.name))
            info = self.client.answer(reply).json()
            came = [m for m in self.client.messages if m.sid == watch.sid]
            self.assertGreaterEqual(len(came), info["delivered"]["consumer_seq"])
            self.assertEqual(info["num_pending"] + info["delivered"]["consumer_seq"], 8)
            watch.unsubscribe()
            self.client.api_ok("CONSUMER.DELETE.%s.%s" % (self.stream, watch.name))
            self.client.messages.clear()


class HeartbeatsAndFlowControl(ConsumerTest):
    HEARTBEAT_NS = SECOND_NS // 5

    def test_heartbeats_say_how_far_the_consumer_is(self):
        self.create()
        self.put_all("abc")
        watch = self.watch(deliver_policy="all", idle_heartbeat=self.HEARTBEAT_NS,
                           filter_subject=self.key_subject("b"))
        self.assert_delivers(watch, [(2, 0)])
        for last_stream in (3, 3):
            msg = watch.next_any()
            self.assertEqual((msg.subject, msg.reply, msg.data), (watch.deliver_subject, None, b""))
            self.assertEqual(msg.headers.block, b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer"
                             b": 1\r\nNats-Last-Stream: %d\r\n\r\n" % last_stream)
        self.put("b", "x")
        watch.next()
        msg = watch.next_status("Idle Heartbeat")
        self.assertEqual((msg.header("Nats-Last-Consumer"), msg.header("Nats-Last-Stream")),
                         ("2", "4"))

    def test_heartbeats_of_a_consumer_that_has_delivered_nothing(self):
        self.create()
        watch = self.watch(deliver_policy="last_per_subject", idle_heartbeat=self.HEARTBEAT_NS)
        start = time.monotonic()
        msg = watch.next_status("Idle Heartbeat")
        self.assertEqual((msg.header("Nats-Last-Consumer"), msg.header("Nats-Last-Stream")),
                         ("0", "0"))
        for _ in range(4):
            watch.next_status("Idle Heartbeat")
        self.assertGreater(time.monotonic() - start, 0.75)
        self.assertLess(time.monotonic() - start, 3)

    def test_without_interest_there_are_none(self):
        self.create()
        watch = self.watch(subscribe=False, idle_heartbeat=SECOND_NS // 10)
        self.client.sub("deliver.>", sid="wild")
        self.assertTrue(self.client.hears_nothing("wild", 0.35))
        watch.subscribe()
        watch.next_status("Idle Heartbeat")

    def fill(self, count, value_bytes):
        for number in range(count):
            self.client.put_start(self.bucket, "k.%d" % number, b"x" * value_bytes)
        for _ in range(count):
            self.assertIn("seq", self.client.next("inbox").json())

    def test_flow_control_stalls_and_resumes(self):
        self.create()
        self.fill(400, 32 * 1024)
        watch = self.watch(deliver_policy="all", idle_heartbeat=self.HEARTBEAT_NS,
                           flow_control=True)
        # A client that never answers: the consumer stops, and its heartbeats say why.
        request = None
        while True:
            msg = watch.next_any()
            if msg.status is None:
                watch.delivered_count += 1
                continue
            if msg.headers.description == "FlowControl Request":
                self.assertIsNone(request, "a second request before the first was answered")
                self.assertEqual(msg.headers.block, b"NATS/1.0 100 FlowControl Request\r\n\r\n")
                self.assertEqual((msg.subject, msg.data), (watch.deliver_subject, b""))
                self.assertRegex(msg.reply, r"^\$JS\.FC\.%s\.%s\.\w+$"
                                 % (re.escape(self.stream), watch.name))
                request = msg.reply
                continue
            self.assertEqual(msg.headers.description, "Idle Heartbeat")
            self.assertEqual(msg.header("Nats-Consumer-Stalled"), request)
            self.assertEqual(int(msg.header("Nats-Last-Consumer")), watch.delivered_count)
            break
        self.assertLess(watch.delivered_count, 400)
        self.assertGreater(watch.delivered_count, 0)
        # Answers to other subjects do not help, the right one does.
        self.client.pub(request + "x")
        stopped_at = watch.delivered_count
        msg = watch.next_any()
        self.assertEqual(msg.headers.description, "Idle Heartbeat")
        self.client.pub(request)
        def is_delivery(msg):
            if msg.status and msg.headers.description == "FlowControl Request":
                self.client.pub(msg.reply)
            return msg.status is None
        while watch.delivered_count < 400:
            msg = watch.next_that(is_delivery)
            self.assertEqual(msg.ack().consumer_seq, watch.delivered_count)
            self.assertEqual(msg.ack().pending_count, 400 - watch.delivered_count)
            self.assertEqual(len(msg.data), 32 * 1024)
        self.assertGreater(watch.delivered_count, stopped_at)
        self.put("after", "x")
        self.assertEqual(watch.next().ack().pending_count, 0)

    def test_without_flow_control_everything_comes(self):
        self.create()
        self.fill(200, 32 * 1024)
        watch = self.watch(deliver_policy="all")
        for number in range(200):
            self.assertEqual(watch.next().ack().pending_count, 199 - number)
        self.assertFalse(watch.statuses)

    def test_no_heartbeat_overtakes_initial_values(self):
        """nats.js ends keys() at a heartbeat, so there is none while values are still to come."""
        self.create()
        self.fill(2000, 100)
        watch = self.watch(deliver_policy="last_per_subject", idle_heartbeat=SECOND_NS // 10,
                           headers_only=True)
        for number in range(2000):
            self.assertEqual(watch.next().ack().pending_count, 1999 - number)
        self.assertFalse(watch.statuses)

    def test_a_gap_is_healed_by_a_new_consumer_at_the_next_sequence(self):
        self.create(max_msgs_per_subject=10)
        self.put_all("abc")
        first = self.watch(deliver_policy="last_per_subject")
        self.assert_delivers(first, [(1, 2), (2, 1), (3, 0)])
        self.client.api_ok("CONSUMER.DELETE.%s.%s" % (self.stream, first.name))
        self.put_all("ab")
        second = self.watch(deliver_policy="by_start_sequence", opt_start_seq=4)
        self.assertEqual(second.answer["num_pending"], 2)
        self.assert_delivers(second, [(4, 1), (5, 0)])


class Restarts(ApiTest):
    """A server of its own for each test: what must outlive a stop and a kill."""

    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.close)
        super().setUp()

    def check(self, end):
        self.create(max_msgs_per_subject=5, description="d", metadata={"a": "b"})
        self.client.bucket_create("gone")
        self.client.put("gone", "k", "v")
        self.client.bucket_create("anew")
        self.client.put("anew", "old", "v")
        self.put_all("abcabca")
        self.client.purge(self.bucket, "b")
        self.put("large", b"x" * 500_000)
        self.client.api_ok("STREAM.PURGE." + self.stream, {"filter": self.key_subject("c")})
        self.client.api_ok("STREAM.DELETE.KV_gone")
        self.client.api_ok("STREAM.DELETE.KV_anew")
        self.client.bucket_create("anew")
        before = self.client.api_ok("STREAM.INFO." + self.stream)
        stored = self.stored()
        end()
        self.server.start(self.server.port)
        self.client = self.connect()
        after = self.client.api_ok("STREAM.INFO." + self.stream)
        for field in ("config", "created", "state"):
            self.assertEqual(after[field], before[field])
        self.assertEqual(self.stored(), stored)
        self.assertEqual(self.client.direct_get(self.bucket, "large").data, b"x" * 500_000)
        self.assert_error(self.client.api("STREAM.INFO.KV_gone"), 404, 10059)
        self.assertEqual(self.client.stream_state("anew")["messages"], 0)
        self.assert_error(self.client.update(self.bucket, "a", "x", 4), 400, 10071,
                          "wrong last sequence: 7")
        self.assertEqual(self.client.update(self.bucket, "a", "x", 7)["seq"], 10)

    def test_everything_is_there_after_sigterm(self):
        self.check(self.server.stop)

    def test_everything_is_there_after_kill(self):
        self.check(self.server.kill)

    def test_it_may_be_stopped_again_and_again(self):
        self.create()
        for number in range(1, 6):
            self.assertEqual(self.put("k", str(number)), number)
            (self.server.kill, self.server.stop)[number % 2]()
            self.server.start(self.server.port)
            self.client = self.connect()
            self.assertEqual(self.client.direct_get(self.bucket, "k").data, str(number).encode())

    def restart(self):
        self.server.kill()
        self.server.start(self.server.port)
        self.client = self.connect()

    @unittest.skipUnless(server_is_pail(), "nats-server differs here")
    def test_what_discard_old_evicted_stays_away(self):
        name = "EVICTS"
        self.client.api_ok("STREAM.CREATE." + name, {"name": name, "subjects": ["ev.>"],
                                                     "max_msgs": 3})
        for number in range(6):
            self.assertEqual(self.client.request("ev.%d" % number, b"v").json()["seq"], number + 1)
        self.client.api_ok("STREAM.MSG.DELETE." + name, {"seq": 5})
        before = self.client.api_ok("STREAM.INFO." + name)["state"]
        self.assertEqual((before["messages"], before["first_seq"]), (2, 4))
        self.restart()
        self.assertEqual(self.client.api_ok("STREAM.INFO." + name)["state"], before)

    @unittest.skipUnless(server_is_pail(), "nats-server differs here")
    def test_the_last_sequence_outlives_all_messages(self):
        self.create(max_age=SECOND_NS, duplicate_window=SECOND_NS)
        self.put_all("abcdefghij")
        poll_until(lambda: self.state()["messages"] == 0, 5, "everything to expire")
        self.restart()
        self.assertEqual(self.state()["last_seq"], 10)
        self.assertEqual(self.put("a", "x"), 11)

    @unittest.skipUnless(server_is_pail(), "nats-server differs here")
    def test_a_longer_history_does_not_bring_back_what_the_shorter_one_removed(self):
        config = self.create(max_msgs_per_subject=1)["config"]
        self.put_all("aaab")
        config.update(max_msgs_per_subject=5)
        self.client.api_ok("STREAM.UPDATE." + self.stream, config)
        self.put_all("ab")
        stored = self.stored()
        self.assertEqual([seq for seq, _ in stored], [3, 4, 5, 6])
        self.restart()
        self.assertEqual(self.stored(), stored)

    @unittest.skipUnless(server_is_pail(), "nats-server differs here")
    def test_more_subjects_than_an_answer_takes_are_refused_and_hurt_nobody(self):
        self.create()
        filler = "x" * 3900
        for first in range(0, 10000, 500):
            replies = [self.client.put_start(self.bucket, "%s%d" % (filler, first + i))
                       for i in range(500)]
            for reply in replies:
                self.assertIn("seq", self.client.answer(reply).json())
        answer = self.client.api("STREAM.INFO." + self.stream, {"subjects_filter": ">"})
        self.assertIn("error", answer.keys())
        self.assertEqual(answer["error"]["err_code"], 10051)
        self.assertEqual(self.state()["messages"], 10000)

    def test_a_consumer_on_disk_outlives_a_kill(self):
        """Watches of nats.js have one, and would be blind for a minute if it were gone."""
        self.create()
        self.put_all("ab")
        watch = Watch(self.client, self.bucket, "c", {
            "deliver_policy": "all", "mem_storage": None,
            "inactive_threshold": 300 * SECOND_NS})
        watch.subscribe()
        watch.next()
        watch.next()
        self.server.kill()
        self.server.start(self.server.port)
        self.client = self.connect()
        self.client.sub(watch.deliver_subject, sid="1")
        revision = self.put("c", "x")
        self.client.wait_until(lambda: self.client.take(
            lambda msg: msg.sid == "1" and msg.ack().stream_seq == revision), what="the update")


if __name__ == "__main__":
    main()
