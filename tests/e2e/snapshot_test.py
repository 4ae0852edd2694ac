"""
STREAM.SNAPSHOT and STREAM.RESTORE: archives that hold exactly the state at one sequence, and come back as they were.

Tests with nats-server beside pail need its program; those with the CLI need `nats`.
"""

import os
import random
import re
import shutil
import subprocess
import tempfile
import threading
import time

import archives
import harness
from harness import (DEADLINE_S, Cli, ServerTest, bucket_config, main, poll_until, require_program)


def by_seq(messages):
    return {entry.seq: entry for entry in messages}


class Writer(threading.Thread):
    """Puts to its keys as fast as it can, some in flight at a time; knows every sequence it was told."""

    def __init__(self, server, bucket, name, keys, in_flight=32):
        super().__init__(daemon=True)
        self.client = server.connect()
        self.bucket, self.name, self.keys, self.in_flight = bucket, name, keys, in_flight
        self.acked = {}  # seq: (key, value)
        self.is_ending = threading.Event()
        self.failure = None

    def run(self):
        try:
            count, waiting = 0, []
            while not self.is_ending.is_set():
                while len(waiting) < self.in_flight:
                    key = self.keys[count % len(self.keys)]
                    value = b"%s.%d" % (self.name.encode(), count)
                    waiting.append((key, value,
                                    self.client.put_start(self.bucket, key, value)))
                    count += 1
                self.take(waiting.pop(0))
            for put in waiting:
                self.take(put)
        except Exception as failure:  # told by the test
            self.failure = failure

    def take(self, put):
        key, value, reply = put
        self.acked[self.client.answer(reply).json()["seq"]] = (key, value)

    def end(self):
        self.is_ending.set()
        self.join(3 * DEADLINE_S)
        self.client.close()
        if self.failure:
            raise self.failure


