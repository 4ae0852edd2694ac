"""
tests/e2e/consumers_test.py: consumers beyond a watch: every check of a creation, durable names,
acknowledgements, redelivery, updates, pauses, and what of all that outlives a restart or a kill.

Codes, texts and numbers are those of nats-server 2.15.2, against which this file runs too; where
pail promises more (an ack that was answered survives a kill) the test says so.
"""

import json
import re
import time

import api_test
from harness import DEADLINE_S, SECOND_NS, Server, bucket_config, main, poll_until, server_is_pail

TYPE = "io.nats.jetstream.api.v1."
MS_NS = SECOND_NS // 1000


class Consumers(api_test.ConsumerTest):
    def create_consumer(self, name, action=None, form=None, pedantic=None, **config):
        """A create with nothing but these members; form: the subject behind $JS.API.CONSUMER."""
        body = {"stream_name": self.stream, "config": config}
        if action is not None:
            body["action"] = action
        if pedantic is not None:
            body["pedantic"] = pedantic
        form = form or "CREATE.%s.%s" % (self.stream, name)
        return self.client.api("CONSUMER." + form, body)

    def consumer_info(self, name):
        return self.client.api("CONSUMER.INFO.%s.%s" % (self.stream, name))


class Checks(Consumers):
    """jetstream-consumers.md sections 3.3 and 3.4."""

    def refused(self, code, err_code, words, name="refused", **more):
        more.setdefault("deliver_subject", "d.refused")
        more = {key: value for key, value in more.items() if value is not None}
        with self.subTest(err_code=err_code, **{k: str(v)[:60] for k, v in more.items()}):
            answer = self.create_consumer(name, **more)
            self.assertEqual(answer["type"], TYPE + "consumer_create_response")
            self.assert_error(answer, code, err_code, words)

    def test_names(self):
        self.create()
        name_words = "consumer name can not contain '.', '*', '>', '\\', '/'"
        legacy = "CREATE." + self.stream
        for bad in ("a.b", "a b", "a*", "a>", "a\tb"):
            body = {"stream_name": self.stream, "config": {"name": bad, "deliver_subject": "d"}}
            self.assert_error(self.client.api("CONSUMER." + legacy, body), 500, 10052, name_words)
        for bad in ("a/b", "a\\b"):
            body = {"stream_name": self.stream, "config": {"name": bad, "deliver_subject": "d"}}
            self.assert_error(self.client.api("CONSUMER." + legacy, body), 400, 10127,
                              "Consumer name can not contain path separators")
        durable = "DURABLE.CREATE.%s.d" % self.stream
        self.refused(400, 10018, "consumer expected to be durable but a durable name was not set",
                     form=durable)
        differs = "consumer name in subject does not match durable name in request"
        self.refused(400, 10017, differs, form=durable, durable_name="e")
        self.refused(400, 10017, differs, name="d", durable_name="e")
        self.refused(400, 10020, "consumer expected to be ephemeral but a durable name was set in "
                     "request", form=legacy, durable_name="e")
        self.refused(500, 10012, "error creating store for consumer", name="n" * 256)
        self.refused(400, 10102, "consumer name is too long, maximum allowed is 255",
                     name="n" * 256, durable_name="n" * 256)

    def test_the_name_of_the_subject_replaces_the_bodys(self):
        self.create()
        body = {"stream_name": self.stream, "config": {"name": "x", "deliver_subject": "d"}}
        answer = self.client.api_ok("CONSUMER.CREATE.%s.y" % self.stream, body)
        self.assertEqual((answer["name"], answer["config"]["name"]), ("y", "y"))
        body = {"stream_name": self.stream, "config": {"name": "z", "deliver_subject": "d"}}
        answer = self.client.api_ok("CONSUMER.CREATE.%s" % self.stream, body)
        self.assertEqual((answer["name"], answer["config"]["name"]), ("z", "z"))
        body = {"stream_name": self.stream, "config": {"deliver_subject": "d"}}
        answer = self.client.api_ok("CONSUMER.CREATE.%s" % self.stream, body)
        self.assertRegex(answer["name"], "^[A-Za-z0-9]{8}$")
        self.assertNotIn("name", answer["config"])

    def test_push(self):
        self.create()
        self.refused(400, 10079, "consumer deliver subject has wildcards", deliver_subject="d.*")
        self.refused(400, 10112, "invalid push consumer deliver subject", deliver_subject="d..e")
        self.refused(400, 10081, "consumer deliver subject forms a cycle",
                     deliver_subject=self.key_subject("x"))
        self.refused(400, 10080, "consumer in push mode can not set max waiting", max_waiting=1)
        self.refused(400, 10082, "consumer requires ack policy for max ack pending",
                     max_ack_pending=1, ack_policy="none")
        self.refused(400, 10083, "consumer idle heartbeat needs to be >= 100ms",
                     idle_heartbeat=100 * MS_NS - 1)
        self.refused(400, 10108, "consumer with flow control also needs heartbeats",
                     flow_control=True)

    def test_pull(self):
        self.create()
        self.refused(400, 10086, "consumer in pull mode can not have rate limit set",
                     deliver_subject=None, rate_limit_bps=1)
        self.refused(400, 10088, "consumer idle heartbeat requires a push based consumer",
                     deliver_subject=None, idle_heartbeat=SECOND_NS)
        self.refused(400, 10089, "consumer flow control requires a push based consumer",
                     deliver_subject=None, flow_control=True)
        self.refused(400, 10115, "consumer max request expires needs to be >= 1ms",
                     deliver_subject=None, max_expires=1)
        self.refused(400, 10090, "consumer direct requires a push based consumer",
                     deliver_subject=None, direct=True)

    def test_acknowledgement_members(self):
        self.create()
        self.refused(400, 10183, "consumer ack wait needs to be positive", ack_policy="explicit",
                     ack_wait=-1)
        self.refused(400, 10184, "consumer backoff needs to be positive", ack_policy="explicit",
                     backoff=[SECOND_NS, -1], max_deliver=5)
        self.refused(400, 10116, "max deliver is required to be > length of backoff values",
                     ack_policy="explicit", backoff=[1, 2, 3], max_deliver=2)
        self.refused(400, 10095, "failed to parse consumer sampling configuration: "
                     "strconv.Atoi: parsing \"x\": invalid syntax", sample_freq="x")
        self.refused(400, 10095, "failed to parse consumer sampling configuration: <nil>",
                     sample_freq="-5")

    def test_texts(self):
        self.create()
        self.refused(400, 10107, "consumer description is too long, maximum allowed is 4096",
                     description="d" * 4097)
        self.refused(400, 10135, "consumer metadata exceeds maximum size of 128KB",
                     metadata={"k": "v" * (131072 - 16)})
        answer = self.create_consumer("fits", deliver_subject="d.fits", description="d" * 4096,
                                      metadata={"k": "v" * (131072 - 17)})
        self.assertNotIn("error", answer)

    def test_filters_and_positions(self):
        self.create()
        a, b = self.key_subject("a"), self.key_subject("b")
        self.refused(400, 10136, None, filter_subject=a, filter_subjects=[b])
        self.refused(400, 10139, None, filter_subjects=[a, ""])
        self.refused(400, 10138, None, filter_subjects=[a, a])
        self.refused(400, 10138, None, filter_subjects=[self.key_subject(">"), a])
        self.refused(500, 10052, "invalid subject", filter_subject="a..b")
        self.refused(500, 10052, "invalid subject", filter_subjects=["a", "b..c"])
        crossing = [self.key_subject("a.*.c"), self.key_subject("a.b.*")]
        answer = self.create_consumer("crossing", deliver_subject="d.crossing",
                                      filter_subjects=crossing)
        self.assertEqual(answer["config"]["filter_subjects"], crossing)
        self.assertNotIn("filter_subject", answer["config"])
        words = "consumer delivery policy is deliver %s, but optional %s set"
        for policy in ("all", "last", "new"):
            self.refused(400, 10094, words % (policy, "start sequence is also"),
                         deliver_policy=policy, opt_start_seq=1)
            self.refused(400, 10094, words % (policy, "start time is also"), deliver_policy=policy,
                         opt_start_time="2026-01-01T00:00:00Z")
        self.refused(400, 10094, words % ("by start time", "start start sequence is also"),
                     deliver_policy="by_start_time", opt_start_seq=1,
                     opt_start_time="2026-01-01T00:00:00Z")
        self.refused(400, 10094, words % ("last per subject", "filter subject is not"),
                     deliver_policy="last_per_subject")

    def test_priorities(self):
        self.create()
        pull = {"deliver_subject": None, "ack_policy": "explicit"}
        self.refused(400, 10178, "priority groups can not be used with push consumers",
                     priority_policy="overflow", priority_groups=["g"])
        self.refused(400, 10159, None, priority_policy="overflow", **pull)
        self.refused(400, 10161, None, priority_policy="overflow", priority_groups=[""], **pull)
        self.refused(400, 10162, None, priority_policy="overflow", priority_groups=["a b"], **pull)
        self.refused(400, 10196, None, priority_groups=["g"], **pull)
        self.refused(400, 10197, None, priority_timeout=SECOND_NS, **pull)

    def test_pedantic(self):
        self.create()
        for words, more in (("max_deliver must be set to -1", {"max_deliver": -2}),
                            ("max_ack_pending must be set to -1", {"max_ack_pending": -2}),
                            ("max_waiting must not be negative", {"max_waiting": -1}),
                            ("max_batch must not be negative", {"max_batch": -1}),
                            ("max_expires must not be negative", {"max_expires": -1}),
                            ("max_bytes must not be negative", {"max_bytes": -1}),
                            ("idle_heartbeat must not be negative", {"idle_heartbeat": -1}),
                            ("inactive_threshold must not be negative",
                             {"inactive_threshold": -1}),
                            ("first backoff value has to equal batch AckWait",
                             {"ack_policy": "explicit", "backoff": [SECOND_NS]})):
            self.refused(400, 10157, "pedantic mode: " + words, pedantic=True, **more)

    def test_limits_of_the_stream(self):
        self.create(max_consumers=2, consumer_limits={"inactive_threshold": 60 * SECOND_NS,
                                                      "max_ack_pending": 10})
        self.refused(400, 10082, None, ack_policy="none")
        ephemeral = {"max_ack_pending": -1}
        self.refused(400, 10153, "consumer inactive threshold exceeds system limit of 1m0s",
                     inactive_threshold=61 * SECOND_NS, **ephemeral)
        self.refused(400, 10157, "pedantic mode: inactive_threshold must be set if it's configured "
                     "in stream limits", pedantic=True, **ephemeral)
        answer = self.create_consumer("a", deliver_subject="d.a", **ephemeral)
        self.assertEqual(answer["config"]["inactive_threshold"], 60 * SECOND_NS)
        self.create_consumer("b", deliver_subject="d.b", **ephemeral)
        self.refused(400, 10026, "maximum consumers limit reached", **ephemeral)
        answer = self.create_consumer("b", deliver_subject="d.b", **ephemeral)
        self.assertNotIn("error", answer)

    def test_actions(self):
        self.create()
        config = {"deliver_subject": "d.x", "inactive_threshold": 60 * SECOND_NS}
        self.refused(400, 10149, "consumer does not exist", name="x", action="update", **config)
        first = self.create_consumer("x", action="create", **config)
        for action in ("create", "update", "", None):
            answer = self.create_consumer("x", action=action, **config)
            self.assertEqual(answer["created"], first["created"])
        self.refused(400, 10148, "consumer already exists", name="x", action="create",
                     description="other", **config)
        self.refused(400, 10148, "consumer already exists", name="x", action="create",
                     deliver_subject="d.x")
        for action in ("everything", 1, None):
            body = {"stream_name": self.stream, "action": action, "config": {}}
            answer = self.client.api("CONSUMER.CREATE." + self.stream, body)
            self.assert_error(answer, 400, 10025, re.compile("^invalid JSON: "))

    def test_bodies(self):
        self.create()
        for body in (b"{", b'{"config":1}', b'{"nothing":1}', b'{"config":{"nothing":1}}',
                     b'{"config":{"ack_policy":null}}', b'{"config":{"ack_policy":""}}',
                     b'{"config":{"max_deliver":"1"}}', b'{"config":{"opt_start_seq":-1}}',
                     b'{"config":{"backoff":[1.5]}}', b'{"config":{"metadata":{"a":1}}}'):
            with self.subTest(body):
                answer = self.client.api("CONSUMER.CREATE." + self.stream, body)
                self.assert_error(answer, 400, 10025, re.compile("^invalid JSON: "))
        for body in (b"", b"{}", b"null"):
            answer = self.client.api("CONSUMER.CREATE." + self.stream, body)
            self.assert_error(answer, 400, 10056, "stream name in subject does not match request")
        body = {"STREAM_NAME": self.stream, "Config": {
            "Deliver_Subject": "d", "metadata": {"b": "1", "a": "2", "_nats.ver": "x"},
            "backoff": None, "filter_subjects": None, "deliver_policy": "undefined"}}
        answer = self.client.api_ok("CONSUMER.CREATE." + self.stream, body)
        metadata = answer["config"]["metadata"]
        self.assertEqual((metadata["a"], metadata["b"]), ("2", "1"))
        self.assertNotEqual(metadata["_nats.ver"], "x")

    def test_pages(self):
        self.create(max_consumers=-1)
        for number in range(300):
            self.create_consumer("c%04d" % number, deliver_subject="d.%d" % number,
                                 mem_storage=True, inactive_threshold=60 * SECOND_NS)
        names = ["c%04d" % number for number in range(300)]
        listed = self.client.api_ok("CONSUMER.NAMES." + self.stream)
        self.assertEqual((listed["total"], listed["consumers"]), (300, names))
        for offset, expected in ((0, names[:256]), (256, names[256:]), (300, []), (999, []),
                                 (-1, names[:256])):
            answer = self.client.api_ok("CONSUMER.LIST." + self.stream, {"offset": offset})
            self.assertEqual([one["name"] for one in answer["consumers"]], expected)
            self.assertEqual((answer["total"], answer["limit"], answer["offset"]),
                             (300, 256, min(max(offset, 0), 300)))
        for call in ("NAMES", "LIST"):
            answer = self.client.api("CONSUMER.%s.missing" % call)
            self.assert_error(answer, 404, 10059)
            del answer["error"]
            self.assertEqual(answer, {"type": TYPE + "consumer_%s_response" % call.lower(),
                                      "total": 0, "offset": 0, "limit": 0, "consumers": []})
            self.assert_error(self.client.api("CONSUMER.%s.%s" % (call, self.stream), b"[]"), 400,
                              10025)


if __name__ == "__main__":
    main()
