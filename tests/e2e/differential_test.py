"""
tests/e2e/differential_test.py: nats-server and pail hear the same scripts and must show the same.

Scripts are made up from a seed (differential_script.py), played on both servers step by step
(differential_player.py), and all that came of each step is compared: answers, deliveries in their
order, and at the end everything that is stored. differential_rules.py lists what may differ, and
why. A script that shows another difference is cut down to the steps it needs, and printed.

Environment:
    TEST_SEED         plays scripts from this seed on; default 1, `random` looks further; printed
    TEST_STEPS        how many steps to play; default 10000
    TEST_SCRIPT       plays the script in this file, as a failing run prints it
    DIFFERENCES_MAX   how many failing scripts to look for before giving up; default 3
"""

import json
import os
import random
import sys
import time
import unittest

from differential_player import Side, play_step
from differential_rules import GAPS, make_rules, unexplained
from differential_script import write_script
from harness import Server, main, require_program, server_is_pail

SCRIPT_STEPS = 110
STEPS = int(os.environ.get("TEST_STEPS", "10000"))
DIFFERENCES_MAX = int(os.environ.get("DIFFERENCES_MAX", "3"))
REPLAYS = 3
SHRINK_S = 25


class Reference(Server):
    """The nats-server to compare with."""

    def command(self, port):
        return [require_program("nats-server"), "-a", "127.0.0.1", "-p", str(port), "-sd", self.store,
                "-js"]


class Comparison:
    """Two running servers, and what was compared so far."""

    def __init__(self, reference, pail):
        self.sides = [Side(reference.port), Side(pail.port)]
        self.rules = make_rules()
        self.step_count = 0
        self.script_count = 0

    def close(self):
        for side in self.sides:
            side.close()

    def play(self, steps):
        """The first step with a difference nobody explains, as (index, differences), or None."""
        self.script_count += 1
        tag = "%05d" % self.script_count
        for side in self.sides:
            side.reset(tag)
        try:
            for index, step in enumerate(steps):
                self.step_count += 1
                rest = unexplained(self.rules, step, *play_step(self.sides, step))
                if rest:
                    return index, rest
            return None
        finally:
            self.clean_up()

    def clean_up(self):
        for side in self.sides:
            for subject in list(side.sids):
                side.unsubscribe(subject)
            for name in side.ask("STREAM.NAMES").get("streams") or []:
                side.ask("STREAM.DELETE." + name)
            side.hear()

    def shrink(self, steps, failed_at):
        """A shorter script that shows a difference, as far as there is time."""
        until = time.monotonic() + SHRINK_S
        steps = steps[:failed_at + 1]
        chunk = max(1, len(steps) // 2)
        while chunk >= 1 and time.monotonic() < until:
            start = 0
            while start < len(steps) - 1 and time.monotonic() < until:
                fewer = steps[:start] + steps[min(start + chunk, len(steps) - 1):]
                failed = self.play(fewer)
                if failed is not None:
                    steps = fewer[:failed[0] + 1]
                else:
                    start += chunk
            chunk = chunk // 2
        return steps

    def tell(self, steps):
        """The script for people, with what it shows now."""
        failed = self.play(steps)
        lines = ["  " + json.dumps(step) for step in steps]
        if failed is None:
            return "\n".join(lines + ["  shows no difference any more"])
        for path, reference, pail in failed[1][:6]:
            lines.append("  at step %d %s\n    nats-server: %s\n    pail:        %s"
                         % (failed[0] + 1, path, cut(reference), cut(pail)))
        return "\n".join(lines)


def cut(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 600 else text[:600] + "…"


class Differential(unittest.TestCase):
    def setUp(self):
        require_program("nats-server")
        self.reference = Reference()
        self.addCleanup(self.reference.close)
        self.pail = Server()
        self.addCleanup(self.pail.close)
        self.comparison = Comparison(self.reference, self.pail)
        self.addCleanup(self.comparison.close)

    def test_both_show_the_same(self):
        if "TEST_SCRIPT" in os.environ:
            with open(os.environ["TEST_SCRIPT"]) as lines:
                steps = [json.loads(line) for line in lines if line.strip()]
            self.assertIsNone(self.comparison.play(steps), self.comparison.tell(steps))
            return
        seed = os.environ.get("TEST_SEED", "1")
        seed = random.randrange(1 << 32) if seed == "random" else int(seed)
        print("TEST_SEED=%d TEST_STEPS=%d" % (seed, STEPS), flush=True)
        idle = self.play_witnesses()
        failures = self.play_scripts(seed)
        self.tell_rules()
        self.assertTrue(self.pail.is_alive(), self.pail.log_text())
        self.assertFalse(failures, "%d scripts show differences:\n%s"
                         % (len(failures), "\n".join(failures)))
        if server_is_pail():
            self.assertFalse(idle, "rules whose difference is gone; take them out of the list")

    def play_witnesses(self):
        """The rules whose own script shows no such difference any more."""
        idle = []
        for rule in self.comparison.rules:
            if rule.witness:
                before = rule.count
                failed = self.comparison.play(rule.witness)
                self.assertIsNone(failed, "the witness of %s shows something else" % rule.name)
                if rule.count == before:
                    idle.append(rule.name)
        return idle

    def play_scripts(self, seed):
        failures = []
        played = 0
        while played < STEPS and len(failures) < DIFFERENCES_MAX:
            steps = write_script(seed, SCRIPT_STEPS, GAPS)
            failed = self.comparison.play(steps)
            played += len(steps)
            if failed is not None:
                found = self.confirm(steps, seed)
                if found:
                    failures.append(found)
            seed += 1
        print("%d steps played" % played, flush=True)
        return failures

    def confirm(self, steps, seed):
        """
        What a difference comes to, or None if three replays do not show it again: then it hangs on
        the moment (nats-server tells its consumers of a message after it acknowledged it).
        """
        for _ in range(REPLAYS):
            failed = self.comparison.play(steps)
            if failed is not None:
                short = self.comparison.shrink(steps, failed[0])
                return "TEST_SEED=%d\n%s" % (seed, self.comparison.tell(short))
        print("seed %d: a difference that did not come again" % seed, flush=True)
        return None

    def tell_rules(self):
        for rule in self.comparison.rules:
            print("%s %-28s explained %5d differences: %s%s"
                  % ("gap " if rule.is_gap else "rule", rule.name, rule.count, rule.reason,
                     "" if rule.count else " (NONE: take it out)"))
        for gap, reason in sorted(GAPS.items()):
            print("gap  %-30s %s" % (gap, reason))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
