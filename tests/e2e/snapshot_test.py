"""
STREAM.SNAPSHOT and STREAM.RESTORE: archives that hold exactly the state at one sequence, and come back as they were.

Tests with nats-server beside pail need its program; those with the CLI need `nats`.
"""

import threading
import time
import unittest

import archives
from harness import (DEADLINE_S, ServerTest, bucket_config, main, poll_until)


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


if __name__ == "__main__":
    main()
