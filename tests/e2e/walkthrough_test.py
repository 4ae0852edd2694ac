"""
tests/e2e/walkthrough_test.py: the Key/Value walkthrough of the NATS documentation, with the CLI.

What the `nats` program prints is compared where people and scripts read it: the texts of results
and errors, and the exit code. Times, sizes and the frames of tables are not.
"""

import concurrent.futures
import re

from harness import Cli, ServerTest, main, poll_until

KEY_EXISTS = (r"nats: error: nats: nats: API error: code=400 err_code=10071 "
              r"description=wrong last sequence: %d: key exists\n")
REVISION_MISMATCH = (r"nats: error: nats: nats: API error: code=400 err_code=10071 "
                     r"description=wrong last sequence: %d: nats: key revision mismatch\n")


class CliTest(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cli = Cli(cls.server)
        cls.addClassCleanup(cls.cli.close)

    def setUp(self):
        self.bucket = self.bucket_name()

    def run_ok(self, *args, **options):
        """The command's standard output; the command must succeed."""
        done = self.cli.run(*args, **options)
        self.assertEqual(done.returncode, 0, done)
        return done.stdout

    def run_refused(self, pattern, *args, **options):
        """The command must fail with exit code 1 and the error text."""
        done = self.cli.run(*args, **options)
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stderr, "^%s$" % pattern)

    def kv(self, *args, **options):
        return self.run_ok("kv", *args, **options)

    def add(self, *args):
        return self.kv("add", self.bucket, *args)

    def revision(self, key):
        return int(re.search(r"revision: (\d+) ", self.kv("get", self.bucket, key)).group(1))


class Account(CliTest):
    def test_account_info_describes_the_connection_and_jetstream(self):
        text = self.run_ok("account", "info")
        for pattern in (r"^Account Information$",
                        r"^ +Account: \$G \(\$G\)$",
                        r"^ +Client IP: 127\.0\.0\.1$",
                        r"^ +Headers Supported: true$",
                        r"^ +Maximum Payload: 1\.0 MiB$",
                        r"^ +Connected URL: nats://127\.0\.0\.1:%d$" % self.server.port,
                        r"^ +Connected Server ID: N[A-Z2-7]{55}$",
                        r"^ +Connected Server Version: \d+\.\d+\.\d+$",
                        r"^ +TLS Connection: no$",
                        r"^JetStream Account Information:$",
                        r"^ +Storage: .* of Unlimited ?$",
                        r"^ +Streams: \d+ of Unlimited ?$",
                        r"^ +Consumers: Unlimited$"):
            self.assertRegex(text, re.compile(pattern, re.MULTILINE))

    def test_account_info_counts_streams(self):
        self.add()
        text = self.run_ok("account", "info")
        streams = re.search(r"^ +Streams: (\d+)$", text, re.MULTILINE)
        self.assertGreaterEqual(int(streams.group(1)), 1)


class AccountWithoutJetStream(CliTest):
    server_options = {"jetstream": False}

    def test_account_info_says_that_jetstream_is_not_supported(self):
        text = self.run_ok("account", "info")
        self.assertIn("JetStream is not supported in this account", text)

    def test_kv_commands_say_that_nobody_answers(self):
        self.run_refused("nats: error: nats: API error: code=503 err_code=10076 "
                         "description=jetstream not enabled\n", "kv", "add", "b")
        self.run_refused("nats: error: nats: no responders available for request\n",
                         "kv", "get", "b", "k")


