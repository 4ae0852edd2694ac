"""
tests/e2e/mirror_test.py: republish, subject transforms, mirrors and sources, as raw requests.

Runs against nats-server 2.15.2 too (PAIL_SERVER=nats-server), whose answers these are; where pail
is another kind of right, the test says so.
"""

import re
import time
import unittest

from harness import (DELETE_MARKER, PURGE_MARKER, ServerTest, bucket_config, main, poll_until,
                     server_is_pail)

RFC3339 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"


class MirrorTest(ServerTest):
    def setUp(self):
        self.client = self.connect()
        self.bucket = self.bucket_name()
        self.stream = "KV_" + self.bucket

    def create(self, name, **config):
        config["name"] = name
        return self.client.api_ok("STREAM.CREATE." + name, config)

    def refuse(self, name, code, err_code, description=None, **config):
        config["name"] = name
        self.assert_error(self.client.api("STREAM.CREATE." + name, config), code, err_code,
                          description)

    def publish(self, subject, data=b"", headers=None):
        answer = self.client.request(subject, data, headers)
        self.assertIsNone(answer.status, answer)
        answer = answer.json()
        self.assertNotIn("error", answer)
        return answer["seq"]

    def info(self, stream):
        return self.client.api_ok("STREAM.INFO." + stream)

    def messages(self, stream):
        """All that the stream holds: (sequence, subject, data, time)."""
        found, seq = [], 1
        while True:
            answer = self.client.api("STREAM.MSG.GET." + stream, {"seq": seq, "next_by_subj": ">"})
            if "error" in answer:
                self.assertEqual(answer["error"]["err_code"], 10037)
                return found
            message = answer["message"]
            found.append((message["seq"], message["subject"], message.get("data"),
                          message["time"], message.get("hdrs")))
            seq = message["seq"] + 1


