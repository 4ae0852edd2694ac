"""
tests/e2e/clients_test.py: one small session with each official client.

The sessions are programs of their own beside this file; each takes the server's URL and a bucket's
name, checks every answer, prints ok and exits 0. What must be installed, below PAIL_PEERS (default:
build/peers), each by the language's own installer:

    go       Go >= 1.26 on PATH, and the module github.com/nats-io/nats.go v1.55.0 with what it
             needs; GOMODCACHE in gopath/pkg/mod if that folder exists. To fill it:
             cd tests/e2e/go && GOPATH=<peers>/gopath go mod download
    node     Node >= 20 on PATH, and in node/:
             npm install @nats-io/kv@3.4.0 @nats-io/jetstream@3.4.0 @nats-io/transport-node@3.4.0
    python   pip install --target <peers>/python nats-py==2.16.0
    c        Debian's packages libnats-dev and pkg-config, and a compiler (apt-get install)
"""

import os
import shutil
import subprocess
import sys
import tempfile

from harness import DEADLINE_S, HERE, ServerTest, main, missing_peer, peers_dir, require_program


class ClientTest(ServerTest):
    """A folder for what is built, and the clients' packages; a test ends as skipped where one is missing."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pail-e2e-clients-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def build(self, command, **environment):
        """Builds a session; False if what it needs is not there."""
        done = subprocess.run(command, env=dict(os.environ, **environment),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60 * DEADLINE_S)
        if done.returncode != 0:
            print(done.stdout.decode(errors="replace"))
        return done.returncode == 0

    def build_go(self, package):
        """The path of the program that a package of tests/e2e/go makes."""
        go = require_program("go")
        gopath = os.path.join(peers_dir(), "gopath")
        environment = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOPROXY": "off"}
        if os.path.isdir(gopath):
            environment["GOPATH"] = gopath
        program = os.path.join(self.folder, "program")
        if not self.build([go, "build", "-C", os.path.join(HERE, "go"), "-o", program, package],
                          **environment):
            missing_peer("the Go module github.com/nats-io/nats.go is not installed")
        return program

    def node_with_packages(self):
        """The path of node; a program in the test's folder finds the packages."""
        node = require_program("node")
        modules = os.environ.get("NODE_PATH") or os.path.join(peers_dir(), "node", "node_modules")
        if not os.path.isdir(os.path.join(modules, "@nats-io", "kv")):
            missing_peer("the package @nats-io/kv is not installed in " + modules)
        # import looks beside the program only, whatever NODE_PATH says.
        os.symlink(modules, os.path.join(self.folder, "node_modules"))
        return node

    def python_path(self):
        """The PYTHONPATH under which nats-py is found."""
        packages = os.path.join(peers_dir(), "python")
        path = os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))
        found = subprocess.run([sys.executable, "-c", "import nats"], stderr=subprocess.DEVNULL,
                               env=dict(os.environ, PYTHONPATH=path), timeout=3 * DEADLINE_S)
        if found.returncode != 0:
            missing_peer("the package nats-py is not installed in " + packages)
        return path


class Clients(ClientTest):
    def run_session(self, command, **environment):
        done = subprocess.run(command + [self.server.url, self.bucket_name()],
                              env=dict(os.environ, **environment), cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=12 * DEADLINE_S)
        text = done.stdout.decode(errors="replace")
        self.assertEqual((done.returncode, text.strip().split("\n")[-1]), (0, "ok"), text)

    def test_nats_go(self):
        self.run_session([self.build_go(".")])

    def test_nats_js(self):
        node = self.node_with_packages()
        program = shutil.copy(os.path.join(HERE, "node", "session.mjs"), self.folder)
        self.run_session([node, program])

    def test_nats_py(self):
        self.run_session([sys.executable, os.path.join(HERE, "python", "session.py")],
                         PYTHONPATH=self.python_path())

    def test_libnats(self):
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if not compiler:
            missing_peer("there is no C compiler")
        if not os.path.exists("/usr/include/nats/nats.h"):
            missing_peer("the package libnats-dev is not installed")
        program = os.path.join(self.folder, "session")
        self.assertTrue(self.build([compiler, "-std=c17", "-Wall", "-Wextra", "-Werror", "-o",
                                    program, os.path.join(HERE, "c", "session.c"), "-lnats"]))
        self.run_session([program])


if __name__ == "__main__":
    main()
