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



class Durable:
    """A push consumer with acknowledgements, and whoever subscribes to it."""

    def __init__(self, test, name, client=None, subscribe=True, **config):
        self.test = test
        self.client = client or test.client
        self.name = name
        self.deliver_subject = "deliver.%s.%s" % (test.bucket, name)
        fields = {"durable_name": name, "ack_policy": "explicit",
                  "deliver_subject": self.deliver_subject}
        fields.update(config)
        self.config = {key: value for key, value in fields.items() if value is not None}
        self.deliver_subject = self.config["deliver_subject"]
        self.answer = test.create_consumer(name, **self.config)
        test.assertNotIn("error", self.answer)
        if subscribe:
            self.subscribe()

    def subscribe(self, client=None):
        self.client = client or self.client
        self.client.sub(self.deliver_subject, queue=self.config.get("deliver_group"),
                        sid="d-" + self.name)
        self.client.flush()

    def next(self, deadline_s=None):
        while True:
            msg = self.client.next("d-" + self.name, deadline_s)
            if msg.status is None:
                return msg

    def next_seqs(self, count):
        """(stream sequence, deliveries, consumer sequence) of the next ones."""
        acks = [self.next().ack() for _ in range(count)]
        return [(ack.stream_seq, ack.delivered_count, ack.consumer_seq) for ack in acks]

    def hears_nothing(self, silence_s=None):
        return self.client.hears_nothing("d-" + self.name, silence_s)

    def ack(self, msg, verb=b"+ACK"):
        """An ack that waits for its answer."""
        answer = self.client.request(msg.reply, verb)
        self.test.assertEqual((answer.data, answer.headers), (b"", None))

    def info(self):
        return self.test.consumer_info(self.name)

    def state(self):
        """(delivered, floor) as (consumer, stream), ack pending, redelivered, pending."""
        info = self.info()
        pair = lambda part: (part["consumer_seq"], part["stream_seq"])
        return (pair(info["delivered"]), pair(info["ack_floor"]), info["num_ack_pending"],
                info["num_redelivered"], info["num_pending"])


