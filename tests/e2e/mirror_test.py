"""
tests/e2e/mirror_test.py: republish, subject transforms, mirrors and sources, as raw requests.

Runs against nats-server 2.15.2 too (PAIL_SERVER=nats-server), whose answers these are; where pail
is another kind of right, the test says so.
"""

import base64
import re

from harness import Cli, ServerTest, bucket_config, main, poll_until, server_is_pail

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


class Mirrors(MirrorTest):
    def origin(self, **changes):
        changes.setdefault("max_msgs_per_subject", 5)
        self.client.bucket_create(self.bucket, **changes)

    def mirror(self, name=None, origin=None, **config):
        name = name or "M-" + self.bucket
        config.setdefault("mirror", {"name": origin or self.stream})
        self.create(name, **config)
        return name

    def equals_origin(self, name, origin=None):
        origin = origin or self.stream
        return poll_until(lambda: self.messages(name) == self.messages(origin), deadline_s=30,
                          what="%s to equal %s" % (name, origin))

    def test_takes_what_is_there_and_what_comes(self):
        self.origin()
        for i in range(20):
            self.client.put(self.bucket, "k%d" % (i % 7), b"%d" % i,
                            {"X-N": str(i)} if i % 2 else None)
        name = self.mirror()
        self.equals_origin(name)
        for i in range(20):
            self.client.put(self.bucket, "l%d" % (i % 7), b"%d" % i)
        self.equals_origin(name)
        info = self.info(name)
        self.assertNotIn("subjects", info["config"])
        self.assertEqual(info["config"]["mirror"], {"name": self.stream})
        self.assertTrue(info["config"]["mirror_direct"])  # as its origin allows direct gets
        self.assertEqual(info["mirror"]["name"], self.stream)
        self.assertEqual(info["mirror"]["lag"], 0)
        self.assertGreater(info["mirror"]["active"], 0)
        self.assertNotIn("error", info["mirror"])
        self.assertEqual(info["state"]["last_seq"], self.client.stream_state(self.bucket)["last_seq"])

    def test_keeps_gaps_of_its_origin(self):
        self.client.bucket_create(self.bucket, deny_delete=None)
        for i in range(10):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        for seq in (1, 2, 5, 10):
            self.client.api_ok("STREAM.MSG.DELETE." + self.stream, {"seq": seq})
        name = self.mirror()
        self.equals_origin(name)
        state = self.info(name)["state"]
        self.assertEqual((state["first_seq"], state["messages"], state["num_deleted"]), (3, 6, 1))
        self.client.put(self.bucket, "more")
        self.equals_origin(name)
        self.assertEqual(self.info(name)["state"]["last_seq"], 11)

    def test_ignores_deletions_and_purges_of_its_origin(self):
        self.origin(deny_delete=None)
        for i in range(6):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        name = self.mirror()
        self.equals_origin(name)
        before = self.messages(name)
        self.client.api_ok("STREAM.MSG.DELETE." + self.stream, {"seq": 2})
        self.client.api_ok("STREAM.PURGE." + self.stream)
        self.client.put(self.bucket, "after", b"x")
        poll_until(lambda: len(self.messages(name)) == 7, what="the message after the purge")
        self.assertEqual(self.messages(name)[:6], before)
        self.assertEqual(self.messages(name)[6:], self.messages(self.stream))

    def test_rolls_up_where_it_may_itself(self):
        self.origin()
        allowed = self.mirror("MA-" + self.bucket, allow_rollup_hdrs=True)
        plain = self.mirror("MP-" + self.bucket)
        for i in range(3):
            self.client.put(self.bucket, "a", b"%d" % i)
        for name in (allowed, plain):
            poll_until(lambda: len(self.messages(name)) == 3, what="three messages")
        self.client.purge(self.bucket, "a")
        self.equals_origin(allowed)
        poll_until(lambda: len(self.messages(plain)) == 4, what="all four messages")

    def test_leaves_out_what_was_expected_of_its_origin(self):
        self.origin()
        name = self.mirror()
        self.client.put(self.bucket, "a", b"1", {"Nats-Expected-Last-Subject-Sequence": "0",
                                                 "X-Own": "1"})
        self.client.put(self.bucket, "b", b"2", {"Nats-Expected-Last-Subject-Sequence": "0"})
        poll_until(lambda: len(self.messages(name)) == 2, what="two messages")
        headers = [self.client.direct_get_json(self.bucket, {"seq": 1}),
                   self.client.api_ok("STREAM.MSG.GET." + name, {"seq": 1})["message"]]
        self.assertEqual(headers[0].header("X-Own"), "1")
        if server_is_pail():  # nats-server keeps them here
            self.assertEqual(base64.b64decode(headers[1]["hdrs"]), b"NATS/1.0\r\nX-Own: 1\r\n\r\n")
            self.assertNotIn("hdrs", self.client.api_ok("STREAM.MSG.GET." + name,
                                                        {"seq": 2})["message"])

    def test_takes_no_publishes(self):
        self.origin()
        name = self.mirror()
        self.assert_no_responders(self.client.request(name, b"x"), name)
        config = bucket_config("other", mirror={"name": self.stream}, subjects=None)
        self.client.api_ok("STREAM.CREATE.KV_other", config)
        self.assert_no_responders(self.client.request("$KV.other.a", b"x"), "$KV.other.a")

    def test_starts_where_it_is_told(self):
        self.origin()
        for i in range(10):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        by_seq = self.mirror("MS-" + self.bucket,
                             mirror={"name": self.stream, "opt_start_seq": 5})
        when = self.messages(self.stream)[7][3]
        by_time = self.mirror("MT-" + self.bucket,
                              mirror={"name": self.stream, "opt_start_time": when})
        poll_until(lambda: [m[0] for m in self.messages(by_seq)] == list(range(5, 11)))
        poll_until(lambda: [m[0] for m in self.messages(by_time)] == [8, 9, 10])
        self.assertEqual(self.info(by_time)["config"]["mirror"]["opt_start_time"], when)

    def test_filters_and_transforms(self):
        self.origin()
        filtered = self.mirror("MF-" + self.bucket, mirror={
            "name": self.stream, "filter_subject": "$KV.%s.a.>" % self.bucket})
        mapped = self.mirror("MX-" + self.bucket, mirror={
            "name": self.stream, "subject_transforms": [
                {"src": "$KV.%s.a.*" % self.bucket, "dest": "first.$1"},
                {"src": "$KV.%s.b.>" % self.bucket, "dest": ""}]})
        for key in ("a.1", "b.2", "c.3", "a.4"):
            self.client.put(self.bucket, key)
        poll_until(lambda: [m[:2] for m in self.messages(filtered)]
                   == [(1, "$KV.%s.a.1" % self.bucket), (4, "$KV.%s.a.4" % self.bucket)])
        poll_until(lambda: [m[:2] for m in self.messages(mapped)]
                   == [(1, "first.1"), (2, "$KV.%s.b.2" % self.bucket), (4, "first.4")])
        self.assertEqual(self.info(filtered)["mirror"]["filter_subject"],
                         "$KV.%s.a.>" % self.bucket)
        self.assertEqual(self.info(mapped)["mirror"]["subject_transforms"][0],
                         {"src": "$KV.%s.a.*" % self.bucket, "dest": "first.$1"})

    def test_waits_for_an_origin_that_is_not_there_yet(self):
        name = self.mirror()
        info = poll_until(lambda: self.info(name).get("mirror", {}).get("error"), deadline_s=15)
        self.assertEqual((info["code"], info["err_code"]), (404, 10059))
        if not server_is_pail():
            self.skipTest("nats-server asks again after some ten seconds")
        self.origin()
        self.client.put(self.bucket, "a", b"1")
        self.equals_origin(name)
        self.assertNotIn("error", self.info(name)["mirror"])

    def test_survives_its_origin(self):
        self.origin()
        for i in range(5):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        name = self.mirror()
        self.equals_origin(name)
        before = self.messages(name)
        self.client.api_ok("STREAM.DELETE." + self.stream)
        self.assertEqual(self.messages(name), before)
        answer = self.client.direct_get(self.bucket, "k1")  # the mirror answers for it
        self.assertEqual((answer.data, answer.header("Nats-Stream")), (b"1", name))
        if not server_is_pail():
            self.skipTest("nats-server asks again after some ten seconds")
        self.origin()
        for i in range(7):  # a new stream: what has the sequences of the old one is not taken
            self.client.put(self.bucket, "n%d" % i, b"%d" % i)
        poll_until(lambda: len(self.messages(name)) == 7, what="what goes beyond")
        self.assertEqual(self.messages(name)[:5], before)
        self.assertEqual(self.messages(name)[5:], self.messages(self.stream)[5:])

    def test_is_promoted_by_an_update(self):
        self.origin()
        for i in range(5):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        name = self.mirror()
        self.equals_origin(name)
        self.assert_error(self.client.api("STREAM.UPDATE." + name, {
            "name": name, "mirror": {"name": self.stream, "opt_start_seq": 3}}), 400, 10055,
            "stream mirror configuration can not be updated")
        self.client.api_ok("STREAM.UPDATE." + name, {"name": name, "subjects": ["promoted.>"]})
        self.client.put(self.bucket, "later", b"not taken")
        self.assertEqual(self.publish("promoted.a", b"own"), 6)
        self.assertEqual([m[1] for m in self.messages(name)][4:],
                         ["$KV.%s.k4" % self.bucket, "promoted.a"])
        self.assertNotIn("mirror", self.info(name))
        self.server.restart()
        self.client = self.connect()
        self.assertEqual(self.publish("promoted.b", b"own"), 7)
        self.assertEqual(len(self.messages(name)), 7)

    def test_of_a_mirror(self):
        self.origin()
        first = self.mirror("M1-" + self.bucket)
        second = self.mirror("M2-" + self.bucket, origin=first)
        for i in range(30):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        self.equals_origin(first)
        self.equals_origin(second)

    def test_many_of_one_origin_catch_up_under_load(self):
        self.origin(max_msgs_per_subject=1)
        names = [self.mirror("MM%d-%s" % (i, self.bucket), max_msgs_per_subject=1,
                             storage="memory" if i % 3 == 2 else "file") for i in range(6)]
        writers = [self.connect() for _ in range(3)]
        for round in range(10):
            replies = [(w, w.put_start(self.bucket, "k%d-%d" % (i, n), b"x" * (n * 7 % 300)))
                       for i, w in enumerate(writers) for n in range(200)]
            if round == 5:
                names += [self.mirror("ML%d-%s" % (i, self.bucket), max_msgs_per_subject=1)
                          for i in range(3)]
            for writer, reply in replies:
                writer.answer(reply)
        for name in names:
            poll_until(lambda: self.info(name)["state"]["last_seq"] == 6000, deadline_s=60,
                       what=name)
            self.assertEqual(self.messages(name)[-100:], self.messages(self.stream)[-100:])
            self.assertEqual(self.info(name)["state"]["messages"], 600)

    def test_survives_restarts_and_kills_without_loss_or_double(self):
        if not server_is_pail():
            self.skipTest("nats-server loses at a kill what it had not flushed")
        self.origin(max_msgs_per_subject=-1)
        name = self.mirror()
        count = 0
        for round in range(6):
            client = self.connect()
            replies = [client.put_start(self.bucket, "k%d" % (i % 50), b"%d" % i)
                       for i in range(400)]
            for reply in replies[:50 + 60 * round]:
                client.answer(reply)
            if round % 3 == 2:
                self.server.restart()
            else:
                self.server.kill()
                self.server.start()
            self.client = self.connect()
            state = self.info(self.stream)["state"]
            count = state["messages"]
            poll_until(lambda: self.info(name)["state"]["last_seq"] == state["last_seq"],
                       deadline_s=60, what="the mirror to be there")
            self.assertEqual(self.messages(name), self.messages(self.stream))
        self.assertGreater(count, 1000)

    def test_holds_on_when_it_is_full_and_goes_on(self):
        if not server_is_pail():
            self.skipTest("nats-server asks again after some ten seconds")
        self.origin(max_msgs_per_subject=-1)
        name = self.mirror(max_msgs=5, discard="new")
        for i in range(9):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        poll_until(lambda: self.info(name)["state"]["messages"] == 5)
        self.assertEqual(self.info(name)["mirror"]["lag"], 4)
        self.client.api_ok("STREAM.UPDATE." + name, {"name": name, "discard": "new",
                                                     "mirror": {"name": self.stream}})
        self.equals_origin(name)

    def test_limits_are_its_own(self):
        self.origin(max_msgs_per_subject=5)
        name = self.mirror(max_msgs_per_subject=1)
        short = self.mirror("MA-" + self.bucket, max_msgs=3)
        for i in range(10):
            self.client.put(self.bucket, "k%d" % (i % 2), b"%d" % i)
        poll_until(lambda: [m[0] for m in self.messages(name)] == [9, 10])
        poll_until(lambda: [m[0] for m in self.messages(short)] == [8, 9, 10])
        self.server.restart()
        self.client = self.connect()
        self.assertEqual([m[0] for m in self.messages(name)], [9, 10])
        self.assertEqual([m[0] for m in self.messages(short)], [8, 9, 10])

    def test_a_watch_sees_its_mirror(self):
        self.origin()
        name = self.mirror()
        sid = self.client.sub("deliver.here")
        answer = self.client.api_ok("CONSUMER.CREATE." + name, {
            "stream_name": name, "config": {"deliver_subject": "deliver.here",
                                            "ack_policy": "none", "deliver_policy": "all"}})
        for i in range(20):
            self.client.put(self.bucket, "k%d" % i, b"%d" % i)
        heard = [msg.data for msg in self.client.next_many(20, sid)]
        self.assertEqual(heard, [b"%d" % i for i in range(20)])
        self.assertEqual(answer["stream_name"], name)

    def test_refuses_what_a_mirror_can_not_be(self):
        mirror = {"name": "nowhere"}
        self.refuse("RM", 400, 10034, "stream mirrors can not contain subjects", mirror=mirror,
                    subjects=["a"])
        self.refuse("RM", 400, 10031, "stream mirrors can not also contain other sources",
                    mirror=mirror, sources=[{"name": "x"}])
        self.refuse("RM", 400, 10143, "stream mirrors can not have first sequence configured",
                    mirror=mirror, first_seq=7)
        self.refuse("RM", 400, 10142, "mirrored stream name is invalid", mirror={"name": "a.b"})
        self.refuse("RM", 400, 10142, "mirrored stream name is invalid", mirror={})
        self.refuse("RM", 400, 10150, None, mirror={
            "name": "x", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]})
        self.refuse("RM", 400, 10151, "mirror transform source: invalid subject a..b", mirror={
            "name": "x", "subject_transforms": [{"src": "a..b", "dest": "b"}]})
        self.refuse("RM", 400, 10154, "mirror transform: invalid mapping destination: wildcard "
                    "index out of range in $1", mirror={
                        "name": "x", "subject_transforms": [{"src": "a", "dest": "b.$1"}]})
        self.refuse("RM", 400, 10152, "mirror subject filters can not overlap", mirror={
            "name": "x", "subject_transforms": [{"src": "a.*", "dest": "b"},
                                                {"src": "a.b", "dest": "b"}]})
        self.refuse("RM", 500, 10052, "subject delete markers forbidden on mirrors", mirror=mirror,
                    subject_delete_marker_ttl=1000000000)
        self.refuse("RM", 500, 10052, "detected cycle", mirror={"name": "RM"})
        self.refuse("RM", 400, 10024, "stream external delivery prefix a.* must not contain "
                    "wildcards", mirror={"name": "x", "external": {"api": "e", "deliver": "a.*"}})
        self.refuse("RM", 400, 10021, "stream external api prefix $JS.API must not overlap with "
                    "$JS.API", mirror={"name": "x", "external": {"api": "$JS.API", "deliver": ""}})
        self.refuse("RM", 500, 10052, "stream has no mirror but does have mirror direct",
                    mirror_direct=True)
        self.refuse("RM", 500, 10049, "subject filter 'a..b' for the mirror invalid subject",
                    mirror={"name": "x", "filter_subject": "a..b"})
        self.refuse("RM", 400, 10025, re.compile('unknown field "domain"'),
                    mirror={"name": "x", "domain": "d"})
        self.create("RMO", subjects=["rmo"], max_msg_size=100)
        self.refuse("RM", 400, 10030, "stream mirror must have max message size >= source",
                    mirror={"name": "RMO"}, max_msg_size=50)

    def test_of_another_domain_waits_for_ever(self):
        name = self.mirror(mirror={"name": "x", "external": {"api": "$JS.far.API", "deliver": ""}})
        info = self.info(name)["mirror"]
        self.assertEqual((info["external"], info["active"]),
                         ({"api": "$JS.far.API", "deliver": ""}, -1))


