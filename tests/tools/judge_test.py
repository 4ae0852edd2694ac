"""tests/tools/judge_test.py: tests/judge tells a failed, a leaking and a skipped program from a passing one."""

import os
import subprocess
import unittest

JUDGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "judge")


def judge(script, **environment):
    environment = {**os.environ, "PAIL_REQUIRE_PEERS": "0", **environment}
    return subprocess.run([JUDGE, "bash", "-c", script], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL).returncode


class Judge(unittest.TestCase):
    def test_passes_on_the_exit_code(self):
        for code in (0, 1, 77, 134):
            self.assertEqual(judge("exit %d" % code), code)

    def test_fails_a_program_that_leaked(self):
        self.assertEqual(judge("echo '==1==ERROR: LeakSanitizer: detected memory leaks' >&2"), 1)

    def test_fails_a_program_with_a_race(self):
        self.assertEqual(judge("echo 'WARNING: ThreadSanitizer: data race (pid=1)'"), 1)

    def test_reports_a_skipped_test(self):
        self.assertEqual(judge("echo '[SKIP] put::full: needs root'"), 77)

    def test_does_not_let_a_skipped_test_hide_a_failed_one(self):
        self.assertEqual(judge("echo '[SKIP] put::full: needs root'; exit 1"), 1)

    def test_fails_where_peers_are_required(self):
        skip = "echo '[SKIP] put::cli: peer missing: nats'"
        self.assertEqual(judge(skip), 77)
        self.assertEqual(judge(skip, PAIL_REQUIRE_PEERS="1"), 1)


if __name__ == "__main__":
    unittest.main()
