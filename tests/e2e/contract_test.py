"""
tests/e2e/contract_test.py: each row of the Key/Value contract, as the official clients show it.

The rows are in programs of their own beside this file (go/contract, node/contract.mjs, python/contract.py); each takes the
server's URL, prints "ok: <row>" or "failed: <row>: <why>" for each row and exits with 1 if one failed. What must be
installed is what clients_test.py needs. They were written against nats-server, and are to pass with it:

    PAIL_SERVER=$(command -v nats-server) python3 tests/e2e/contract_test.py
"""

import os
import re
import shutil
import subprocess
import sys

from clients_test import ClientTest
from harness import DEADLINE_S, HERE, main


class Contract(ClientTest):
    def run_rows(self, command, count_at_least, **environment):
        done = subprocess.run(command + [self.server.url], env=dict(os.environ, **environment),
                              cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30 * DEADLINE_S)
        text = done.stdout.decode(errors="replace")
        rows = re.findall(r"^(ok|failed): ", text, re.MULTILINE)
        failed = "\n".join(line for line in text.split("\n") if not line.startswith("ok: "))
        self.assertEqual((done.returncode, rows.count("failed")), (0, 0), failed)
        self.assertGreaterEqual(rows.count("ok"), count_at_least, text)

    def test_nats_go(self):
        self.run_rows([self.build_go("./contract")], 40)

    def test_nats_js(self):
        node = self.node_with_packages()
        program = shutil.copy(os.path.join(HERE, "node", "contract.mjs"), self.folder)
        self.run_rows([node, program], 20)

    def test_nats_py(self):
        self.run_rows([sys.executable, os.path.join(HERE, "python", "contract.py")], 15,
                      PYTHONPATH=self.python_path())


if __name__ == "__main__":
    main()