class Sources(MirrorTest):
    SOURCE_HEADER = (rb"^(?:NATS/1\.0\r\n(?:[^\r]+\r\n)*)Nats-Stream-Source: ([^ ]+) (\d+) ([^ ]+) "
                     rb"([^ ]+) ([^ ]+)(?: (\w{8}))?\r\n\r\n$")

    def setUp(self):
        super().setUp()
        self.names = {}

    def name(self, short):
        return "%s-%s" % (short, self.bucket)

    def origin(self, short, **config):
        config.setdefault("subjects", ["%s.%s.>" % (self.bucket, short)])
        self.create(self.name(short), **config)
        return self.name(short)

    def put(self, short, key, data=b"", headers=None):
        return self.publish("%s.%s.%s" % (self.bucket, short, key), data, headers)

    def took(self, stream):
        """What a stream has from its sources: (origin, sequence there, subject, data)."""
        found = []
        for _, subject, data, _, hdrs in self.messages(stream):
            match = re.match(self.SOURCE_HEADER, base64.b64decode(hdrs or ""))
            self.assertTrue(match, hdrs)
            found.append((match.group(1).decode(), int(match.group(2)), subject,
                          base64.b64decode(data or "")))
        return found

    def has(self, stream, count):
        return poll_until(lambda: self.info(stream)["state"]["messages"] == count, deadline_s=40,
                          what="%d messages in %s" % (count, stream))

    def test_takes_from_several_streams_with_its_own_sequences(self):
        a, b = self.origin("a"), self.origin("b")
        for i in range(5):
            self.put("a", "k%d" % i, b"a%d" % i)
        target = self.name("t")
        self.create(target, subjects=["own." + self.bucket],
                    sources=[{"name": a}, {"name": b}])
        for i in range(5):
            self.put("b", "k%d" % i, b"b%d" % i)
        self.has(target, 10)
        took = self.took(target)
        for name, letter in ((a, b"a"), (b, b"b")):
            self.assertEqual([(row[1], row[3]) for row in took if row[0] == name],
                             [(i + 1, b"%s%d" % (letter, i)) for i in range(5)])
        self.assertEqual([row[0] for row in self.messages(target)], list(range(1, 11)))
        info = self.info(target)["sources"]
        self.assertEqual(sorted((s["name"], s["lag"], s["seq"]) for s in info),
                         [(a, 0, 5), (b, 0, 5)])
        self.assertEqual(self.publish("own." + self.bucket, b"mine"), 11)

    def test_header_says_where_a_message_comes_from(self):
        a = self.origin("a")
        self.put("a", "x", b"1", {"X-Own": "yes", "Nats-Expected-Last-Sequence": "0"})
        target = self.name("t")
        self.create(target, sources=[{"name": a, "filter_subject": self.bucket + ".a.x"}])
        again = self.name("u")
        self.create(again, sources=[{"name": target, "subject_transforms": [
            {"src": self.bucket + ".a.*", "dest": "moved.$1"}]}])
        self.has(again, 1)
        hdrs = base64.b64decode(self.messages(target)[0][4])
        match = re.match(self.SOURCE_HEADER, hdrs)
        self.assertEqual(match.groups()[:5], (a.encode(), b"1", (self.bucket + ".a.x").encode(),
                                              b">", (self.bucket + ".a.x").encode()))
        self.assertTrue(hdrs.startswith(b"NATS/1.0\r\nX-Own: yes\r\nNats-Stream-Source: "), hdrs)
        hdrs = base64.b64decode(self.messages(again)[0][4])
        match = re.match(self.SOURCE_HEADER, hdrs)
        self.assertEqual(match.groups()[:5],
                         (target.encode(), b"1", (self.bucket + ".a.*").encode(), b"moved.$1",
                          (self.bucket + ".a.x").encode()))
        self.assertEqual(hdrs.count(b"Nats-Stream-Source"), 1)
        self.assertEqual(self.messages(again)[0][1], "moved.x")

    def test_of_a_bucket_as_clients_make_one(self):
        self.client.bucket_create(self.bucket)
        target = "T" + self.bucket
        self.client.api_ok("STREAM.CREATE.KV_" + target, bucket_config(target, sources=[
            {"name": self.stream, "subject_transforms": [
                {"src": "$KV.%s.>" % self.bucket, "dest": "$KV.%s.>" % target}]}]))
        self.client.put(self.bucket, "a.b", b"1")
        self.client.put(target, "own", b"2")
        poll_until(lambda: self.client.direct_get(target, "a.b").data == b"1")
        self.assertEqual(self.client.direct_get(target, "own").data, b"2")
        self.client.put(self.bucket, "a.b", b"3")
        poll_until(lambda: self.client.direct_get(target, "a.b").data == b"3")
        self.client.purge(self.bucket, "a.b")
        poll_until(lambda: self.client.direct_get(target, "a.b").header("KV-Operation") == "PURGE")
        self.server.restart()
        self.client = self.connect()
        self.client.put(self.bucket, "c", b"4")
        poll_until(lambda: self.client.direct_get(target, "c").data == b"4")
        self.assertEqual(self.client.stream_state(target)["messages"], 3)

    def test_several_filters_of_one_stream(self):
        a = self.origin("a")
        target = self.name("t")
        self.create(target, sources=[
            {"name": a, "filter_subject": self.bucket + ".a.x.>"},
            {"name": a, "filter_subject": self.bucket + ".a.y.>"},
            {"name": a, "subject_transforms": [{"src": self.bucket + ".a.z.*", "dest": "z.$1"},
                                               {"src": self.bucket + ".a.w.*", "dest": "w.$1"}]}])
        for key in ("x.1", "y.1", "z.1", "w.1", "v.1", "x.2"):
            self.put("a", key)
        self.has(target, 5)
        self.assertEqual(sorted(row[1:3] for row in self.took(target)), sorted([
            (1, self.bucket + ".a.x.1"), (2, self.bucket + ".a.y.1"), (3, "z.1"), (4, "w.1"),
            (6, self.bucket + ".a.x.2")]))

    def test_starts_where_it_is_told(self):
        a = self.origin("a")
        for i in range(10):
            self.put("a", "k", b"%d" % i)
        when = self.messages(a)[6][3]
        self.create(self.name("s"), sources=[{"name": a, "opt_start_seq": 4}])
        self.create(self.name("u"), sources=[{"name": a, "opt_start_time": when}])
        self.has(self.name("s"), 7)
        self.has(self.name("u"), 4)
        self.assertEqual([row[1] for row in self.took(self.name("s"))], list(range(4, 11)))
        self.assertEqual([row[1] for row in self.took(self.name("u"))], list(range(7, 11)))

    def test_sources_change_by_an_update(self):
        a, b = self.origin("a"), self.origin("b")
        target = self.name("t")
        self.create(target, sources=[{"name": a}])
        self.put("a", "1")
        self.has(target, 1)
        self.put("b", "1")
        self.client.api_ok("STREAM.UPDATE." + target, {
            "name": target, "sources": [{"name": a}, {"name": b}]})
        self.has(target, 2)
        self.client.api_ok("STREAM.UPDATE." + target, {"name": target, "sources": [{"name": b}]})
        self.put("a", "2")
        self.put("b", "2")
        self.has(target, 3)
        self.client.api_ok("STREAM.UPDATE." + target, {
            "name": target, "sources": [{"name": b}, {"name": a}]})
        self.has(target, 4)  # what came meanwhile, once
        self.assertEqual(sorted(row[:2] for row in self.took(target)),
                         [(a, 1), (a, 2), (b, 1), (b, 2)])

    def test_position_survives_purge_and_restart(self):
        a = self.origin("a")
        target = self.name("t")
        self.create(target, sources=[{"name": a}])
        for i in range(10):
            self.put("a", "k%d" % i)
        self.has(target, 10)
        self.client.api_ok("STREAM.PURGE." + target)
        self.put("a", "more")
        self.has(target, 1)
        self.client.api_ok("STREAM.PURGE." + target)
        self.server.restart()
        self.client = self.connect()
        self.put("a", "again")
        self.has(target, 1)
        self.assertEqual([row[1] for row in self.took(target)], [12])

    def test_survives_kills_without_loss_or_double(self):
        if not server_is_pail():
            self.skipTest("nats-server loses at a kill what it had not flushed")
        a, b = self.origin("a"), self.origin("b")
        target = self.name("t")
        self.create(target, sources=[{"name": a}, {"name": b}])
        for round in range(5):
            client = self.connect()
            replies = [client.request_start("%s.%s.%d" % (self.bucket, "ab"[i % 2], i % 50),
                                            b"%d" % i) for i in range(400)]
            for reply in replies[:50 + 60 * round]:
                client.answer(reply)
            self.server.kill()
            self.server.start()
            self.client = self.connect()
            wanted = {name: self.info(name)["state"]["last_seq"] for name in (a, b)}
            self.has(target, sum(wanted.values()))
            took = self.took(target)
            for name, last in wanted.items():
                self.assertEqual([row[1] for row in took if row[0] == name],
                                 list(range(1, last + 1)))

    def test_an_origin_made_anew_is_taken_from_its_beginning(self):
        a = self.origin("a")
        target = self.name("t")
        self.create(target, sources=[{"name": a}])
        for i in range(5):
            self.put("a", "k%d" % i, b"old")
        self.has(target, 5)
        self.client.api_ok("STREAM.DELETE." + a)
        if server_is_pail():  # nats-server says so only when it has asked again
            self.assertEqual(self.info(target)["sources"][0]["error"]["err_code"], 10059)
        self.origin("a")
        self.put("a", "k", b"new")
        self.has(target, 6)
        self.assertEqual(self.took(target)[5][1:], (1, self.bucket + ".a.k", b"new"))

    def test_message_ids_count_with_a_window(self):
        a, b = self.origin("a"), self.origin("b")
        for short in "ab":
            self.put(short, "k", b"1", {"Nats-Msg-Id": "same"})
            self.put(short, "k", b"2")
        plain, windowed = self.name("p"), self.name("w")
        self.create(plain, sources=[{"name": a}, {"name": b}])
        self.create(windowed, sources=[{"name": a}, {"name": b}], duplicate_window=120000000000)
        self.has(plain, 4)
        self.has(windowed, 3)
        self.assertNotIn("duplicate_window", self.info(plain)["config"])

    def test_holds_on_when_it_is_full_and_goes_on(self):
        a = self.origin("a")
        target = self.name("t")
        self.create(target, sources=[{"name": a}], max_msgs=3, discard="new")
        for i in range(6):
            self.put("a", "k%d" % i)
        self.has(target, 3)
        self.client.api_ok("STREAM.PURGE." + target, {"keep": 1})
        if server_is_pail():
            self.has(target, 3)
            self.assertEqual([row[1] for row in self.took(target)], [3, 4, 5])

    def test_a_client_may_not_say_that_it_is_a_source(self):
        a = self.origin("a")
        answer = self.client.request(self.bucket + ".a.k", b"", {"Nats-Stream-Source": "x 1 > > y"})
        self.assert_error(answer.json(), 400, 10227, "message stream source header is not allowed")
        self.assertEqual(self.info(a)["state"]["messages"], 0)

    def test_refuses_what_sources_can_not_be(self):
        self.refuse("RS", 400, 10141, "sourced stream name is invalid", sources=[{"name": "a.b"}])
        self.refuse("RS", 400, 10141, "sourced stream name is invalid", sources=[{}])
        self.refuse("RS", 400, 10140, "duplicate source configuration detected",
                    sources=[{"name": "a"}, {"name": "a"}])
        self.refuse("RS", 400, 10144, None, sources=[{
            "name": "a", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]}])
        self.refuse("RS", 400, 10145, "source transform source: invalid subject a..b", sources=[{
            "name": "a", "subject_transforms": [{"src": "a..b", "dest": "b"}]}])
        self.refuse("RS", 400, 10146, "source transform: invalid subject", sources=[{
            "name": "a", "subject_transforms": [{"src": "a.>", "dest": "b"}]}])
        self.refuse("RS", 400, 10147, "source filters can not overlap", sources=[{
            "name": "a", "subject_transforms": [{"src": "a.*", "dest": "b"},
                                                {"src": "a.b", "dest": "c"}]}])
        self.refuse("RS", 500, 10049, "subject filter 'a..b' for the source: invalid subject",
                    sources=[{"name": "a", "filter_subject": "a..b"}])
        self.create("RSA", subjects=["rsa.>"], max_msg_size=100)
        self.refuse("RS", 400, 10046, "stream source must have max message size >= target",
                    sources=[{"name": "RSA"}], max_msg_size=50)
        self.refuse("RS", 500, 10052, "detected cycle", sources=[{"name": "RS"}], subjects=["rs"])

    def test_refuses_cycles_of_several_streams(self):
        self.create("CA", subjects=["ca.>"], sources=[{"name": "CB"}])
        self.create("CC", mirror={"name": "CA"})
        self.refuse("CB", 500, 10052, "detected cycle", subjects=["cb"], sources=[{"name": "CA"}])
        self.refuse("CB", 500, 10052, "detected cycle", mirror={"name": "CC"})
        # A filter that can not match what the stream takes lets no cycle through.
        self.create("CD", subjects=["cd"], sources=[{"name": "CE", "filter_subject": "nowhere"}])
        self.create("CE", subjects=["ce"], sources=[{"name": "CD", "filter_subject": "elsewhere"}])