class Snapshots(ServerTest):
    def take(self, client, bucket, **request):
        snapshot = archives.take_snapshot(client, "KV_" + bucket, **request)
        self.assertNotIn("error", snapshot.answer)
        return snapshot

    def test_an_archive_has_all_messages_as_they_are(self):
        bucket, client = self.bucket_name(), self.connect()
        config = client.bucket_create(bucket, max_msgs_per_subject=3)["config"]
        for i in range(20):
            client.put(bucket, "k%d" % (i % 7), b"v%d" % i, {"Number": str(i)} if i % 3 else None)
        client.delete(bucket, "k1")
        client.purge(bucket, "k2")
        snapshot = self.take(client, bucket)
        state, consumers, messages = archives.read_archive(snapshot.data)
        self.assertEqual(consumers, [])
        info = client.stream_state(bucket)
        self.assertEqual(snapshot.answer["state"], info)
        self.assertEqual(state, info)
        want = {k: v for k, v in config.items() if k != "metadata"}
        self.assertEqual({k: v for k, v in snapshot.answer["config"].items() if k != "metadata"},
                         want)
        self.assertEqual(len(messages), info["messages"])
        for entry in messages:
            stored = client.api_ok("STREAM.MSG.GET.KV_" + bucket, {"seq": entry.seq})["message"]
            self.assertEqual(stored["subject"], entry.name)
            direct = client.direct_get_json(bucket, {"seq": entry.seq})
            self.assertEqual(direct.data, entry.payload)
            self.assertEqual("hdrs" in stored, entry.headers != b"")
            self.assertEqual(direct.header("Nats-Time-Stamp"), stored["time"])
        self.assertEqual(messages[0].time % 10**9 // 10**6,
                         int((info["first_ts"] + "000").split(".")[1][:3].rstrip("Z") or 0))

    def test_an_empty_bucket_and_one_that_was_emptied(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        state, _, messages = archives.read_archive(self.take(client, bucket).data)
        self.assertEqual((state["messages"], state["first_seq"], state["last_seq"], messages),
                         (0, 0, 0, []))
        for i in range(5):
            client.put(bucket, "k%d" % i)
        client.api_ok("STREAM.PURGE.KV_" + bucket)
        state, _, messages = archives.read_archive(self.take(client, bucket).data)
        self.assertEqual((state["messages"], state["first_seq"], state["last_seq"], messages),
                         (0, 6, 5, []))

    def test_chunks_and_their_acknowledgements(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(40):
            client.put(bucket, "k%d" % i, archives.crc_masked(b"%d" % i).to_bytes(4, "big") * 100)
        in_flight = []
        deliver = "_SNAP.chunks." + bucket
        sid = client.sub(deliver)
        client.api_ok("STREAM.SNAPSHOT.KV_" + bucket, {"deliver_subject": deliver,
                                                      "chunk_size": 1, "window_size": 3000})
        data, status = b"", None
        while status is None:
            msg = client.next(sid)
            if msg.data:
                data += msg.data
                if msg.reply:
                    self.assertEqual(len(msg.data), 1024)
                    self.assertRegex(msg.reply, r"^\$JS\.SNAPSHOT\.ACK\.KV_%s\.\w{22}\.1024\.\d+$"
                                     % bucket)
                    in_flight.append(msg.reply)
                if len(in_flight) == 2:  # the window: two chunks of 1 KiB
                    self.assertTrue(client.hears_nothing(sid, 0.05) is None)
                    for reply in in_flight:
                        client.pub(reply)
                    in_flight = []
                continue
            status = msg.headers
        self.assertEqual(status.status, "204")
        _, _, messages = archives.read_archive(data)
        self.assertEqual(len(messages), 40)

    def test_without_acknowledgements_it_ends(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(30):
            client.put(bucket, "k%d" % i, archives.crc_masked(b"%d" % i).to_bytes(4, "big") * 200)
        start = time.monotonic()
        snapshot = self.take(client, bucket, chunk_size=1024, window_size=1024,
                             on_chunk=lambda chunk: False)
        self.assertEqual(snapshot.status.block, b"NATS/1.0 408 No Flow Response\r\n\r\n")
        self.assertEqual(snapshot.chunks, 1)
        self.assertGreater(time.monotonic() - start, 4)

    def test_a_receiver_that_comes_late_and_one_that_goes(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(30):
            client.put(bucket, "k%d" % i, archives.crc_masked(b"%d" % i).to_bytes(4, "big") * 200)
        deliver = "_SNAP.late." + bucket
        client.api_ok("STREAM.SNAPSHOT.KV_" + bucket,
                      {"deliver_subject": deliver, "chunk_size": 1024, "window_size": 1024})
        listener = self.connect()
        everything = listener.sub("_SNAP.late.>")
        sid = client.sub(deliver)
        msg = client.next(sid)
        self.assertEqual(len(msg.data), 1024)
        client.unsub(sid)
        self.assertEqual(len(listener.next(everything).data), 1024)
        self.assertEqual(listener.next(everything).headers.block,
                         b"NATS/1.0 408 No Interest\r\n\r\n")

    def test_the_stream_goes_meanwhile(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        value = bytes(range(256)) * 1024
        for i in range(30):
            client.put(bucket, "k%d" % i, value + b"%d" % i)

        def on_chunk(chunk):
            if chunk == 1:
                client.api_ok("STREAM.DELETE.KV_" + bucket)

        snapshot = self.take(client, bucket, on_chunk=on_chunk, chunk_size=1024, window_size=1024)
        self.assertEqual(snapshot.status.block, b"NATS/1.0 500 stream closed\r\n\r\n")
        client.bucket_create(bucket)

    def test_requests_that_are_refused(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        subject = "STREAM.SNAPSHOT.KV_" + bucket
        self.assert_error(client.api(subject), 400, 10003)
        self.assert_error(client.api("STREAM.SNAPSHOT.missing", b"nothing"), 404, 10059)
        self.assert_error(client.api(subject, b"nothing"), 400, 10025)
        self.assert_error(client.api(subject, {"deliver_subject": "a", "x": 1}), 400, 10025)
        self.assert_error(client.api(subject, b"null"), 400, 10015, "deliver subject not valid")
        for deliver in "", "a.*", "a.>", "a..b", "a b":
            self.assert_error(client.api(subject, {"deliver_subject": deliver}), 400, 10015)
        self.assert_no_responders(client.request("$JS.SNAPSHOT.ACK.x.y"), "$JS.SNAPSHOT.ACK.x.y")

    def test_a_memory_bucket(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket, storage="memory", max_msgs_per_subject=2)
        for i in range(10):
            client.put(bucket, "k%d" % (i % 3), b"v%d" % i)
        chunks = []

        def on_chunk(chunk):
            chunks.append(chunk)

        state, _, messages = archives.read_archive(self.take(client, bucket).data)
        self.assertEqual(state, client.stream_state(bucket))
        self.assertEqual([e.seq for e in messages], [5, 6, 7, 8, 9, 10])

    def check_under_writes(self, bucket, history, storage):
        """Every snapshot is what the acknowledged writes say was there at its sequence."""
        client = self.connect()
        client.bucket_create(bucket, max_msgs_per_subject=history, storage=storage)
        cold = ["cold%d" % i for i in range(300)]
        known = {client.put(bucket, key, b"x" * 700 + key.encode()): (key, b"x" * 700 + key.encode())
                 for key in cold}
        hot = ["hot%d" % i for i in range(5)]
        writers = [Writer(self.server, bucket, "w%d" % i, hot + cold[i::7]) for i in range(3)]
        for writer in writers:
            writer.start()
        snapshots = []
        try:
            for _ in range(4):
                poll_until(lambda: time.sleep(0.05) or True)
                snapshots.append(self.take(client, bucket, chunk_size=4096, window_size=8192))
        finally:
            for writer in writers:
                writer.end()
        for writer in writers:
            known.update(writer.acked)
        for snapshot in snapshots:
            self.assertEqual(snapshot.status.status, "204")
            state, _, messages = archives.read_archive(snapshot.data, check=False)
            upto, keys, want = state["last_seq"], {}, {}
            for seq in sorted(seq for seq in known if seq <= upto):
                keys.setdefault(known[seq][0], []).append(seq)
            for seqs in keys.values():
                want.update({seq: known[seq] for seq in seqs[-history:]})
            have = {e.seq: (e.name.split(".", 2)[2], e.payload) for e in messages}
            self.assertEqual(sorted(have), sorted(want))
            self.assertEqual(have, want)
            self.assertEqual(state["messages"], len(want))
            self.assertEqual(state["num_subjects"], len(keys))
            self.assertEqual(state["first_seq"], min(want))
            frame = 16 if storage == "memory" else 30
            self.assertEqual(state["bytes"], sum(frame + len(e.name) + len(e.payload)
                                                 for e in messages))
        self.assertGreater(max(s.answer["state"]["last_seq"] for s in snapshots), len(cold))

    def test_under_writes_with_history_1(self):
        self.check_under_writes(self.bucket_name(), 1, "file")

    def test_under_writes_with_history_4(self):
        self.check_under_writes(self.bucket_name(), 4, "file")

    def test_under_writes_in_memory(self):
        self.check_under_writes(self.bucket_name(), 2, "memory")

    def test_what_is_purged_meanwhile_is_there(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(200):
            client.put(bucket, "k%d" % i, archives.crc_masked(b"%d" % i).to_bytes(4, "big") * 100)

        def on_chunk(chunk):
            if chunk == 1:
                client.api_ok("STREAM.PURGE.KV_" + bucket)
                for i in range(2000):
                    client.put_start(bucket, "n%d" % (i % 50), b"y" * 3000)
                client.put(bucket, "new", b"")

        snapshot = self.take(client, bucket, on_chunk=on_chunk, chunk_size=1024, window_size=1024)
        state, _, messages = archives.read_archive(snapshot.data)
        self.assertEqual([e.seq for e in messages], list(range(1, 201)))
        self.assertEqual(state["messages"], 200)
        self.assertEqual(client.stream_state(bucket)["messages"], 51)

    def test_several_at_a_time(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(100):
            client.put(bucket, "k%d" % i, archives.crc_masked(b"%d" % i).to_bytes(4, "big") * 100)
        inner = []

        def on_chunk(chunk):
            if chunk == 1:
                other = self.connect()
                for i in range(50):
                    other.put(bucket, "k%d" % i, b"new")
                inner.append(self.take(other, bucket))

        outer = self.take(client, bucket, on_chunk=on_chunk, chunk_size=1024, window_size=1024)
        self.assertEqual([e.seq for e in archives.read_archive(outer.data)[2]],
                         list(range(1, 101)))
        self.assertEqual([e.seq for e in archives.read_archive(inner[0].data)[2]],
                         list(range(51, 151)))


def plain_state(state):
    """What must be the same behind a restore."""
    return {k: v for k, v in state.items() if k not in ("consumer_count", "num_deleted")}


def plain_config(config):
    return {k: v for k, v in config.items() if k != "metadata"}


class RestoreTest(ServerTest):
    def fill(self, client, bucket, **changes):
        """A bucket with history, gaps at both ends and within, headers, an empty value and markers."""
        client.bucket_create(bucket, **changes)
        client.put(bucket, "early", b"gone")
        client.put(bucket, "early", b"gone")
        client.purge(bucket, "early")
        for i in range(60):
            client.put(bucket, "k%d" % (i % 17), b"v%d" % i * (i % 9),
                       {"Number": str(i), "Other": "x y"} if i % 4 == 0 else None)
        client.delete(bucket, "k1")
        client.purge(bucket, "k2")
        client.api_ok("STREAM.PURGE.KV_" + bucket, {"filter": "$KV.%s.early" % bucket})
        client.put(bucket, "late", b"gone too")
        client.api_ok("STREAM.PURGE.KV_" + bucket, {"filter": "$KV.%s.late" % bucket})

    def take(self, client, bucket, **request):
        snapshot = archives.take_snapshot(client, "KV_" + bucket, **request)
        self.assertNotIn("error", snapshot.answer)
        return snapshot

    def give(self, client, snapshot, chunk=65536, config=None):
        config = config or snapshot.answer["config"]
        return archives.restore(client, config["name"], config, snapshot.answer["state"],
                                snapshot.data, chunk)

    def assert_restored(self, client, bucket, snapshot, with_last_time=True):
        """The bucket is as the archive says. nats-server forgets the time of a last message that is gone."""
        again = self.take(client, bucket)
        states = [plain_state(s.answer["state"]) for s in (again, snapshot)]
        if not with_last_time:
            for state in states:
                state.pop("last_ts")
        self.assertEqual(states[0], states[1])
        self.assertEqual(plain_config(again.answer["config"]),
                         plain_config(snapshot.answer["config"]))
        self.assertEqual(archives.read_archive(again.data)[2],
                         archives.read_archive(snapshot.data)[2])


class Restores(RestoreTest):
    def check_same(self, **changes):
        bucket, client = self.bucket_name(), self.connect()
        self.fill(client, bucket, **changes)
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        answer = self.give(client, snapshot)
        self.assertNotIn("error", answer)
        self.assertEqual(answer["type"], "io.nats.jetstream.api.v1.stream_create_response")
        self.assertNotIn("did_create", answer)
        self.assertEqual(plain_state(answer["state"]), plain_state(snapshot.answer["state"]))
        self.assert_restored(client, bucket, snapshot)
        last = snapshot.answer["state"]["last_seq"]
        newest = {e.name: e.seq for e in archives.read_archive(snapshot.data)[2]}
        key = "$KV.%s.k3" % bucket
        self.assertIn("error", client.update(bucket, "k3", b"no", newest[key] - 1))
        self.assertEqual(client.update(bucket, "k3", b"new", newest[key])["seq"], last + 1)
        self.assertEqual(client.direct_get(bucket, "k3").data, b"new")
        return client, bucket

    def test_with_history_1(self):
        self.check_same()

    def test_with_history_5(self):
        self.check_same(max_msgs_per_subject=5)

    def test_in_one_stripe(self):
        self.check_same(max_msgs_per_subject=3, max_bytes=1 << 20)

    def test_in_memory(self):
        self.check_same(max_msgs_per_subject=2, storage="memory")

    def test_a_stream_that_is_no_bucket(self):
        stream, client = "plain", self.connect()
        client.api_ok("STREAM.CREATE." + stream, {"name": stream, "subjects": ["plain.>"]})
        for i in range(30):
            client.request("plain.%d" % (i % 4), b"v%d" % i)
        for seq in 1, 5, 30:
            client.api_ok("STREAM.MSG.DELETE." + stream, {"seq": seq})
        snapshot = archives.take_snapshot(client, stream)
        client.api_ok("STREAM.DELETE." + stream)
        answer = archives.restore(client, stream, snapshot.answer["config"],
                                  snapshot.answer["state"], snapshot.data)
        self.assertNotIn("error", answer)
        info = client.api_ok("STREAM.INFO." + stream, {"deleted_details": True})["state"]
        self.assertEqual((info["first_seq"], info["last_seq"], info["deleted"]), (2, 30, [5, 30]))
        self.assertEqual(client.request("plain.x", b"").json()["seq"], 31)

    def test_values_with_a_ttl_end_when_they_would_have(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket, allow_msg_ttl=True)
        client.put(bucket, "short", b"x", {"Nats-TTL": "2s"})
        client.put(bucket, "long", b"x", {"Nats-TTL": "1h"})
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        self.assertNotIn("error", self.give(client, snapshot))
        self.assertEqual(client.stream_state(bucket)["messages"], 2)
        poll_until(lambda: client.stream_state(bucket)["messages"] == 1)
        self.assertEqual(client.direct_get(bucket, "long").data, b"x")

    def test_message_ids_are_known_again(self):
        stream, client = "ids", self.connect()
        client.api_ok("STREAM.CREATE." + stream, {"name": stream, "subjects": ["ids.>"]})
        client.request("ids.1", b"once", {"Nats-Msg-Id": "a"})
        snapshot = archives.take_snapshot(client, stream)
        client.api_ok("STREAM.DELETE." + stream)
        archives.restore(client, stream, snapshot.answer["config"], {}, snapshot.data)
        again = client.request("ids.1", b"twice", {"Nats-Msg-Id": "a"}).json()
        self.assertEqual((again["seq"], again.get("duplicate")), (1, True))

    def test_what_was_restored_survives_a_kill(self):
        client, bucket = self.check_same(max_msgs_per_subject=3)
        before = self.take(client, bucket)
        self.server.kill()
        self.server.restart()
        client = self.connect()
        self.assert_restored(client, bucket, before)
        self.assertEqual(client.put(bucket, "next"), before.answer["state"]["last_seq"] + 1)

    def test_an_empty_stream_keeps_its_last_sequence(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(5):
            client.put(bucket, "k%d" % i)
        client.api_ok("STREAM.PURGE.KV_" + bucket)
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        self.assertNotIn("error", self.give(client, snapshot))
        self.server.kill()
        self.server.restart()
        client = self.connect()
        state = client.stream_state(bucket)
        self.assertEqual((state["messages"], state["first_seq"], state["last_seq"]), (0, 6, 5))
        self.assertEqual(client.put(bucket, "next"), 6)

    def test_however_the_chunks_are_cut(self):
        bucket, client = self.bucket_name(), self.connect()
        self.fill(client, bucket, max_msgs_per_subject=4)
        snapshot = self.take(client, bucket)
        for chunk in 1, 7, 100, 1 << 19:
            client.api_ok("STREAM.DELETE.KV_" + bucket)
            self.assertNotIn("error", self.give(client, snapshot, chunk))
            self.assert_restored(client, bucket, snapshot)

    def test_large_values_and_many_keys(self):
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        noise = random.Random(1).randbytes(900000)
        for i in range(6):
            client.put(bucket, "large%d" % i, noise[i:] + b"%d" % i)
        replies = [client.put_start(bucket, "key.%d" % i, b"value %d" % i) for i in range(20000)]
        for reply in replies:
            client.answer(reply)
        snapshot = self.take(client, bucket)
        self.assertEqual(snapshot.answer["state"]["messages"], 20006)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        self.assertNotIn("error", self.give(client, snapshot))
        again = self.take(client, bucket)
        self.assertEqual(plain_state(again.answer["state"]), plain_state(snapshot.answer["state"]))
        # All but the head, which has the time of the snapshot: the first block and its frame.
        self.assertEqual(archives.read_archive(again.data, check=False)[2],
                         archives.read_archive(snapshot.data, check=False)[2])

    def test_an_expanding_archive_does_not_stop_the_server(self):
        """Megabytes of plain bytes from a few: others are served meanwhile, and it ends in an error."""
        bucket, client = self.bucket_name(), self.connect()
        plain = b"\xfe" * 65536
        data = archives.START
        frame = b"\x01" + (len(plain) + 4).to_bytes(3, "little")
        frame += archives.crc_masked(plain).to_bytes(4, "little") + plain
        data += frame * 3
        answer = archives.restore(client, "KV_" + bucket, bucket_config(bucket), {}, data)
        self.assert_error(answer, 500, 10062)

    def test_requests_that_are_refused(self):
        bucket, client = self.bucket_name(), self.connect()
        subject, config = "STREAM.RESTORE.KV_" + bucket, bucket_config(bucket)
        self.assert_error(client.api(subject), 400, 10003)
        self.assert_error(client.api(subject, b"nothing"), 400, 10025)
        self.assert_error(client.api(subject, {"config": config, "x": 1}), 400, 10025)
        self.assert_error(client.api(subject, {"config": dict(config, x=1)}), 400, 10025)
        self.assert_error(client.api(subject, {"config": dict(config, name="other")}), 400, 10056)
        self.assert_error(client.api(subject, {"config": dict(config, num_replicas=3)}), 500, 10074)
        self.assert_error(client.api("STREAM.RESTORE.a/b", {"config": {}}), 400, 10128)
        answer = client.api(subject, {"config": dict(config, name="other")})
        self.assertEqual(answer["deliver_subject"], "")
        client.bucket_create(bucket)
        self.assert_error(client.api(subject, {"config": config}), 400, 10130,
                          "stream name already in use, cannot restore")
        other = dict(config, name="other")
        answer = archives.restore(client, "other", other, {}, archives.archive({}, []))
        self.assert_error(answer, 500, 10062, "restore failed: error adding stream: "
                          "subjects overlap with an existing stream (10065)")
        deliver = "$JS.SNAPSHOT.RESTORE.x." + 22 * "y"
        self.assertEqual(client.request(deliver, b"x").status, "503")
        self.assert_no_responders(client.request("$JS.SNAPSHOT.RESTORE.x"),
                                  "$JS.SNAPSHOT.RESTORE.x")

    def test_archives_that_are_refused(self):
        bucket, client = self.bucket_name(), self.connect()
        config = bucket_config(bucket)

        def message(seq=1, name="$KV.%s.a" % bucket, headers=b"", payload=b"x", time=1):
            return archives.Entry(name, time, seq, headers, payload)

        state = {"messages": 1, "first_seq": 1, "last_seq": 1}
        rows = [
            (archives.archive(state, [message()], end=False), "EOF"),
            (archives.archive(state, [])[:-3], "EOF"),
            (b"", "EOF"),
            (archives.archive({"first_seq": 5, "last_seq": 1}, []), "inconsistent"),
            (archives.archive({"messages": 9, "first_seq": 1, "last_seq": 1}, []), "exceeds"),
            (archives.archive({"first_seq": 1, "last_seq": 1 << 60}, []), "2\\^55"),
            (archives.archive(state, [message(0)]), "expected message sequence"),
            (archives.archive(state, [message(), message()]), "out of order"),
            (archives.archive(state, [message(1 << 56)]), "above"),
            (archives.archive(state, [message(name="$KV.%s.*" % bucket)]), "subject"),
            (archives.archive(state, [message(name="$KV.%s.a\r\nPING" % bucket)]), "subject"),
            (archives.archive(state, [message(name="other")]), "not of this bucket"),
            (archives.archive(state, [message(name="")]), "subject"),
            (archives.archive(state, [message(headers=b"garbage")]), "headers"),
            (archives.archive(state, [message(time=-1)]), "1970"),
            (archives.archive(state, [message(payload=b"x" * (1 << 20 | 1))]), "payload"),
            (archives.archive(dict(state, consumer_count=1), [message()]), "expected consumer"),
            (archives.s2_encode(b"meta.inf" + bytes(600)), "2.15"),
            (archives.s2_encode(archives.MAGIC + archives.entry_encode(message())), "state.json"),
            (b"no archive", "s2: corrupt input"),
        ]
        for data, why in rows:
            answer = archives.restore(client, "KV_" + bucket, config, {}, data)
            self.assert_error(answer, 500, 10062)
            self.assertRegex(answer["error"]["description"], "^restore failed: .*" + why)
            self.assert_error(client.api("STREAM.INFO.KV_" + bucket), 404, 10059)
        answer = archives.restore(client, "KV_" + bucket, config, {},
                                  archives.archive(state, [message()]))
        self.assertEqual(answer["state"]["messages"], 1)
        self.assertEqual(client.direct_get(bucket, "a").data, b"x")

    def test_damage_at_many_places_leaves_nothing(self):
        bucket, client = self.bucket_name(), self.connect()
        self.fill(client, bucket)
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        dice = random.Random(7)
        for at in sorted(dice.sample(range(len(snapshot.data)), 150)) + [0, 10]:
            data = bytearray(snapshot.data)
            data[at] ^= dice.randrange(1, 256)
            answer = archives.restore(client, "KV_" + bucket, snapshot.answer["config"],
                                      snapshot.answer["state"], bytes(data),
                                      dice.choice((100, 1000, 65536)))
            self.assertIn("error", answer, "byte %d" % at)
            self.assert_error(client.api("STREAM.INFO.KV_" + bucket), 404, 10059)
        for cut in range(0, len(snapshot.data), 97):
            answer = archives.restore(client, "KV_" + bucket, snapshot.answer["config"],
                                      snapshot.answer["state"], snapshot.data[:cut])
            self.assert_error(answer, 500, 10062)
        self.assertNotIn("error", self.give(client, snapshot))

    def test_nobody_sees_a_stream_before_it_is_whole(self):
        bucket, client = self.bucket_name(), self.connect()
        self.fill(client, bucket)
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        config = snapshot.answer["config"]
        deliver = client.api_ok("STREAM.RESTORE.KV_" + bucket, {"config": config, "state": {}})[
            "deliver_subject"]
        self.assertRegex(deliver, r"^\$JS\.SNAPSHOT\.RESTORE\.KV_%s\.\w{22}$" % bucket)
        self.assertEqual(client.request(deliver, snapshot.data).data, b"")
        self.assert_error(client.api("STREAM.INFO.KV_" + bucket), 404, 10059)
        self.assert_error(client.api("STREAM.DELETE.KV_" + bucket), 404, 10059)
        self.assert_error(client.api("STREAM.UPDATE.KV_" + bucket, config), 404, 10059)
        self.assert_error(client.api("STREAM.CREATE.KV_" + bucket, config), 400, 10058)
        self.assert_error(client.api("STREAM.RESTORE.KV_" + bucket, {"config": config}), 400, 10130)
        self.assertNotIn("KV_" + bucket, client.api_ok("STREAM.NAMES")["streams"] or [])
        self.assertEqual(client.request("$KV.%s.k" % bucket, b"x").status, "503")
        self.assertEqual(client.request(deliver, b"behind the end").data, b"")
        self.assertNotIn("error", client.request(deliver, b"").json())
        self.assertEqual(client.request(deliver, b"").status, "503")
        self.assert_restored(client, bucket, snapshot)

    def test_a_restore_that_stalls_is_forgotten(self):
        bucket, client = self.bucket_name(), self.connect()
        config = bucket_config(bucket)
        deliver = client.api_ok("STREAM.RESTORE.KV_" + bucket, {"config": config})[
            "deliver_subject"]
        client.request(deliver, archives.START)
        self.assert_error(client.api("STREAM.CREATE.KV_" + bucket, config), 400, 10058)
        poll_until(lambda: "error" not in client.api("STREAM.CREATE.KV_" + bucket, config),
                   deadline_s=30)
        self.assertEqual(client.request(deliver, b"x").status, "503")

    def test_a_chunk_without_reply_ends_it(self):
        bucket, client = self.bucket_name(), self.connect()
        config = bucket_config(bucket)
        deliver = client.api_ok("STREAM.RESTORE.KV_" + bucket, {"config": config})[
            "deliver_subject"]
        client.pub(deliver, archives.START)
        client.flush()
        poll_until(lambda: "error" not in client.api("STREAM.CREATE.KV_" + bucket, config),
                   deadline_s=4)

    def test_killed_within_a_restore(self):
        """All of the stream or nothing of it, wherever the kill falls; and its name is free."""
        bucket, client = self.bucket_name(), self.connect()
        client.bucket_create(bucket)
        for i in range(300):
            client.put(bucket, "k%d" % i, random.Random(i).randbytes(5000))
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        outcomes = set()
        for part in 0.0, 0.5, 0.99, 1.0, 1.0, 1.0:
            client = self.connect()
            deliver = client.api_ok("STREAM.RESTORE.KV_" + bucket,
                                    {"config": snapshot.answer["config"]})["deliver_subject"]
            size = int(len(snapshot.data) * part)
            for at in range(0, size, 100000):
                client.request(deliver, snapshot.data[at:min(at + 100000, size)])
            if part == 1.0:
                client.request_start(deliver, b"")
                time.sleep(random.Random(len(outcomes)).random() / 100)
            self.server.kill()
            self.server.restart()
            client = self.connect()
            is_there = "error" not in client.api("STREAM.INFO.KV_" + bucket)
            outcomes.add(is_there)
            if is_there:
                self.assertEqual(part, 1.0)
                self.assert_restored(client, bucket, snapshot)
                client.api_ok("STREAM.DELETE.KV_" + bucket)
        self.assertIn(False, outcomes)
        self.assertNotIn("error", self.give(client, snapshot))
        self.assert_restored(client, bucket, snapshot)

    def test_with_a_lower_history_than_it_had(self):
        bucket, client = self.bucket_name(), self.connect()
        self.fill(client, bucket, max_msgs_per_subject=5)
        snapshot = self.take(client, bucket)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        config = dict(snapshot.answer["config"], max_msgs_per_subject=1)
        self.assertNotIn("error", self.give(client, snapshot, config=config))
        newest = {e.name: e for e in archives.read_archive(snapshot.data)[2]}
        want = sorted(newest.values(), key=lambda e: e.seq)
        for _ in range(2):
            self.assertEqual(archives.read_archive(self.take(client, bucket).data)[2], want)
            self.server.kill()
            self.server.restart()
            client = self.connect()


class Interchange(RestoreTest):
    """Archives of nats-server on pail and the other way, by the protocol and by the CLI."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        program = require_program("nats-server")
        cls.folder = tempfile.mkdtemp(prefix="pail-e2e-archive-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        ports = os.path.join(cls.folder, "ports")
        os.mkdir(ports)
        cls.other = subprocess.Popen(
            [program, "-js", "-a", "127.0.0.1", "-p", "-1", "-sd",
             os.path.join(cls.folder, "data"), "--ports_file_dir", ports],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(cls.end_other)
        listed = poll_until(lambda: os.listdir(ports))

        def port():
            with open(os.path.join(ports, listed[0])) as file:
                return re.search(r"nats://[^:]+:(\d+)", file.read())

        cls.other_port = int(poll_until(port).group(1))

    @classmethod
    def end_other(cls):
        cls.other.terminate()
        cls.other.wait()

    def connect_other(self):
        client = harness.Client(self.other_port)
        self.addCleanup(client.close)
        return client

    def check(self, source, target, **changes):
        bucket = self.bucket_name()
        self.fill(source, bucket, **changes)
        snapshot = self.take(source, bucket)
        self.assertNotIn("error", self.give(target, snapshot))
        self.assert_restored(target, bucket, snapshot, with_last_time=target.socket.getpeername()[1] == self.server.port)
        last = snapshot.answer["state"]["last_seq"]
        self.assertEqual(target.put(bucket, "next", b"x"), last + 1)
        back = self.take(target, bucket)
        source.api_ok("STREAM.DELETE.KV_" + bucket)
        self.assertNotIn("error", self.give(source, back))
        self.assert_restored(source, bucket, back)

    def test_from_pail_with_history_1(self):
        self.check(self.connect(), self.connect_other())

    def test_from_pail_with_history_5(self):
        self.check(self.connect(), self.connect_other(), max_msgs_per_subject=5)

    def test_from_nats_server_with_history_1(self):
        self.check(self.connect_other(), self.connect())

    def test_from_nats_server_with_history_5(self):
        self.check(self.connect_other(), self.connect(), max_msgs_per_subject=5)

    def test_of_a_bucket_whose_values_expire(self):
        hour = 3600 * 10**9
        self.check(self.connect_other(), self.connect(), max_age=hour, max_msgs_per_subject=2)

    def test_of_20000_keys(self):
        bucket, source, target = self.bucket_name(), self.connect_other(), self.connect()
        source.bucket_create(bucket)
        for start in range(0, 20000, 1000):
            replies = [source.put_start(bucket, "some.key.%d" % i, b"the value of %d " % i * 3)
                       for i in range(start, start + 1000)]
            for reply in replies:
                source.answer(reply)
        snapshot = self.take(source, bucket)
        self.assertNotIn("error", self.give(target, snapshot))
        again = self.take(target, bucket)
        self.assertEqual(plain_state(again.answer["state"]), plain_state(snapshot.answer["state"]))
        self.assertEqual(archives.read_archive(again.data, check=False)[2],
                         archives.read_archive(snapshot.data, check=False)[2])

    def cli(self, port, *args):
        cli = Cli(self.server)
        self.addCleanup(cli.close)
        program = [cli.program, "--server", "nats://127.0.0.1:%d" % port]
        return subprocess.run(program + list(args), env=cli.environment(), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=3 * DEADLINE_S)

    def test_the_commands(self):
        bucket, client, other = self.bucket_name(), self.connect(), self.connect_other()
        self.fill(client, bucket, max_msgs_per_subject=3)
        snapshot = self.take(client, bucket)
        folder = os.path.join(self.folder, bucket)
        done = self.cli(self.server.port, "stream", "backup", "KV_" + bucket, folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.cli(self.server.port, "backup", "validate", folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.cli(self.server.port, "stream", "restore", folder)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("already exist", done.stdout)
        done = self.cli(self.other_port, "stream", "restore", folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_restored(other, bucket, snapshot, False)
        client.api_ok("STREAM.DELETE.KV_" + bucket)
        done = self.cli(self.server.port, "stream", "restore", folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_restored(client, bucket, snapshot)

    def test_all_of_an_account(self):
        client = self.connect()
        for stream in client.api_ok("STREAM.NAMES")["streams"] or []:
            client.api_ok("STREAM.DELETE." + stream)
        buckets = ["account-a", "account-b"]
        for bucket in buckets:
            self.fill(client, bucket)
        snapshots = [self.take(client, bucket) for bucket in buckets]
        folder = os.path.join(self.folder, "account")
        done = self.cli(self.server.port, "account", "backup", "--force", folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        for bucket in buckets:
            client.api_ok("STREAM.DELETE.KV_" + bucket)
        done = self.cli(self.server.port, "account", "restore", folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        for bucket, snapshot in zip(buckets, snapshots):
            self.assert_restored(client, bucket, snapshot)


if __name__ == "__main__":
    main()
