"""
tests/e2e/compaction_test.py: the log stays small whatever is overwritten, and nothing is lost on the way.

Keys that are written once lie among keys that are written over and over: without compaction each of the log's files would
keep some of the first and stay for ever.
"""

import os
import time

from harness import SANITIZED, Server, ServerTest, main, poll_until

COLD = 800 if SANITIZED else 1500
HOT_EACH = 12          # hot writes for each cold one
HOT_KEYS = 20
HOT_BYTES = 8000
SEGMENT_BYTES = 2 << 20
WINDOW = 100           # writes in flight


class Compaction(ServerTest):
    @classmethod
    def setUpClass(cls):
        pass

    def setUp(self):
        self.server = Server("--segment_bytes", str(SEGMENT_BYTES))
        self.addCleanup(self.server.close)
        self.client = self.connect()
        self.bucket = "b"

    def log_bytes(self):
        folder = os.path.join(self.server.store, "jetstream", "log")
        if not os.path.isdir(folder):
            folder = next(path for path, _, files in os.walk(self.server.store)
                          if any(name.endswith(".segment") for name in files))
        total = 0
        for name in os.listdir(folder):
            try:
                total += os.path.getsize(os.path.join(folder, name))
            except FileNotFoundError:
                pass  # recycled meanwhile
        return total

    def take_ack(self, reply):
        self.assertNotIn("error", self.client.answer(reply).json())

    def write(self, first, count):
        """Cold keys from `first` on, and hot ones between; the last revision of each hot key."""
        replies = []
        hot = {}
        for n in range(first, first + count):
            replies.append(self.client.put_start(self.bucket, "cold.%d" % n, b"%d" % n * 20))
            for i in range(HOT_EACH):
                key = "hot.%d" % ((n * HOT_EACH + i) % HOT_KEYS)
                value = b"%d.%d " % (n, i) + b"x" * HOT_BYTES
                replies.append(self.client.put_start(self.bucket, key, value))
                hot[key] = value
            while len(replies) > WINDOW:
                self.take_ack(replies.pop(0))
        for reply in replies:
            self.take_ack(reply)
        return hot

    def check(self, cold_count, hot):
        for n in range(cold_count):
            msg = self.client.direct_get(self.bucket, "cold.%d" % n)
            self.assertEqual(msg.data, b"%d" % n * 20, n)
        for key, value in hot.items():
            self.assertEqual(self.client.direct_get(self.bucket, key).data, value, key)
        state = self.client.stream_state(self.bucket)
        self.assertEqual(state["messages"], cold_count + HOT_KEYS)

    def limit_bytes(self):
        """Twice what lives and the slack; of each shard the file in use, and spares."""
        shards = int(self.server.shards or 1)
        living = COLD * 300 + HOT_KEYS * (HOT_BYTES + 200)
        return 2 * living + shards * (2 + 1 + 4 + 1) * SEGMENT_BYTES

    def wait_until_small(self):
        poll_until(lambda: self.log_bytes() <= self.limit_bytes(), 60, "a log of %d bytes"
                   % self.limit_bytes())

    def test_the_log_stays_small(self):
        self.client.bucket_create(self.bucket)
        hot = self.write(0, COLD)
        self.assertGreater(COLD * HOT_EACH * HOT_BYTES, self.limit_bytes())
        self.wait_until_small()
        self.check(COLD, hot)
        self.server.restart()
        self.client = self.connect()
        self.check(COLD, hot)

    def test_a_kill_while_records_are_moved(self):
        self.client.bucket_create(self.bucket)
        step = COLD // 4
        hot = {}
        for round_number in range(4):
            hot = self.write(round_number * step, step)
            time.sleep(0.15 * round_number)  # at different places
            port = self.server.port
            self.server.kill()
            self.server.start(port)
            self.client = self.connect()
            self.check((round_number + 1) * step, hot)
        self.write(0, 1)
        self.wait_until_small()

    def test_another_number_of_shards(self):
        self.client.bucket_create(self.bucket)
        hot = self.write(0, COLD)
        self.server.stop()
        self.server.shards = 3
        self.server.start()
        self.client = self.connect()
        self.check(COLD, hot)
        hot = self.write(0, COLD // 4)
        self.wait_until_small()
        self.check(COLD, hot)


if __name__ == "__main__":
    main()