class Acknowledgements(Consumers):
    """jetstream-consumers.md section 10."""

    def advisories(self, kind, name):
        subject = "$JS.EVENT.%s.%s.%s" % (kind, self.stream, name)
        self.client.sub(subject, sid="advisories")
        self.client.flush()

    def test_explicit(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcd")
        durable = Durable(self, "x")
        msgs = [durable.next() for _ in range(4)]
        self.assertEqual([(m.ack().stream_seq, m.ack().consumer_seq, m.ack().pending_count)
                          for m in msgs], [(1, 1, 3), (2, 2, 2), (3, 3, 1), (4, 4, 0)])
        self.assertEqual(durable.state(), ((4, 4), (0, 0), 4, 0, 0))
        durable.ack(msgs[1])
        self.assertEqual(durable.state(), ((4, 4), (0, 0), 3, 0, 0))
        durable.ack(msgs[0], b"")
        self.assertEqual(durable.state(), ((4, 4), (2, 2), 2, 0, 0))
        durable.ack(msgs[0], b"+OK")
        durable.ack(msgs[3])
        self.assertEqual(durable.state(), ((4, 4), (2, 2), 1, 0, 0))
        durable.ack(msgs[2])
        self.assertEqual(durable.state(), ((4, 4), (4, 4), 0, 0, 0))
        self.assertIn("last_active", durable.info()["ack_floor"])

    def test_all(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcde")
        durable = Durable(self, "x", ack_policy="all")
        msgs = [durable.next() for _ in range(5)]
        durable.ack(msgs[2])
        self.assertEqual(durable.state(), ((5, 5), (3, 3), 2, 0, 0))
        durable.ack(msgs[1])
        self.assertEqual(durable.state(), ((5, 5), (3, 3), 2, 0, 0))
        durable.ack(msgs[4])
        self.assertEqual(durable.state(), ((5, 5), (5, 5), 0, 0, 0))

    def test_other_verbs(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abc")
        self.advisories("ADVISORY.CONSUMER.*", "x")
        durable = Durable(self, "x")
        msgs = [durable.next() for _ in range(3)]
        for verb in (b" +ACK", b"+ACKX", b"nonsense", b"+WPI"):
            durable.ack(msgs[0], verb)
        self.assertEqual(durable.state()[2], 3)
        durable.ack(msgs[1], b"-NAK")
        self.assertEqual(durable.next_seqs(1), [(2, 2, 4)])
        durable.ack(msgs[2], b"+TERM because of it")
        self.assertEqual(durable.state(), ((4, 3), (0, 0), 2, 1, 0))
        kinds = {}
        for msg in self.client.next_many(3, "advisories"):
            kinds[msg.json()["type"].split(".", 3)[3]] = (msg.subject, msg.json())
        subject, nak = kinds["advisory.v1.nak"]
        self.assertEqual(subject, "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.%s.x" % self.stream)
        self.assertEqual((nak["stream"], nak["consumer"], nak["consumer_seq"], nak["stream_seq"],
                          nak["deliveries"]), (self.stream, "x", 2, 2, 1))
        subject, terminated = kinds["advisory.v1.terminated"]
        self.assertEqual(subject, "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.%s.x" % self.stream)
        self.assertEqual((terminated["consumer_seq"], terminated["stream_seq"],
                          terminated["deliveries"], terminated["reason"]),
                         (3, 3, 1, "because of it"))
        self.assertEqual(kinds["advisory.v1.consumer_action"][1]["action"], "create")
        self.assertRegex(nak["id"], "^[0-9A-Za-z]{22}$")

    def test_naks_come_back_in_their_order_and_before_what_is_new(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcdef")
        durable = Durable(self, "x", max_ack_pending=5)
        msgs = [durable.next() for _ in range(5)]
        self.assertTrue(durable.hears_nothing())
        for index in (3, 0, 4, 1):
            durable.ack(msgs[index], b"-NAK")
        self.assertEqual([seq for seq, _, _ in durable.next_seqs(4)], [4, 1, 5, 2])
        durable.ack(msgs[0])
        self.assertEqual(durable.next_seqs(1), [(6, 1, 10)])

    def test_a_nak_with_a_delay(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("ab")
        durable = Durable(self, "x")
        msgs = [durable.next() for _ in range(2)]
        start = time.monotonic()
        durable.ack(msgs[0], b'-NAK {"delay":400000000}')
        durable.ack(msgs[1], b"-NAK 200ms")
        self.assertEqual(durable.next_seqs(2), [(2, 2, 3), (1, 2, 4)])
        self.assertGreater(time.monotonic() - start, 0.38)

    def test_what_is_not_acked_in_time_comes_again(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abc")
        self.advisories("ADVISORY.CONSUMER.MAX_DELIVERIES", "x")
        durable = Durable(self, "x", ack_wait=300 * MS_NS, max_deliver=2)
        msgs = [durable.next() for _ in range(3)]
        durable.ack(msgs[1])
        self.assertEqual(durable.next_seqs(2), [(1, 2, 4), (3, 2, 5)])
        self.assertEqual(durable.state()[2:4], (2, 2))
        told = [self.client.next("advisories").json() for _ in range(2)]
        self.assertEqual([(one["type"], one["stream_seq"], one["deliveries"]) for one in told],
                         [("io.nats.jetstream.advisory.v1.max_deliver", 1, 2),
                          ("io.nats.jetstream.advisory.v1.max_deliver", 3, 2)])
        self.assertTrue(durable.hears_nothing(0.6))
        self.assertEqual(durable.state()[2:4], (0, 2))

    def test_progress_holds_redelivery_back(self):
        self.create()
        self.put("a", "x")
        durable = Durable(self, "x", ack_wait=500 * MS_NS)
        msg = durable.next()
        for _ in range(4):
            self.assertTrue(durable.hears_nothing(0.25))
            durable.ack(msg, b"+WPI")
        durable.ack(msg)
        self.assertTrue(durable.hears_nothing(0.6))

    def test_backoff(self):
        self.create()
        self.put("a", "x")
        self.advisories("ADVISORY.CONSUMER.MAX_DELIVERIES", "x")
        durable = Durable(self, "x", backoff=[100 * MS_NS, 200 * MS_NS, 400 * MS_NS],
                          max_deliver=5)
        self.assertEqual(durable.answer["config"]["ack_wait"], 100 * MS_NS)
        durable.next()
        start, times = time.monotonic(), []
        for _ in range(4):
            durable.next()
            times.append(time.monotonic() - start)
        self.client.next("advisories")
        times.append(time.monotonic() - start)
        for got, wanted in zip(times, (0.1, 0.3, 0.7, 1.1, 1.5)):
            self.assertGreater(got, wanted - 0.03, times)
            self.assertLess(got, wanted + 0.5, times)

    def test_as_many_as_may_be_pending(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcdef")
        durable = Durable(self, "x", max_ack_pending=2)
        msgs = [durable.next() for _ in range(2)]
        self.assertTrue(durable.hears_nothing())
        self.assertEqual(durable.state(), ((2, 2), (0, 0), 2, 0, 4))
        durable.ack(msgs[0])
        msgs.append(durable.next())
        self.assertTrue(durable.hears_nothing())
        for msg in msgs[1:]:
            durable.ack(msg)
        self.assertEqual([seq for seq, _, _ in durable.next_seqs(2)], [4, 5])

    def test_acks_that_nobody_owns(self):
        self.create()
        self.put("a", "x")
        durable = Durable(self, "x")
        msg = durable.next()
        for subject in (msg.reply.replace(".x.", ".y."), msg.reply.replace(self.stream, "KV_no")):
            self.assert_no_responders(self.client.request(subject, b"+ACK"), subject)
        tokens = msg.reply.split(".")
        never = ".".join(tokens[:5] + ["77", "77"] + tokens[7:])
        reply = self.client.request_start(never, b"+ACK")
        self.assertTrue(self.client.hears_nothing("inbox"))
        self.assertEqual(durable.state()[2], 1)
        newer = ".".join(["$JS", "ACK", "_", "szMpdrwD"] + tokens[2:])
        self.assertEqual(self.client.request(newer, b"+ACK").data, b"")
        self.assertEqual(durable.state()[2], 0)
        self.assertIsNotNone(reply)

    def test_a_message_that_is_removed_needs_no_ack(self):
        self.create()
        self.put_all("ab")
        durable = Durable(self, "x")
        for _ in range(2):
            durable.next()
        self.put("a", "again")
        self.assertEqual(durable.next_seqs(1), [(3, 1, 3)])
        poll_until(lambda: durable.state()[2] == 2)

    def test_samples(self):
        self.create()
        self.put("a", "x")
        self.advisories("METRIC.CONSUMER.ACK", "x")
        durable = Durable(self, "x", sample_freq="100%")
        durable.ack(durable.next())
        sample = self.client.next("advisories").json()
        self.assertEqual((sample["type"], sample["stream_seq"], sample["deliveries"]),
                         ("io.nats.jetstream.metric.v1.consumer_ack", 1, 1))
        self.assertGreater(sample["ack_time"], 0)

    def test_a_queue_group_shares(self):
        self.create(max_msgs_per_subject=1)
        durable = Durable(self, "x", deliver_group="g", subscribe=False)
        self.client.sub(durable.deliver_subject, sid="plain")
        self.client.flush()
        for number in range(40):
            self.put("k%d" % number, "x")
        self.assertTrue(self.client.hears_nothing("plain"))
        self.assertNotIn("push_bound", durable.info())
        members = [self.connect() for _ in range(3)]
        for member in members:
            member.sub(durable.deliver_subject, queue="g", sid="m")
            member.flush()
        for number in range(40, 60):
            self.put("k%d" % number, "x")
        got = []
        for member in members:
            try:
                while len(got) < 60:
                    msg = member.next("m", 0.5)
                    got.append(msg.ack().stream_seq)
                    member.pub(msg.reply, b"+ACK")
            except Exception as error:
                self.assertIn("message", str(error))
        self.assertEqual(sorted(got), list(range(1, 61)))
        self.assertTrue(durable.info()["push_bound"])
        poll_until(lambda: durable.state()[2] == 0)


class Updates(Consumers):
    """jetstream-consumers.md section 3.6."""

    def update(self, durable, **changes):
        config = dict(durable.config, **changes)
        return self.create_consumer(durable.name, **config)

    def test_what_may_not_change(self):
        self.create()
        durable = Durable(self, "x", deliver_policy="new", idle_heartbeat=SECOND_NS,
                          subscribe=False)
        for words, changes in (
                ("deliver policy", {"deliver_policy": "all"}), ("storage type",
                                                                {"mem_storage": True}),
                ("ack policy", {"ack_policy": "all"}), ("heart beats",
                                                        {"idle_heartbeat": 2 * SECOND_NS}),
                ("flow control", {"flow_control": True})):
            self.assert_error(self.update(durable, **changes), 500, 10012,
                              words + " can not be updated")
        by_seq = Durable(self, "y", deliver_policy="by_start_sequence", opt_start_seq=5,
                         subscribe=False)
        self.assert_error(self.update(by_seq, opt_start_seq=6), 500, 10012,
                          "start sequence can not be updated")
        by_time = Durable(self, "z", deliver_policy="by_start_time",
                          opt_start_time="2026-01-01T00:00:00Z", subscribe=False)
        self.assertNotIn("error", self.update(by_time, opt_start_time="2026-01-01T01:00:00+01:00"))
        self.assert_error(self.update(by_time, opt_start_time="2026-01-01T01:00:00Z"), 500, 10012,
                          "start time can not be updated")
        self.assert_error(self.create_consumer("x", action="create", **dict(
            durable.config, description="other")), 400, 10148, "consumer already exists")

    def test_what_may_change(self):
        self.create()
        durable = Durable(self, "x", subscribe=False)
        changes = {"description": "d", "ack_wait": 5 * SECOND_NS, "max_deliver": 7,
                   "max_ack_pending": 9, "filter_subject": self.key_subject("a.>"),
                   "headers_only": True, "sample_freq": "50%", "metadata": {"k": "v"},
                   "inactive_threshold": 3600 * SECOND_NS, "num_replicas": 1}
        answer = self.update(durable, **changes)
        self.assertNotIn("error", answer)
        self.assertEqual(answer["created"], durable.answer["created"])
        metadata = answer["config"]["metadata"]
        self.assertEqual(metadata.get("k"), "v")
        for key, value in changes.items():
            if key != "metadata":
                self.assertEqual(answer["config"][key], value)
        self.assertEqual(durable.info()["config"], answer["config"])

    def test_a_new_filter_counts_anew_and_goes_on_from_there(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("aabab")
        durable = Durable(self, "x", filter_subject=self.key_subject("a"))
        self.assertEqual([seq for seq, _, _ in durable.next_seqs(3)], [1, 2, 4])
        answer = self.update(durable, filter_subject=self.key_subject("b"))
        self.assertEqual(answer["num_pending"], 0)
        self.put("a", "x")
        self.put("b", "x")
        self.assertEqual(durable.next_seqs(1), [(7, 1, 4)])
        paused = self.watch(subscribe=False, deliver_policy="all", inactive_threshold=60 * SECOND_NS,
                            filter_subject=self.key_subject("a"))
        self.assertEqual(paused.answer["num_pending"], 4)
        config = dict(paused.answer["config"], filter_subjects=[self.key_subject("a"),
                                                                self.key_subject("b")])
        del config["filter_subject"], config["name"]
        answer = self.create_consumer(paused.name, **config)
        self.assertEqual(answer["num_pending"], 7)
        poll_until(lambda: self.consumer_info(paused.name)["num_pending"] == 7)
        paused.subscribe()
        self.assertEqual([paused.next().ack().pending_count for _ in range(7)],
                         [6, 5, 4, 3, 2, 1, 0])

    def test_a_new_deliver_subject_gets_what_is_unacked(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abc")
        durable = Durable(self, "x")
        msgs = [durable.next() for _ in range(3)]
        durable.ack(msgs[1])
        answer = self.update(durable, deliver_subject="elsewhere." + self.bucket)
        self.assert_error(answer, 400, 10013, "consumer name already in use")
        self.client.unsub("d-x")
        self.client.flush()
        self.client.sub("elsewhere." + self.bucket, sid="elsewhere")
        self.client.flush()
        poll_until(lambda: "error" not in self.update(
            durable, deliver_subject="elsewhere." + self.bucket))
        got = [self.client.next("elsewhere").ack() for _ in range(2)]
        self.assertEqual([(ack.stream_seq, ack.delivered_count) for ack in got], [(1, 2), (3, 2)])

    def test_room_for_more_acks_and_a_shorter_wait_take_effect_at_once(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abc")
        durable = Durable(self, "x", max_ack_pending=1, ack_wait=3600 * SECOND_NS)
        durable.next()
        self.assertTrue(durable.hears_nothing())
        self.assertNotIn("error", self.update(durable, max_ack_pending=3))
        self.assertEqual([seq for seq, _, _ in durable.next_seqs(2)], [2, 3])
        self.assertNotIn("error", self.update(durable, max_ack_pending=3, ack_wait=200 * MS_NS))
        again = set()
        while len(again) < 3:
            seq, deliveries, _ = durable.next_seqs(1)[0]
            self.assertGreater(deliveries, 1)
            again.add(seq)


class Pauses(Consumers):
    def pause(self, name, until=None):
        body = b"" if until is None else {"pause_until": until}
        return self.client.api("CONSUMER.PAUSE.%s.%s" % (self.stream, name), body)

    def test_nothing_comes_until_it_goes_on(self):
        self.create(max_msgs_per_subject=5)
        durable = Durable(self, "x", idle_heartbeat=200 * MS_NS)
        answer = self.pause("x", "2099-01-01T01:00:00+01:00")
        self.assertGreater(answer.pop("pause_remaining"), 1)
        self.assertEqual(answer, {"type": TYPE + "consumer_pause_response", "paused": True,
                                  "pause_until": "2099-01-01T00:00:00Z"})
        info = durable.info()
        self.assertTrue(info["paused"])
        self.assertGreater(info["pause_remaining"], 1)
        self.assertEqual(info["config"]["pause_until"], "2099-01-01T00:00:00Z")
        self.put("a", "x")
        self.assertEqual(self.client.next("d-x").headers.description, "Idle Heartbeat")
        # An update does not end it.
        self.create_consumer("x", **dict(durable.config, description="d"))
        self.assertTrue(durable.info()["paused"])
        answer = self.pause("x")
        self.assertEqual(answer, {"type": TYPE + "consumer_pause_response", "paused": False,
                                  "pause_until": "0001-01-01T00:00:00Z"})
        self.assertEqual(durable.next().ack().stream_seq, 1)
        self.assertNotIn("paused", durable.info())

    def test_it_ends_by_itself(self):
        self.create()
        self.put("a", "x")
        until = time.time() + 0.7
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(until)) + (
            "%.6f" % (until % 1))[1:] + "Z"
        durable = Durable(self, "x", pause_until=stamp, subscribe=False)
        self.assertTrue(durable.answer["paused"])
        durable.subscribe()
        durable.next()
        self.assertGreaterEqual(time.time(), until - 0.05)

    def test_errors(self):
        self.create()
        zero = {"type": TYPE + "consumer_pause_response", "paused": False,
                "pause_until": "0001-01-01T00:00:00Z"}
        answer = self.pause("missing")
        self.assert_error(answer, 404, 10014)
        del answer["error"]
        self.assertEqual(answer, zero)
        answer = self.client.api("CONSUMER.PAUSE.KV_missing.x")
        self.assert_error(answer, 404, 10059)


class Restarts(Consumers):
    """What outlives the process. These have a server of their own each."""

    def restart(self, how):
        self.client.close()
        how(self.server)
        self.server.start()
        self.client = self.connect()

    def stop(self):
        self.restart(lambda server: server.stop())

    def kill(self):
        self.restart(lambda server: server.kill())

    def skip_on_nats_server(self):
        if not server_is_pail():
            self.skipTest("nats-server loses acknowledgements at a kill")

    def resume(self, durable):
        durable.client = self.client
        durable.subscribe()

    def test_a_durable_goes_on_after_a_stop(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcde")
        durable = Durable(self, "x", max_ack_pending=4, metadata={"k": "v"})
        msgs = [durable.next() for _ in range(4)]
        durable.ack(msgs[0])
        durable.ack(msgs[2])
        durable.next()
        before = durable.info()
        self.stop()
        after = durable.info()
        for info in (before, after):
            info.pop("ts")
            info.pop("push_bound", None)
            info["delivered"].pop("last_active", None)
            info["ack_floor"].pop("last_active", None)
        self.assertEqual(before, after)
        self.resume(durable)
        self.put("f", "x")
        self.assertEqual(durable.next_seqs(1), [(6, 1, 6)])

    def test_what_was_unacked_comes_again_after_a_kill(self):
        self.skip_on_nats_server()
        self.create(max_msgs_per_subject=5)
        self.put_all("abcd")
        durable = Durable(self, "x", ack_wait=SECOND_NS)
        msgs = [durable.next() for _ in range(4)]
        durable.ack(msgs[1])
        durable.ack(msgs[3])
        self.kill()
        self.assertEqual(self.consumer_info("x")["num_ack_pending"], 2)
        self.resume(durable)
        self.assertEqual([one[:2] for one in durable.next_seqs(2)], [(1, 2), (3, 2)])

    def test_an_answered_ack_survives_a_kill_at_once(self):
        self.skip_on_nats_server()
        self.create(max_msgs_per_subject=64)
        for number in range(60):
            self.put("k", str(number))
        durable = Durable(self, "x", ack_wait=SECOND_NS, max_ack_pending=1)
        acked = 0
        for _ in range(5):
            for _ in range(10):
                msg = durable.next()
                acked = msg.ack().stream_seq
                durable.ack(msg)
            self.kill()
            info = durable.info()
            self.assertEqual(info["ack_floor"]["stream_seq"], acked, info)
            self.resume(durable)
            first = durable.next()
            self.assertEqual(first.ack().stream_seq, acked + 1)
            durable.ack(first)
            acked += 1

    def test_updates_pauses_and_deletions_survive_a_kill(self):
        self.create()
        for name in ("updated", "paused", "deleted"):
            Durable(self, name, subscribe=False)
        config = {"durable_name": "updated", "ack_policy": "explicit", "description": "new",
                  "deliver_subject": "deliver.%s.updated" % self.bucket}
        self.create_consumer("updated", **config)
        self.client.api_ok("CONSUMER.PAUSE.%s.paused" % self.stream,
                           {"pause_until": "2099-01-01T00:00:00Z"})
        self.client.api_ok("CONSUMER.DELETE.%s.deleted" % self.stream)
        for _ in range(2):
            self.kill()
            self.assertEqual(self.consumer_info("updated")["config"]["description"], "new")
            self.assertTrue(self.consumer_info("paused")["paused"])
            self.assert_error(self.consumer_info("deleted"), 404, 10014)

    def test_a_list_of_last_values_goes_on_within_it(self):
        """nats-server sends everything again from there."""
        self.create(max_msgs_per_subject=5)
        self.put_all("abcabcabc")
        durable = Durable(self, "x", ack_policy="explicit", max_ack_pending=1,
                          deliver_policy="last_per_subject", filter_subject=self.key_subject(">"))
        msg = durable.next()
        self.assertEqual((msg.ack().stream_seq, msg.ack().pending_count), (7, 2))
        durable.ack(msg)
        msg = durable.next()
        self.stop()
        self.put("b", "x")
        self.assertEqual(durable.info()["num_pending"], 2)
        self.resume(durable)
        durable.ack(msg)
        got = durable.next()
        self.assertEqual((got.ack().stream_seq, got.ack().pending_count), (9, 1))
        durable.ack(got)
        got = durable.next()
        self.assertEqual((got.ack().stream_seq, got.ack().pending_count), (10, 0))

    def test_a_watch_on_disk_does_not_list_again(self):
        self.create(max_msgs_per_subject=5)
        self.put_all("abcabc")
        config = {"deliver_policy": "last_per_subject", "mem_storage": None,
                  "inactive_threshold": 60 * SECOND_NS}
        watch = self.watch(**config)
        self.assert_delivers(watch, [(4, 2), (5, 1), (6, 0)])
        self.stop()
        self.client.sub(watch.deliver_subject, sid=watch.sid)
        watch.client = self.client
        self.put("a", "x")
        ack = watch.next().ack()
        self.assertEqual((ack.stream_seq, ack.consumer_seq, ack.pending_count), (7, 4, 0))

    def test_many_durables_and_a_log_that_is_recycled(self):
        """Progress is many records; what they say stays when their segments are used again."""
        self.skip_on_nats_server()
        self.create()
        durables = [Durable(self, "d%d" % number) for number in range(4)]
        value = b"v" * 60_000
        for number in range(150):
            self.client.put(self.bucket, "k", value)
            for durable in durables[:3]:
                durable.client.pub(durable.next().reply, b"+ACK")
        self.client.flush()
        for durable in durables[:3]:
            poll_until(lambda: durable.state()[2] == 0)
        self.kill()
        for durable in durables[:3]:
            delivered, floor, ack_pending, _, pending = durable.state()
            self.assertEqual((floor, ack_pending, pending), (delivered, 0, 0))
            self.assertEqual(delivered[1], 150)


if __name__ == "__main__":
    main()
