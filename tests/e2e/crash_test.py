"""
tests/e2e/crash_test.py: kill -9 under load, restart, and compare with everything that was promised.

Eight connections write at full speed, pipelined: puts, creates and updates with a revision, deletes
and purges, on keys of their own and on keys they share, into a bucket without history and one with.
At some number of acknowledged writes the server is killed. The next start, on the same folder and
port, is held against a record of every write that was ever sent:

    acked     its revision is known; it must be there, unless something newer took its place
    refused   it must not be there
    unknown   sent, not answered; it may be there, once, at a revision nobody else has
    gone      was unknown, and not to be seen after the restart: it must not turn up later

then the next cycle goes on with the same data. Every write has a token of its own (in a header, for
markers have no value), so that each stored message is recognised.

Known of nats-server 2.15.2, and forgiven to it here: after a kill, values that a purge or the
history limit had removed may be back.

Environment:
    PAIL_CRASH_CYCLES   kills in each test; default 10
    PAIL_CRASH_ACKS     at most so many acknowledged writes between two kills; default 3000
    PAIL_SHARDS         1 or 4: only the tests that begin with that number of shards
    TEST_SEED           replays the choices; the interleaving of eight clients is not replayed
"""

import collections
import os
import random
import threading
import time
import unittest

from harness import DEADLINE_S, Closed, Server, expected, main, server_is_pail

CYCLES = int(os.environ.get("PAIL_CRASH_CYCLES", "10"))
ACKS_MAX = int(os.environ.get("PAIL_CRASH_ACKS", "3000"))
SEED = int(os.environ.get("TEST_SEED", str(random.SystemRandom().randrange(1 << 32))))
CLIENTS = 8
IN_FLIGHT = 16
OWN_KEYS = 40
SHARED_KEYS = 25
TOKEN = "X-Token"
PUT, CAS, DELETE, PURGE = "put", "cas", "delete", "purge"
BUCKETS = {"flat": 1, "deep": 8}  # name: history


class Write:
    """One write that was sent; `revision` is set when it is acked, or found after a restart."""

    __slots__ = ("token", "bucket", "key", "kind", "expected_revision", "value", "state",
                 "revision", "cycle")

    def __init__(self, token, bucket, key, kind, expected_revision, value, cycle):
        self.token = token
        self.bucket = bucket
        self.key = key
        self.kind = kind
        self.expected_revision = expected_revision  # None: any
        self.value = value
        self.state = "unknown"
        self.revision = None
        self.cycle = cycle

    def headers(self):
        fields = [(TOKEN, self.token)]
        if self.kind == DELETE:
            fields.append(("KV-Operation", "DEL"))
        if self.kind == PURGE:
            fields += [("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")]
        if self.expected_revision is not None:
            fields += list(expected(self.expected_revision).items())
        return fields

    def __repr__(self):
        return "%s %s/%s %s expected=%s revision=%s cycle=%d" % (
            self.state, self.bucket, self.key, self.kind, self.expected_revision, self.revision,
            self.cycle)


class Record:
    """Everything that was sent and answered. Shared by the clients; guarded by its lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.writes = {}  # token: Write
        self.newest = collections.Counter()  # (bucket, key): highest revision anybody was told
        self.acked_count = 0
        self.acked_changed = threading.Condition(self.lock)

    def add(self, write):
        with self.lock:
            self.writes[write.token] = write

    def on_ack(self, write, revision):
        with self.lock:
            write.state = "acked"
            write.revision = revision
            self.saw(write.bucket, write.key, revision)
            self.acked_count += 1
            self.acked_changed.notify_all()

    def on_refused(self, write, revision):
        """A refusal names the key's revision: that one is promised, too."""
        with self.lock:
            write.state = "refused"
            self.saw(write.bucket, write.key, revision)

    def saw(self, bucket, key, revision):
        if revision > self.newest[bucket, key]:
            self.newest[bucket, key] = revision

    def wait_for_acks(self, count, deadline_s):
        until = time.monotonic() + deadline_s
        with self.lock:
            while self.acked_count < count and time.monotonic() < until:
                self.acked_changed.wait(until - time.monotonic())
            return self.acked_count >= count


