"""
tests/e2e/diskfull_test.py: a full disk is an answer, not an accident.

The store lies on a small tmpfs, beside a file that only takes up room. Puts go on until they are
refused; then reads and deletes must still work, and everything heals when the file is removed.

Needs root, for the mount. Environment:
    PAIL_DISKFULL_MIB   size of the tmpfs; default 192, of which the file takes half
"""

import os
import shutil
import subprocess
import tempfile

from harness import (DEADLINE_S, DELETE_MARKER, PURGE_MARKER, Server, ServerTest, bucket_config, main,
                     poll_until, server_is_pail)

MIB = 1 << 20
DISK_MIB = int(os.environ.get("PAIL_DISKFULL_MIB", "192"))
VALUE_BYTES = 64 * 1024
REFUSALS = 50
CONSUMERS_MAX = 1100  # more than a stream may have
LONG_KEY_BYTES = 3900  # what the control line takes
SMALL = 10000  # purges enough, of a block each, to fill what a segment has left
BUCKET = "full"


class DiskFull(ServerTest):
    @classmethod
    def setUpClass(cls):
        pass  # each test has a disk and a server of its own

    def setUp(self):
        if os.geteuid() != 0:
            print("skipped: mounting a tmpfs needs root", flush=True)
            self.skipTest("mounting a tmpfs needs root")
        self.disk = tempfile.mkdtemp(prefix="pail-e2e-disk-")
        self.addCleanup(shutil.rmtree, self.disk, ignore_errors=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % DISK_MIB, "tmpfs",
                                  self.disk], stderr=subprocess.PIPE, text=True)
        if mounted.returncode != 0:
            print("skipped: no tmpfs: " + mounted.stderr, flush=True)
            self.skipTest("no tmpfs: " + mounted.stderr)
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)
        self.filler = os.path.join(self.disk, "filler")
        with open(self.filler, "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, DISK_MIB // 2 * MIB)
        self.server = Server(store=os.path.join(self.disk, "data"))
        self.addCleanup(self.server.close)
        self.client = self.connect()
        self.client.bucket_create(BUCKET)
        self.acked = {}  # key: (revision, value), for the newest write of each key

    def value(self, key):
        return (key.encode() + b" ").ljust(VALUE_BYTES, b"v")

    def put(self, key, value, headers=None):
        """One write; True if it was acked. A refusal must be one that says why."""
        answer = self.client.publish_kv(BUCKET, key, value, headers)
        self.assertEqual(answer["stream"], "KV_" + BUCKET)
        if "error" not in answer:
            self.acked[key] = (answer["seq"], value)
            return True
        self.assertEqual((answer["error"]["code"], answer["seq"]), (503, 0), answer)
        self.assertIn(answer["error"]["err_code"], (10023, 10077), answer)
        self.assertTrue(answer["error"]["description"])
        return False

    def fill(self):
        """
        Puts new keys until REFUSALS in a row are refused: each shard fills up by itself, and a key
        is on one of them. Returns how many went in.
        """
        refused_count = 0
        for number in range(DISK_MIB * MIB // VALUE_BYTES + 20 * REFUSALS):
            key = "key.%d" % number
            refused_count = 0 if self.put(key, self.value(key)) else refused_count + 1
            if refused_count == REFUSALS:
                return len(self.acked)
        self.fail("more was acked than the disk can hold")

    def fill_reserve(self):
        """Delete markers, each of a key of its own, until they are refused as well."""
        refused_count = 0
        for number in range(DISK_MIB * MIB // LONG_KEY_BYTES):
            key = ("marker.%d." % number).ljust(LONG_KEY_BYTES, "m")
            is_acked = self.put(key, b"", DELETE_MARKER)
            refused_count = 0 if is_acked else refused_count + 1
            if refused_count == REFUSALS:
                break
        self.assertEqual(refused_count, REFUSALS)

    def create(self, bucket):
        return self.client.api("STREAM.CREATE.KV_" + bucket, bucket_config(bucket))

    def purge(self, key):
        return self.client.api("STREAM.PURGE.KV_" + BUCKET, {"filter": "$KV.%s.%s" % (BUCKET, key)})

    def check_acked(self):
        for key, (revision, value) in self.acked.items():
            msg = self.client.direct_get(BUCKET, key)
            self.assertEqual(msg.header("Nats-Sequence"), str(revision), key)
            self.assertEqual(msg.data, value, key)

    def test_puts_are_refused_with_an_error_and_reads_go_on(self):
        count = self.fill()
        self.assertGreater(count, 20)
        last_seq = self.client.stream_state(BUCKET)["last_seq"]
        for number in range(20):
            self.assertFalse(self.put("more.%d" % number, self.value("more")))
        # Refused before it was sequenced: a refusal costs no sequence.
        self.assertEqual(self.client.stream_state(BUCKET)["last_seq"], last_seq)
        self.assertEqual(last_seq, count)
        self.check_acked()
        self.assertEqual(self.client.direct_get(BUCKET, "more.1").status, "404")

    def test_pipelined_puts_are_all_answered(self):
        replies = {}
        for number in range(DISK_MIB * MIB // VALUE_BYTES + 200):
            key = "key.%d" % number
            replies[self.client.put_start(BUCKET, key, self.value(key))] = key
        refused_count = 0
        while replies:
            msg = self.client.next("inbox", 3 * DEADLINE_S)
            key = replies.pop(msg.subject)
            answer = msg.json()
            if "error" in answer:
                refused_count += 1
                self.assertIn(answer["error"]["err_code"], (10023, 10077), answer)
            else:
                self.acked[key] = (answer["seq"], self.value(key))
        self.assertGreaterEqual(refused_count, 200)
        self.check_acked()

    def test_removals_are_done_or_refused_but_never_left_waiting(self):
        if not server_is_pail():
            self.skipTest("nats-server writes no record of a removal")
        for number in range(SMALL):
            self.client.put_start(BUCKET, "small.%d" % number, b"small")
        for _ in range(SMALL):
            self.assertNotIn("error", self.client.next("inbox").json())
        self.fill()
        self.fill_reserve()
        keys = ["small.%d" % number for number in range(SMALL)]
        kept = keys[::8]  # so that no segment becomes free
        refused, purged_count = [], 0
        for key in keys:
            if key in kept:
                continue
            answer = self.purge(key)
            if "error" in answer:
                self.assertEqual(answer["error"]["err_code"], 10023, answer)
                self.assertEqual(self.client.direct_get(BUCKET, key).data, b"small")
                refused.append(key)
                if len(refused) == REFUSALS:
                    break
            else:
                self.assertEqual(answer["purged"], 1)
                purged_count += 1
        self.assertGreater(purged_count, 0)
        self.assertEqual(len(refused), REFUSALS)

        # A watch is a read; a consumer that wants a record is refused in time.
        def listen(name, in_memory):
            return self.client.consumer_create(BUCKET, name, deliver_subject="deliver." + name,
                                               mem_storage=in_memory)
        self.assertNotIn("error", listen("memory", True))
        answer = {}
        for number in range(CONSUMERS_MAX):
            answer = listen("file%d" % number, False)
            if "error" in answer:
                break
        self.assertIn(answer["error"]["err_code"], (10023, 10026), answer)

        os.unlink(self.filler)
        for key in refused:
            poll_until(lambda: "error" not in self.purge(key), what="room for a purge")
        self.server.restart()
        self.client = self.connect()
        self.check_acked()
        for key in kept:
            self.assertEqual(self.client.direct_get(BUCKET, key).data, b"small")
        for key in refused:
            self.assertEqual(self.client.direct_get(BUCKET, key).status, "404")

    def test_the_removal_of_a_bucket_heals_a_full_disk(self):
        if not server_is_pail():
            self.skipTest("nats-server keeps the limit it set at start")
        self.fill()
        self.fill_reserve()
        self.assertEqual(self.create("other")["error"]["err_code"], 10023)
        self.assertTrue(self.client.api_ok("STREAM.DELETE.KV_" + BUCKET)["success"])
        self.acked = {}
        poll_until(lambda: "error" not in self.create(BUCKET), what="room for a bucket")
        for number in range(50):
            key = "after.%d" % number
            poll_until(lambda: self.put(key, self.value(key)), what="room for a put")
        self.server.restart()
        self.client = self.connect()
        self.check_acked()

    def test_deletes_go_on_and_all_heals_when_space_returns(self):
        if not server_is_pail():
            self.skipTest("nats-server refuses deletes too, and keeps the limit it set at start")
        count = self.fill()
        keys = sorted(self.acked)
        for number in range(0, 40, 2):
            self.assertTrue(self.put(keys[number], b"", DELETE_MARKER))
            self.assertTrue(self.put(keys[number + 1], b"", PURGE_MARKER))
        self.check_acked()
        self.assertEqual(self.client.stream_state(BUCKET)["last_seq"], count + 40)

        # A crash on a full disk: the next start needs no room that is not there.
        self.server.kill()
        self.server.start(self.server.port)
        self.client = self.connect()
        self.check_acked()
        self.assertTrue(self.put(keys[40], b"", DELETE_MARKER))

        os.unlink(self.filler)
        healed = ["healed.%d" % number for number in range(20)]  # on all shards
        for key in healed:
            poll_until(lambda: self.put(key, self.value(key)), what="room for a put")
        for number in range(50):
            key = "after.%d" % number
            self.assertTrue(self.put(key, self.value(key)))
        self.check_acked()
        self.server.restart()
        self.client = self.connect()
        self.check_acked()
        self.assertTrue(self.put("restarted", self.value("restarted")))


if __name__ == "__main__":
    main()
