"""
tests/e2e/monitoring_test.py: what exporters, nats-top and probes read of the monitoring port.
"""

import json
import os
import tempfile
import unittest
import urllib.error
import urllib.request

from harness import Server, main, poll_until


class Monitoring(unittest.TestCase):
    def start(self, config=""):
        folder = tempfile.TemporaryDirectory(prefix="pail-monitoring-")
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "x.conf")
        with open(path, "w") as file:
            file.write('http: "127.0.0.1:-1"\n' + config)
        server = Server("-c", path)
        self.addCleanup(server.close)
        self.port = int(server.wait_for_log(r"http monitor on 127\.0\.0\.1:(\d+)").group(1))
        return server

    def get(self, path):
        """Status and text."""
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (self.port, path)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path):
        status, text = self.get(path)
        self.assertEqual(status, 200, text)
        return json.loads(text)

    def connect(self, server):
        client = server.connect()
        self.addCleanup(client.close)
        return client

    def test_varz_tells_what_is_configured(self):
        self.start('server_tags: ["id:abc"]\nserver_metadata { k: v }\nmax_connections: -1\n'
                   "jetstream { max_mem_store: 2MB, max_file_store: 1MB }\n"
                   'websocket { host: "127.0.0.1", port: -1, no_tls: true }\n')
        varz = self.json("/varz")
        self.assertEqual(varz["tags"], ["id:abc"])
        self.assertEqual(varz["metadata"], {"k": "v"})
        self.assertEqual(varz["max_connections"], -1)
        self.assertEqual(varz["jetstream"]["config"]["max_memory"], 2097152)
        self.assertEqual(varz["jetstream"]["config"]["max_storage"], 1048576)
        self.assertGreater(varz["websocket"]["port"], 0)
        self.assertRegex(varz["config_digest"], "^sha256:[0-9a-f]{64}$")
        self.assertEqual(varz["http_req_stats"], {"/varz": 1})
        self.assertGreater(varz["mem"], 0)

    def test_jsz_tells_the_totals(self):
        server = self.start()
        client = self.connect(server)
        client.bucket_create("b")
        client.put("b", "k", "value")
        client.api_ok("STREAM.CREATE.M", {"name": "M", "subjects": ["m"], "storage": "memory",
                                          "max_bytes": 1000})
        client.request("m", b"x" * 100)
        client.sub("deliver", sid="9")
        client.api_ok("CONSUMER.CREATE.KV_b", {"stream_name": "KV_b", "config": {
            "deliver_subject": "deliver", "ack_policy": "none"}})
        poll_until(lambda: self.json("/jsz")["messages"] == 2)
        jsz = self.json("/jsz")
        self.assertEqual((jsz["streams"], jsz["reserved_memory"], jsz["accounts"]), (2, 1000, 1))
        self.assertGreater(jsz["memory"], 100)
        self.assertGreater(jsz["storage"], 0)

    def test_healthz(self):
        self.start()
        for path, status, text in (
                ("", 200, '{"status":"ok"}'), ("?js-enabled-only=true", 200, '{"status":"ok"}'),
                ("?js-server-only=1", 200, '{"status":"ok"}'),
                ("?stream=s", 400, '{"status":"error","error":"\\"account\\" must not be empty when '
                                   'checking stream health"}'),
                ("?account=X", 404, '{"status":"unavailable","error":"JetStream account \\"X\\" not '
                                    'found"}'),
                ("?stream=a&details=1", 400, '{"status":"error","errors":[{"type":"BAD_REQUEST",'
                 '"error":"\\"account\\" must not be empty when checking stream health"}]}')):
            self.assertEqual(self.get("/healthz" + path), (status, text))

    def test_bad_parameters(self):
        self.start()
        for path, words in (
                ("/connz?limit=a", "Error decoding int for 'limit': strconv.Atoi: parsing \"a\": "
                                   "invalid syntax"),
                ("/jsz?streams=x", "Error decoding boolean for 'streams': strconv.ParseBool: "
                                   "parsing \"x\": invalid syntax"),
                ("/accountz?acc=ZZ", "Account ZZ does not exist")):
            self.assertEqual(self.get(path), (400, words + "\n"))
        self.assertEqual(self.get("/nothing")[0], 404)

    def test_a_base_path(self):
        self.start("http_base_path: /base\n")
        self.assertEqual(self.get("/base/varz")[0], 200)
        self.assertEqual(self.get("/base")[0], 200)
        self.assertEqual(self.get("/varz")[0], 404)

    def test_pages_of_what_is_not_there(self):
        server = self.start()
        client = self.connect(server)
        client.sub("a", sid="1")
        client.flush()
        self.assertEqual(self.json("/routez")["routes"], [])
        self.assertEqual(self.json("/gatewayz")["outbound_gateways"], {})
        self.assertEqual(self.json("/leafz")["leafs"], [])
        self.assertIn("$G", self.json("/accountz")["accounts"])
        detail = self.json("/accountz?acc=$G")["account_detail"]
        self.assertIs(detail["jetstream_enabled"], True)
        poll_until(lambda: self.json("/subsz")["num_subscriptions"] >= 1)
        self.assertEqual(len(self.json("/connz?limit=5")["connections"]), 1)


if __name__ == "__main__":
    main()