class Walkthrough(CliTest):
    def test_add_shows_the_new_bucket(self):
        text = self.add("--history", "5", "--description", "a desc", "--max-value-size", "1024")
        for pattern in (r"^Information for Key-Value Store Bucket %s created " % self.bucket,
                        r"^ +Bucket Name: %s$" % self.bucket,
                        r"^ +History Kept: 5$",
                        r"^ +Values Stored: 0$",
                        r"^ +Description: a desc$",
                        r"^ +Bucket Size: 0 B$",
                        r"^ +Maximum Bucket Size: unlimited$",
                        r"^ +Maximum Value Size: 1\.0 KiB$",
                        r"^ +Maximum Age: unlimited$",
                        r"^ +JetStream Stream: KV_%s$" % self.bucket,
                        r"^ +Storage: File$",
                        r"^ +Leader: \S+$"):
            self.assertRegex(text, re.compile(pattern, re.MULTILINE))

    def test_add_twice_is_fine_but_not_with_another_configuration(self):
        self.add()
        self.add()
        self.run_refused("nats: error: nats: bucket name already in use: %s\n"
                         "nats: API error: code=400 err_code=10058 "
                         "description=stream name already in use\n" % self.bucket,
                         "kv", "add", self.bucket, "--history", "3")

    def test_put_and_get(self):
        self.add()
        self.assertEqual(self.kv("put", self.bucket, "Key1", "Value1"), "Value1\n")
        self.assertRegex(self.kv("get", self.bucket, "Key1"),
                         r"^%s > Key1 revision: 1 created @ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n\n"
                         r"Value1\n" % self.bucket)
        self.assertEqual(self.kv("get", self.bucket, "Key1", "--raw"), "Value1")

    def test_get_of_a_revision(self):
        self.add("--history", "2")
        self.kv("put", self.bucket, "k", "one")
        self.kv("put", self.bucket, "k", "two")
        self.assertEqual(self.kv("get", self.bucket, "k", "--revision", "1", "--raw"), "one")
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), "two")
        self.run_refused("nats: error: nats: key not found\n",
                         "kv", "get", self.bucket, "k", "--revision", "3")

    def test_values_from_standard_input_come_back_byte_for_byte(self):
        self.add()
        value = "line one\nline two\n\ttabs, 'quotes' and ünïcödé\n"
        self.kv("put", self.bucket, "k", input=value)
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), value)

    def test_del_hides_the_key_and_is_harmless_on_a_missing_one(self):
        self.add()
        self.kv("put", self.bucket, "k", "v")
        self.assertEqual(self.kv("del", self.bucket, "k", "-f"), "")
        self.run_refused("nats: error: nats: key not found\n", "kv", "get", self.bucket, "k")
        self.assertEqual(self.kv("del", self.bucket, "never", "-f"), "")
        self.run_refused("nats: error: nats: key not found\n", "kv", "get", self.bucket, "never")
        self.assertEqual(self.kv("ls", self.bucket), "No keys found in bucket\n")

    def test_del_without_force_needs_a_terminal(self):
        self.add()
        self.run_refused("nats: error: cannot ask for confirmation without a terminal\n",
                         "kv", "del", self.bucket, "k")

    def test_create_is_refused_while_the_key_lives(self):
        self.add()
        self.assertEqual(self.kv("create", self.bucket, "k", "one"), "one\n")
        self.run_refused(KEY_EXISTS % 1, "kv", "create", self.bucket, "k", "two")
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), "one")

    def test_create_works_again_after_a_delete(self):
        self.add()
        self.kv("create", self.bucket, "k", "one")
        self.kv("del", self.bucket, "k", "-f")
        self.kv("create", self.bucket, "k", "two")
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), "two")

    def test_twenty_concurrent_creates_have_one_winner(self):
        self.add()
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            runs = list(pool.map(lambda n: self.cli.run("kv", "create", self.bucket, "sem", n),
                                 range(20)))
        winners = [done for done in runs if done.returncode == 0]
        losers = [done for done in runs if done.returncode != 0]
        self.assertEqual(len(winners), 1, runs)
        for done in losers:
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, "^%s$" % (KEY_EXISTS % 1))
        self.assertEqual(self.kv("get", self.bucket, "sem", "--raw"), winners[0].stdout.strip())

    def test_update_takes_the_right_revision_and_refuses_the_stale_one(self):
        self.add()
        self.kv("put", self.bucket, "k", "one")
        self.assertEqual(self.kv("update", self.bucket, "k", "two", "1"), "two\n")
        self.run_refused(REVISION_MISMATCH % 2, "kv", "update", self.bucket, "k", "three", "1")
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), "two")
        self.run_refused(r'nats: error: strconv\.ParseUint: parsing "x": invalid syntax\n',
                         "kv", "update", self.bucket, "k", "v", "x")

    def test_a_bucket_with_a_ttl_is_a_lease(self):
        self.add("--ttl", "1s")
        self.kv("create", self.bucket, "lock", "first")
        self.run_refused(KEY_EXISTS % 1, "kv", "create", self.bucket, "lock", "second")

        # The lease ends by itself; a watcher is not told, so the wait is by asking.
        client = self.connect()
        poll_until(
            lambda: client.direct_get(self.bucket, "lock").status == "404",
            what="the end of the lease")
        self.kv("create", self.bucket, "lock", "third")
        self.assertEqual(self.kv("get", self.bucket, "lock", "--raw"), "third")

    def watch(self, *args):
        command = self.cli.start("kv", "watch", self.bucket, *args)
        self.addCleanup(command.stop)
        return command

    def test_watch_on_a_bucket_sees_put_and_delete(self):
        self.add()
        self.kv("put", self.bucket, "before", "old")
        watch = self.watch()
        line = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] %s " + self.bucket + " > %s$"
        watch.wait_for(line % ("PUT", "before: old"))
        self.kv("put", self.bucket, "k1", "v1")
        watch.wait_for(line % ("PUT", "k1: v1"))
        self.kv("put", self.bucket, "k2", "v2")
        watch.wait_for(line % ("PUT", "k2: v2"))
        self.kv("del", self.bucket, "k1", "-f")
        watch.wait_for(line % ("DELETE", "k1"))
        self.kv("purge", self.bucket, "k2", "-f")
        watch.wait_for(line % ("PURGE", "k2"))

    def test_watch_on_one_key_sees_that_key_only(self):
        self.add()
        watch = self.watch("k1")
        # Nothing is printed before the first change; the watch is on once the stream counts it.
        client = self.connect()
        poll_until(lambda: client.stream_state(self.bucket)["consumer_count"] == 1)
        self.kv("put", self.bucket, "other", "x")
        self.kv("put", self.bucket, "k1", "v1")
        watch.wait_for(r"PUT %s > k1: v1$" % self.bucket)
        self.kv("del", self.bucket, "k1", "-f")
        watch.wait_for(r"DELETE %s > k1$" % self.bucket)
        self.assertNotIn(b"other", watch.text)

    def test_watch_with_history_and_for_updates_only(self):
        self.add("--history", "3")
        self.kv("put", self.bucket, "k", "one")
        self.kv("put", self.bucket, "k", "two")
        history = self.watch("--history")
        history.wait_for(r"PUT %s > k: one$" % self.bucket)
        history.wait_for(r"PUT %s > k: two$" % self.bucket)
        updates = self.watch("--updates")
        client = self.connect()
        poll_until(lambda: client.stream_state(self.bucket)["consumer_count"] == 2)
        self.kv("put", self.bucket, "k", "three")
        updates.wait_for(r"PUT %s > k: three$" % self.bucket)
        self.assertNotIn(b"two", updates.text)

    def test_history_lists_values_and_deletes(self):
        self.add("--history", "5")
        self.kv("put", self.bucket, "a", "one")
        self.kv("put", self.bucket, "a", "two")
        self.kv("put", self.bucket, "b", "other")
        self.kv("del", self.bucket, "a", "-f")
        text = self.kv("history", self.bucket, "a")
        self.assertIn("History for %s > a" % self.bucket, text)
        rows = re.findall(r"│ a +│ +(\d+) │ (\w+) +│ [^│]+ │ (\d+) +│ (\w*) +│", text)
        self.assertEqual(rows, [("1", "PUT", "3", "one"), ("2", "PUT", "3", "two"),
                                ("4", "DELETE", "0", "")])
        self.run_refused("nats: error: nats: key not found\n", "kv", "history", self.bucket, "no")

    def test_revert_brings_an_old_revision_back(self):
        self.add("--history", "5")
        self.kv("put", self.bucket, "a", "one")
        self.kv("put", self.bucket, "a", "two")
        self.kv("revert", self.bucket, "a", "1", "--force")
        self.assertEqual(self.kv("get", self.bucket, "a", "--raw"), "one")
        self.assertEqual(self.revision("a"), 3)

    def test_ls_lists_buckets(self):
        self.add("--description", "shown")
        self.assertRegex(self.kv("ls"), r"│ %s +│ shown +│" % self.bucket)
        self.assertIn(self.bucket, self.kv("ls", "-n").split("\n"))

    def test_ls_of_a_bucket_lists_its_live_keys(self):
        self.add()
        for key in ("c.1", "a", "b", "c.2"):
            self.kv("put", self.bucket, key, key.upper())
        self.kv("del", self.bucket, "b", "-f")
        self.assertEqual(self.kv("ls", self.bucket), "c.1\na\nc.2\n")
        self.assertEqual(self.kv("ls", self.bucket, "c.*"), "c.1\nc.2\n")
        table = self.kv("ls", self.bucket, "-v", "--display-value")
        self.assertIn("Contents for bucket '", table)
        self.assertRegex(table, r"│ c\.1 +│.*│ +1 │ C\.1 +│")

    def test_info_shows_what_is_stored(self):
        self.add("--history", "2")
        self.kv("put", self.bucket, "k", "v")
        self.kv("put", self.bucket, "k", "w")
        text = self.kv("info", self.bucket)
        self.assertRegex(text, r"(?m)^ +Values Stored: 2$")
        self.assertRegex(text, r"(?m)^ +Bucket Size: [1-9]\d* B$")
        self.assertEqual(text, self.kv("status", self.bucket))

    def test_edit_changes_the_history(self):
        self.add("--history", "2")
        self.assertRegex(self.kv("edit", self.bucket, "--history", "4"),
                         r"(?m)^ +History Kept: 4$")

    def test_purge_leaves_nothing_but_its_marker(self):
        self.add("--history", "5")
        for value in ("one", "two", "three"):
            self.kv("put", self.bucket, "k", value)
        self.assertEqual(self.kv("purge", self.bucket, "k", "-f"), "")
        self.run_refused("nats: error: nats: key not found\n", "kv", "get", self.bucket, "k")
        rows = re.findall(r"│ k +│ +(\d+) │ (\w+) +│", self.kv("history", self.bucket, "k"))
        self.assertEqual(rows, [("4", "PURGE")])

    def test_compact_removes_the_markers_of_deleted_keys(self):
        self.add()
        self.kv("put", self.bucket, "live", "v")
        self.kv("put", self.bucket, "dead", "v")
        self.kv("del", self.bucket, "dead", "-f")
        self.kv("compact", self.bucket, "-f")
        self.assertEqual(self.kv("get", self.bucket, "live", "--raw"), "v")
        self.run_refused("nats: error: nats: key not found\n", "kv", "get", self.bucket, "dead")

    def test_rm_of_a_key_and_of_the_bucket(self):
        self.add()
        self.kv("put", self.bucket, "k", "v")
        self.assertEqual(self.kv("rm", self.bucket, "k", "-f"), "")
        self.assertEqual(self.kv("rm", self.bucket, "-f"), "")
        self.run_refused("nats: error: nats: bucket not found\n", "kv", "get", self.bucket, "k")
        self.assertNotIn(self.bucket, self.kv("ls", "-n").split("\n"))
        self.run_refused("nats: error: nats: bucket not found: %s\n"
                         "nats: API error: code=404 err_code=10059 description=stream not found\n"
                         % self.bucket, "kv", "rm", self.bucket, "-f")

    def test_a_bucket_of_the_same_name_starts_anew(self):
        self.add()
        self.kv("put", self.bucket, "k", "old")
        self.kv("rm", self.bucket, "-f")
        self.add()
        self.run_refused("nats: error: nats: key not found\n", "kv", "get", self.bucket, "k")
        self.kv("put", self.bucket, "k", "new")
        self.assertEqual(self.revision("k"), 1)

    def test_data_survive_a_restart(self):
        self.add("--history", "3")
        self.kv("put", self.bucket, "k", "one")
        self.kv("put", self.bucket, "k", "two")
        self.kv("put", self.bucket, "gone", "x")
        self.kv("del", self.bucket, "gone", "-f")
        self.server.restart()
        self.assertEqual(self.kv("get", self.bucket, "k", "--raw"), "two")
        self.assertEqual(self.kv("ls", self.bucket), "k\n")
        rows = re.findall(r"│ k +│ +(\d+) │ (\w+) +│", self.kv("history", self.bucket, "k"))
        self.assertEqual(rows, [("1", "PUT"), ("2", "PUT")])
        self.run_refused(REVISION_MISMATCH % 2, "kv", "update", self.bucket, "k", "x", "1")