class CommandLine(MirrorTest):
    def setUp(self):
        super().setUp()
        self.cli = Cli(self.server)
        self.addCleanup(self.cli.close)

    def run_cli(self, *args):
        done = self.cli.run(*args)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def test_buckets_of_buckets(self):
        self.run_cli("kv", "add", "orig", "--history", "3")
        self.run_cli("kv", "put", "orig", "a.b", "1")
        self.run_cli("kv", "add", "mir", "--mirror", "orig")
        self.run_cli("kv", "add", "src", "--source", "orig")
        self.run_cli("kv", "add", "rep", "--republish-source", ">",
                     "--republish-destination", "rep.>")
        poll_until(lambda: self.client.stream_state("mir")["messages"] == 1)
        poll_until(lambda: self.client.stream_state("src")["messages"] == 1)
        self.assertRegex(self.run_cli("kv", "info", "mir"),
                         r"Mirror Information:\s+Origin Bucket: orig\s+Last Seen: .*s\s+Lag: 0")
        self.assertRegex(self.run_cli("kv", "info", "src"),
                         r"Sources Information:\s+Source Bucket: orig\s+Last Seen: .*s\s+Lag: 0")
        self.assertRegex(self.run_cli("kv", "info", "rep"), r"Republishing: > to rep.>")
        self.assertEqual(self.run_cli("kv", "get", "src", "a.b", "--raw"), "1")
        self.run_cli("kv", "put", "mir", "a.c", "2")  # goes to the origin
        self.assertEqual(self.run_cli("kv", "get", "orig", "a.c", "--raw"), "2")
        poll_until(lambda: self.client.stream_state("mir")["messages"] == 2)
        self.assertEqual(sorted(self.run_cli("kv", "ls", "src").split()), ["a.b", "a.c"])
        self.assertRegex(self.run_cli("stream", "info", "KV_mir"),
                         r"Mirror Information:\s+Stream Name: KV_orig\s+Lag: 0")


if __name__ == "__main__":
    main()