class Load(threading.Thread):
    """One client. Keeps IN_FLIGHT writes on the way until its connection breaks."""

    def __init__(self, server, record, index, cycle, chance):
        super().__init__(daemon=True)
        self.record = record
        self.index = index
        self.cycle = cycle
        self.chance = chance
        self.count = 0
        self.in_flight = {}
        self.failure = None
        self.client = server.connect()

    def choose(self):
        chance = self.chance
        bucket = chance.choice(list(BUCKETS))
        if chance.randrange(3) == 0:
            key = "shared.%d" % chance.randrange(SHARED_KEYS)
        else:
            key = "own.%d.%d" % (self.index, chance.randrange(OWN_KEYS))
        kind = chance.choices((PUT, CAS, DELETE, PURGE), (10, 6, 2, 2))[0]
        expected_revision = None
        if kind == CAS:
            newest = self.record.newest[bucket, key]
            expected_revision = chance.choice((newest, newest, newest, 0, max(newest - 1, 0)))
        token = "%d.%d.%d" % (self.cycle, self.index, self.count)
        self.count += 1
        value = b""
        if kind in (PUT, CAS):
            size = chance.choice((0, 10, 128, 128, 128, 1000, 5000))
            value = (token.encode() + b" " + b"v" * size)[:max(size, len(token))]
        return Write(token, bucket, key, kind, expected_revision, value, self.cycle)

    def send_one(self):
        write = self.choose()
        self.record.add(write)  # before it is sent: from then on it may be stored
        reply = self.client.put_start(write.bucket, write.key, write.value, write.headers())
        self.in_flight[reply] = write

    def take_one(self):
        msg = self.client.next("inbox")
        if msg.subject not in self.in_flight:
            return
        write = self.in_flight.pop(msg.subject)
        answer = msg.json()
        error = answer.get("error")
        if error is None:
            self.record.on_ack(write, answer["seq"])
            return
        words = error["description"].split(": ")
        if error["err_code"] != 10071 or write.kind != CAS or words[0] != "wrong last sequence":
            raise AssertionError("%r: %r" % (write, answer))
        if int(words[1]) == write.expected_revision:
            raise AssertionError("refused although right: %r: %r" % (write, answer))
        self.record.on_refused(write, int(words[1]))

    def run(self):
        try:
            while True:
                while len(self.in_flight) < IN_FLIGHT:
                    self.send_one()
                self.take_one()
        except (Closed, OSError):
            pass  # the kill
        except Exception as failure:  # reported by the test's own thread
            self.failure = failure