class Republish(MirrorTest):
    def heard(self, sid):
        return self.client.next(sid)

    def test_sends_stored_messages_again_with_their_position(self):
        self.client.bucket_create(self.bucket, republish={"src": "$KV.%s.>" % self.bucket,
                                                          "dest": "again.%s.>" % self.bucket})
        sid = self.client.sub("again.%s.>" % self.bucket)
        self.client.flush()
        self.client.put(self.bucket, "a", b"one")
        self.client.put(self.bucket, "b.c", b"two", {"X-Own": "yes"})
        self.client.put(self.bucket, "a", b"three")
        for key, seq, last, data, own in (("a", 1, 0, b"one", None), ("b.c", 2, 0, b"two", "yes"),
                                          ("a", 3, 1, b"three", None)):
            msg = self.heard(sid)
            self.assertEqual(msg.subject, "again.%s.%s" % (self.bucket, key))
            self.assertEqual(msg.data, data)
            self.assertEqual(msg.header("Nats-Stream"), self.stream)
            self.assertEqual(msg.header("Nats-Subject"), "$KV.%s.%s" % (self.bucket, key))
            self.assertEqual(msg.header("Nats-Sequence"), str(seq))
            self.assertEqual(msg.header("Nats-Last-Sequence"), str(last))
            self.assertRegex(msg.header("Nats-Time-Stamp"), RFC3339)
            self.assertEqual(msg.header("X-Own"), own)
            self.assertIsNone(msg.header("Nats-Msg-Size"))
            self.assertFalse(msg.reply)

    def test_headers_only_says_how_large_the_message_is(self):
        self.client.bucket_create(self.bucket, republish={"dest": "ho.%s.>" % self.bucket,
                                                          "headers_only": True})
        self.assertEqual(self.info(self.stream)["config"]["republish"],
                         {"src": ">", "dest": "ho.%s.>" % self.bucket, "headers_only": True})
        sid = self.client.sub("ho.>")
        self.client.flush()
        self.client.put(self.bucket, "a", b"12345")
        msg = self.heard(sid)
        self.assertEqual(msg.subject, "ho.%s.$KV.%s.a" % (self.bucket, self.bucket))
        self.assertEqual((msg.data, msg.header("Nats-Msg-Size")), (b"", "5"))

    def test_comes_before_the_ack_and_in_order(self):
        self.client.bucket_create(self.bucket, republish={"dest": "order.%s.>" % self.bucket})
        sid = self.client.sub("order.>")
        self.client.flush()
        replies = [self.client.put_start(self.bucket, "k%d" % (i % 17), b"%d" % i)
                   for i in range(300)]
        for reply in replies:
            self.client.answer(reply)
        # All were there when the last ack came: nothing needs to be waited for.
        heard = [int(msg.header("Nats-Sequence")) for msg in self.client.next_many(300, sid)]
        self.assertEqual(heard, list(range(1, 301)))

    def test_says_nothing_of_what_was_refused(self):
        self.client.bucket_create(self.bucket, republish={"dest": "no.%s.>" % self.bucket})
        sid = self.client.sub("no.>")
        self.client.flush()
        self.assertEqual(self.client.update(self.bucket, "a", b"x", 7)["error"]["err_code"], 10071)
        self.client.put(self.bucket, "a", b"y")
        self.assertEqual(self.heard(sid).data, b"y")

    def test_can_be_changed(self):
        self.client.bucket_create(self.bucket)
        sid = self.client.sub("later.%s.>" % self.bucket)
        self.client.flush()
        self.client.put(self.bucket, "a", b"before")
        config = bucket_config(self.bucket, republish={"src": "$KV.%s.>" % self.bucket,
                                                       "dest": "later.%s.>" % self.bucket})
        self.client.api_ok("STREAM.UPDATE." + self.stream, config)
        self.client.put(self.bucket, "a", b"during")
        del config["republish"]
        self.client.api_ok("STREAM.UPDATE." + self.stream, config)
        self.client.put(self.bucket, "a", b"after")
        msg = self.heard(sid)
        self.assertEqual((msg.data, msg.header("Nats-Last-Sequence")), (b"during", "1"))
        self.assertTrue(self.client.hears_nothing(sid, 0.2))

    def test_survives_a_restart_of_the_server(self):
        self.client.bucket_create(self.bucket, republish={"dest": "rs.%s.>" % self.bucket})
        self.client.put(self.bucket, "a", b"1")
        self.server.restart()
        self.client = self.connect()
        sid = self.client.sub("rs.>")
        self.client.flush()
        self.client.put(self.bucket, "a", b"2")
        msg = self.heard(sid)
        self.assertEqual((msg.data, msg.header("Nats-Last-Sequence")), (b"2", "1"))

    def test_refuses_cycles_and_nonsense(self):
        self.refuse("RC1", 500, 10052,
                    "stream configuration for republish destination forms a cycle",
                    subjects=["rc1.>"], republish={"src": ">", "dest": "rc1.x"})
        self.refuse("RC2", 500, 10052, "stream configuration for republish with transform from "
                    "'rc2.*' to 'x.{{wildcard(2)}}' not valid",
                    subjects=["rc2.>"], republish={"src": "rc2.*", "dest": "x.{{wildcard(2)}}"})
        self.refuse("RC3", 500, 10052, "stream configuration for republish with transform from "
                    "'rc3.>' to 'x' not valid",
                    subjects=["rc3.>"], republish={"src": "rc3.>", "dest": "x"})
        self.refuse("RC4", 400, 10157, "pedantic mode: republish source can not be empty",
                    subjects=["rc4.>"], republish={"dest": "x.>"}, pedantic=True)
        self.refuse("RC5", 400, 10025, re.compile('unknown field "what"'),
                    subjects=["rc5.>"], republish={"dest": "x.>", "what": 1})

    def test_of_a_memory_stream(self):
        self.create("RMEM", subjects=["rmem.*"], storage="memory",
                    republish={"src": "rmem.*", "dest": "rmem2.$1"})
        sid = self.client.sub("rmem2.*")
        self.client.flush()
        self.publish("rmem.a", b"1")
        self.publish("rmem.a", b"2")
        self.assertEqual([(m.subject, m.data, m.header("Nats-Last-Sequence"))
                          for m in self.client.next_many(2, sid)],
                         [("rmem2.a", b"1", "0"), ("rmem2.a", b"2", "1")])