class ErrorTexts(CliTest):
    def test_every_command_on_a_missing_bucket(self):
        missing = "nats: error: nats: bucket not found\n"
        for command in (("get", "nope", "k"), ("put", "nope", "k", "v"),
                        ("create", "nope", "k", "v"), ("update", "nope", "k", "v", "1"),
                        ("del", "nope", "k", "-f"), ("purge", "nope", "k", "-f"),
                        ("history", "nope", "k"), ("watch", "nope"), ("info", "nope"),
                        ("compact", "nope", "-f"), ("revert", "nope", "k", "1", "--force")):
            with self.subTest(command=command[0]):
                self.run_refused(missing, "kv", *command)
        self.run_refused("nats: error: unable to load bucket: nats: bucket not found\n",
                         "kv", "ls", "nope")

    def test_bad_names_and_limits(self):
        self.add()
        self.run_refused("nats: error: nats: invalid bucket name\n", "kv", "add", "bad.name")
        self.run_refused("nats: error: nats: invalid key\n", "kv", "put", self.bucket, "a..b", "v")
        self.run_refused("nats: error: nats: invalid key: key cannot be empty and must be a "
                         "valid NATS subject\n", "kv", "history", self.bucket, "a..b")
        self.run_refused("nats: error: history: must be less than or equal to 64\n",
                         "kv", "add", "toomuch", "--history", "65")
        self.run_refused("nats: error: nats: API error: code=500 err_code=10074 "
                         "description=replicas > 1 not supported in non-clustered mode\n",
                         "kv", "add", "replicated", "--replicas", "3")

    def test_a_value_that_is_too_large(self):
        self.add("--max-value-size", "10")
        self.kv("put", self.bucket, "k", "0123456789")
        self.run_refused("nats: error: nats: nats: API error: code=400 err_code=10054 "
                         "description=message size exceeds maximum allowed\n",
                         "kv", "put", self.bucket, "k", "0123456789x")

    def test_a_full_bucket(self):
        self.add("--max-bucket-size", "200")
        self.kv("put", self.bucket, "a", "x" * 100)
        done = self.cli.run("kv", "put", self.bucket, "b", "x" * 100)
        self.assertEqual(done.returncode, 1)
        self.assertIn("err_code=10077 description=maximum bytes exceeded", done.stderr)

    def test_a_ttl_on_a_bucket_that_does_not_allow_them(self):
        self.add()
        done = self.cli.run("kv", "create", self.bucket, "k", "v", "--ttl", "1m")
        self.assertEqual(done.returncode, 1)
        self.assertIn("err_code=10166 description=per-message TTL is disabled", done.stderr)

    def test_revert_in_a_bucket_without_history(self):
        self.add()
        self.kv("put", self.bucket, "k", "v")
        self.run_refused("nats: error: cannot revert key in a bucket where history=1\n",
                         "kv", "revert", self.bucket, "k", "1", "--force")


class EmptyServer(CliTest):
    def test_lists_say_that_there_is_nothing(self):
        self.assertEqual(self.kv("ls"), "No Key-Value buckets found\n")
        self.assertEqual(self.kv("ls", "-n"), "")

    def test_server_check_kv(self):
        done = self.cli.run("server", "check", "kv", "--bucket", "nob")
        self.assertEqual(done.returncode, 2)
        self.assertIn("CRITICAL nob Crit:bucket nob not found", done.stdout)


if __name__ == "__main__":
    main()