class Crash(unittest.TestCase):
    def run_cycles(self, shards):
        """Kills and restarts; the server takes the numbers of shards in turn."""
        asked = os.environ.get("PAIL_SHARDS")
        if asked and asked != str(shards[0]):
            self.skipTest("PAIL_SHARDS asks for another number")
        if shards != [1] and not server_is_pail():
            self.skipTest("the server has no --shards")
        print("TEST_SEED=%d shards=%s" % (SEED, shards), flush=True)
        self.chance = random.Random(SEED)
        self.record = Record()
        self.server = Server(shards=shards[0])
        self.addCleanup(self.server.close)
        with self.server.connect() as client:
            for bucket, history in BUCKETS.items():
                client.bucket_create(bucket, max_msgs_per_subject=history)
        self.cycle = 0
        self.addCleanup(lambda: print("cycles: %d; %s" % (self.cycle, dict(collections.Counter(
            write.state for write in self.record.writes.values()))), flush=True))
        while self.cycle < CYCLES:
            self.load_and_kill(self.cycle)
            self.server.shards = shards[(self.cycle + 1) % len(shards)]
            self.server.start(self.server.port)
            self.check()
            self.cycle += 1

    def load_and_kill(self, cycle):
        loads = [Load(self.server, self.record, index, cycle,
                      random.Random(self.chance.randrange(1 << 32))) for index in range(CLIENTS)]
        target = self.record.acked_count + self.chance.randrange(1, ACKS_MAX)
        for load in loads:
            load.start()
        reached = self.record.wait_for_acks(target, 6 * DEADLINE_S)
        failures = [load.failure for load in loads if load.failure]
        self.server.kill()
        for load in loads:
            load.join(3 * DEADLINE_S)
            load.client.close()
            failures += [load.failure] if load.failure and load.failure not in failures else []
        if failures:
            raise failures[0]
        self.assertTrue(reached, "the load did not get through")

    # After the restart -------------------------------------------------------------------------

    def check(self):
        with self.server.connect() as client:
            for bucket, history in BUCKETS.items():
                state = client.stream_state(bucket)
                stored = self.read_all(client, bucket, state["messages"])
                self.check_bucket(client, bucket, history, state, stored)
                self.check_writes(client, bucket, state["last_seq"])

    def read_all(self, client, bucket, count):
        """All messages of the bucket by a consumer, as {key: [(revision, Msg)…]}, ascending."""
        answer = client.consumer_create(bucket, "check", deliver_subject="check." + bucket,
                                        deliver_policy="all")
        self.assertEqual(answer.get("num_pending"), count, answer)
        client.sub("check." + bucket, sid="check")
        stored = collections.defaultdict(list)
        last = 0
        for number in range(count):
            msg = client.next("check")
            ack = msg.ack()
            self.assertEqual(ack.pending_count, count - number - 1)
            self.assertGreater(ack.stream_seq, last)
            last = ack.stream_seq
            stored[msg.subject.split(".", 2)[2]].append((ack.stream_seq, msg))
        client.unsub("check")
        client.api_ok("CONSUMER.DELETE.KV_%s.check" % bucket)
        return stored

    def check_bucket(self, client, bucket, history, state, stored):
        self.recognise(bucket, history, stored)
        acked = collections.defaultdict(list)
        for write in self.record.writes.values():
            if write.bucket == bucket:
                if write.state == "unknown":
                    write.state = "gone"
                elif write.state == "acked":
                    acked[write.key].append(write)
        revisions = [write.revision for writes in acked.values() for write in writes]
        self.assertEqual(len(revisions), len(set(revisions)), "one revision for two writes")
        for (of_bucket, key), revision in self.record.newest.items():
            if of_bucket == bucket:
                self.assertGreaterEqual(state["last_seq"], revision, key)
        for key, writes in acked.items():
            writes.sort(key=lambda write: write.revision)
            self.check_key(client, bucket, key, history, writes, stored.get(key, []))

    def recognise(self, bucket, history, stored):
        """Each stored message is one of ours, was not refused, and is what was sent."""
        for key, messages in stored.items():
            self.assertLessEqual(len(messages), history, key)
            for revision, msg in messages:
                write = self.record.writes.get(msg.header(TOKEN))
                self.assertIsNotNone(write, "a message nobody sent: %r" % msg)
                self.assertEqual((write.bucket, write.key), (bucket, key), write)
                self.assertEqual(msg.data, write.value, write)
                self.assertEqual(msg.headers.fields, write.headers(), write)
                if write.state == "gone" and not server_is_pail():
                    continue
                self.assertIn(write.state, ("acked", "unknown"), write)
                if write.state == "unknown":  # until now: from here on it is promised, too
                    write.state = "acked"
                    write.revision = revision
                    self.record.saw(bucket, key, revision)
                self.assertEqual(revision, write.revision, write)

    def check_key(self, client, bucket, key, history, acked, messages):
        present = [revision for revision, _ in messages]
        newest = present[-1] if present else 0
        self.assertGreaterEqual(newest, self.record.newest[bucket, key],
                                "what was seen is gone: %s/%s %r" % (bucket, key, acked[-5:]))
        last_purge = max((write.revision for write in acked if write.kind == PURGE), default=0)
        for write in acked:
            if write.revision in present:
                if server_is_pail():
                    self.assertGreaterEqual(write.revision, last_purge, "is back: %r" % write)
                continue
            # An acked write is missing only if a purge or a full history has removed it.
            self.assertTrue(
                write.revision < last_purge or
                (len(present) == history and write.revision < present[0]),
                "lost: %r; present %r; acked %r" % (write, present, acked[-10:]))
        # Compare and set decided right: nothing stands between a write and what it expected.
        for before, write in zip(acked, acked[1:]):
            if write.kind == CAS:
                self.assertLessEqual(before.revision, write.expected_revision,
                                     "%r in spite of %r" % (write, before))
        msg = client.direct_get(bucket, key)
        self.assertEqual(int(msg.header("Nats-Sequence")), newest)
        self.assertEqual(msg.header(TOKEN), messages[-1][1].header(TOKEN))

    def check_writes(self, client, bucket, last_seq):
        """Compare and set goes on from what is there."""
        keys = sorted({key for (b, key) in self.record.newest if b == bucket})
        for number, key in enumerate(self.chance.sample(keys, min(20, len(keys)))):
            newest = int(client.direct_get(bucket, key).header("Nats-Sequence"))
            for stale in (newest - 1, newest + 1, 0):
                answer = client.update(bucket, key, "stale", stale)
                self.assertEqual(answer.get("error", {}).get("description"),
                                 "wrong last sequence: %d" % newest, answer)
            token = "check.%d.%s.%d" % (len(self.record.writes), bucket, number)
            write = Write(token, bucket, key, CAS, newest, token.encode(), -1)
            self.record.add(write)
            answer = client.publish_kv(bucket, key, write.value, write.headers())
            self.assertEqual(answer.get("seq"), last_seq + 1, answer)
            last_seq = answer["seq"]
            self.record.on_ack(write, last_seq)

    def test_kill_under_load_with_one_shard(self):
        self.run_cycles([1])

    def test_kill_under_load_with_four_shards(self):
        self.run_cycles([4])

    def test_kill_under_load_with_another_number_of_shards_each_time(self):
        """The number of shards may change between two starts on the same data."""
        self.run_cycles([4, 1, 2, 3])


if __name__ == "__main__":
    main()