class SubjectTransform(MirrorTest):
    def test_stores_under_another_subject(self):
        created = self.create("TR", subjects=["tr.>"], subject_transform={
            "src": "tr.*.*", "dest": "done.{{wildcard(2)}}.{{partition(3,1)}}.$1"})
        self.assertEqual(created["config"]["subject_transform"], {
            "src": "tr.*.*", "dest": "done.{{wildcard(2)}}.{{partition(3,1)}}.$1"})
        self.publish("tr.a.b", b"1")
        self.publish("tr.x", b"2")  # does not match: stays
        found = self.messages("TR")
        self.assertRegex(found[0][1], r"^done\.b\.[0-2]\.a$")
        self.assertEqual(found[1][1], "tr.x")
        self.assertEqual(self.info("TR")["state"]["num_subjects"], 2)

    def test_rules_and_history_look_at_the_new_subject(self):
        self.create("TH", subjects=["th.*"], max_msgs_per_subject=1,
                    subject_transform={"src": "th.*", "dest": "same"})
        self.assertEqual(self.publish("th.a", b"1"), 1)
        answer = self.client.request("th.b", b"2", {"Nats-Expected-Last-Subject-Sequence": "0"})
        self.assert_error(answer.json(), 400, 10071, "wrong last sequence: 1")
        self.assertEqual(self.publish("th.b", b"2",
                                      {"Nats-Expected-Last-Subject-Sequence": "1"}), 2)
        self.assertEqual([row[:2] for row in self.messages("TH")], [(2, "same")])

    def test_survives_a_restart(self):
        self.create("TS", subjects=["ts.>"], subject_transform={"src": "ts.>", "dest": "td.>"})
        self.publish("ts.a.b", b"1")
        self.server.restart()
        self.client = self.connect()
        self.publish("ts.c", b"2")
        self.assertEqual([row[:2] for row in self.messages("TS")], [(1, "td.a.b"), (2, "td.c")])

    def test_of_a_bucket(self):
        self.client.bucket_create(self.bucket, subject_transform={
            "src": "$KV.%s.*" % self.bucket, "dest": "$KV.%s.mapped.$1" % self.bucket})
        self.client.put(self.bucket, "a", b"1")
        self.assertEqual(self.client.direct_get(self.bucket, "mapped.a").data, b"1")
        self.server.restart()
        self.client = self.connect()
        self.client.put(self.bucket, "b", b"2")
        self.assertEqual([row[1] for row in self.messages(self.stream)],
                         ["$KV.%s.mapped.a" % self.bucket, "$KV.%s.mapped.b" % self.bucket])

    def test_works_with_republish(self):
        self.create("TP", subjects=["tp.>"], subject_transform={"src": "tp.>", "dest": "tq.>"},
                    republish={"src": ">", "dest": ">"})
        self.assertEqual(self.info("TP")["config"]["republish"], {"src": "tq.>", "dest": "tq.>"})
        self.create("TO", subjects=["to.*"], subject_transform={"src": "to.*", "dest": "tu.$1"},
                    republish={"src": "tu.*", "dest": "tv.$1"})
        sid = self.client.sub("tv.*")
        self.client.flush()
        self.publish("to.a", b"1")
        msg = self.client.next(sid)
        self.assertEqual((msg.subject, msg.header("Nats-Subject")), ("tv.a", "tu.a"))

    def test_refuses_nonsense(self):
        self.refuse("TN1", 400, 10155, "stream transform source: invalid subject a..b",
                    subject_transform={"src": "a..b", "dest": "c"})
        self.refuse("TN2", 400, 10156, "stream transform: invalid mapping destination: unknown "
                    "function in {{foo(1)}}", subject_transform={"src": "*", "dest": "{{foo(1)}}"})
        self.refuse("TN3", 400, 10156, "stream transform: invalid mapping destination: wildcard "
                    "index out of range in $2: [2]", subject_transform={"src": "*", "dest": "$2"})
        self.refuse("TN4", 400, 10156, "stream transform: invalid subject",
                    subject_transform={"src": "a.>", "dest": "b"})


if __name__ == "__main__":
    main()
