"""
tests/e2e/storm_test.py: watches under an overwrite storm, and one connection that does not wait.

100 watchers with histories of 1, 5 and 64 values, with filters, begin while four connections overwrite
few keys as fast as they can; some read late, and the server restarts in the middle. Each of them must
hear strictly ascending sequences, no message twice, a consumer sequence without a gap, exact pending
counts, the end of its initial values exactly once, and at last the newest value of every key.
"""

import random
import threading

import api_test
from harness import SANITIZED, SECOND_NS, main

WATCHERS = 24 if SANITIZED else 100
KEYS = ["g%d.k%d" % (number % 4, number) for number in range(24)]


class Storm(api_test.ApiTest):
    def begin(self, client, name, group, policy="last_per_subject", **config):
        deliver = "storm.%s.%s" % (self.bucket, name)
        subject_filter = "$KV.%s.%s" % (self.bucket, ">" if group is None else "g%d.*" % group)
        fields = {"deliver_policy": policy, "filter_subject": subject_filter,
                  "flow_control": True, "idle_heartbeat": 5 * SECOND_NS,
                  "inactive_threshold": 60 * SECOND_NS}
        fields.update(config)
        client.sub(deliver, sid=name)
        answer = client.consumer_create(self.bucket, name, deliver_subject=deliver, **fields)
        self.assertNotIn("error", answer)
        return answer

    def read(self, client, name, created, newest):
        """Reads until every key's newest revision was heard."""
        last = consumer_seq = ends = 0
        heard = {}
        expected = created["num_pending"]
        missing = dict(newest)
        if expected == 0:
            ends = 1
        while missing:
            msg = client.next(name)
            if msg.status is not None:
                if msg.reply:
                    client.pub(msg.reply)
                continue
            ack = msg.ack()
            self.assertGreater(ack.stream_seq, last)
            self.assertEqual(ack.consumer_seq, consumer_seq + 1)
            last, consumer_seq = ack.stream_seq, ack.consumer_seq
            if ack.pending_count == 0 and ends == 0:
                ends = 1
            key = msg.subject.split(".", 2)[2]
            heard.setdefault(key, []).append(ack.stream_seq)
            if missing.get(key) == ack.stream_seq:
                del missing[key]
        self.assertEqual(ends, 1)
        self.assertEqual(ack.pending_count, 0)
        self.assertEqual({key: seqs[-1] for key, seqs in heard.items()}, newest)
        return heard

    def storm(self, history):
        self.fresh_bucket()
        self.create(max_msgs_per_subject=history)
        for key in KEYS:
            self.put(key, "first")
        writers = [self.connect() for _ in range(4)]
        newest, written, lock = {}, {key: [] for key in KEYS}, threading.Lock()

        def write(client, part):
            for number in range(60):
                replies = [(key, client.put_start(self.bucket, key, "v%d" % number))
                           for key in part]
                for key, reply in replies:
                    seq = client.answer(reply).json()["seq"]
                    with lock:
                        newest[key] = max(seq, newest.get(key, 0))
                        written[key].append(seq)

        threads = [threading.Thread(target=write, args=(client, KEYS[i::4]))
                   for i, client in enumerate(writers)]
        for thread in threads:
            thread.start()
        readers = [self.connect() for _ in range(8)]
        watches = []
        for number in range(WATCHERS // 3):
            client = readers[number % len(readers)]
            group = None if number % 3 == 0 else number % 4
            name = "w%d" % number
            watches.append((client, name, group, self.begin(client, name, group)))
        for thread in threads:
            thread.join()
        for client, name, group, created in watches:  # the last ones are slow: they were not read
            wanted = {key: seq for key, seq in newest.items()
                      if group is None or key.startswith("g%d." % group)}
            heard = self.read(client, name, created, wanted)
            for key, seqs in heard.items():
                if history == 64:  # nothing is superseded beyond it: all from the first on
                    self.assertEqual(seqs[1:], [seq for seq in written[key] if seq > seqs[0]])
            info = self.client.api_ok("CONSUMER.INFO.%s.%s" % (self.stream, name))
            self.assertEqual(info["num_pending"], 0)
            self.assertEqual(info["delivered"]["consumer_seq"],
                             sum(len(seqs) for seqs in heard.values()))
        for client in readers + writers:
            client.close()

    def test_history_1(self):
        self.storm(1)

    def test_history_5(self):
        self.storm(5)

    def test_history_64(self):
        self.storm(64)

    def test_a_watch_goes_on_over_a_restart_of_server_and_client(self):
        self.create(max_msgs_per_subject=5)
        newest = {}
        for _ in range(5):
            newest.update({key: self.put(key, "x") for key in KEYS})
        created = self.begin(self.client, "w", None, mem_storage=None)
        self.assertEqual(created["num_pending"], len(KEYS))
        heard = [self.client.next("w").ack() for _ in range(10)]
        self.assertEqual([ack.pending_count for ack in heard],
                         [len(KEYS) - 1 - i for i in range(10)])
        self.client.flush()
        rest = [self.client.next("w").ack() for _ in range(len(KEYS) - 10)]
        self.client.close()
        self.server.stop()
        self.server.start()
        self.client = self.connect()
        self.client.sub("storm.%s.w" % self.bucket, sid="w")
        self.client.flush()
        order = random.Random(1).sample(KEYS, len(KEYS))
        seqs = [self.put(key, "y") for key in order]
        again = [self.client.next("w").ack() for _ in seqs]
        self.assertEqual([ack.stream_seq for ack in again], seqs)
        self.assertEqual([ack.consumer_seq for ack in again],
                         list(range(rest[-1].consumer_seq + 1,
                                    rest[-1].consumer_seq + 1 + len(seqs))))


class OneConnection(api_test.ApiTest):
    def test_10000_keys_without_waiting_are_sequenced_as_sent(self):
        self.create()
        count = 2000 if SANITIZED else 10_000
        replies = [self.client.put_start(self.bucket, "k%d" % number, b"v")
                   for number in range(count)]
        seqs = [self.client.answer(reply).json()["seq"] for reply in replies]
        self.assertEqual(seqs, list(range(1, count + 1)))


if __name__ == "__main__":
    main()
