"""
tests/e2e/differential_script.py: scripts of requests and publishes, made up from a seed.

A script is a list of steps (differential_player.py) on names of its own. It is made without a look at
any answer, so that it can be cut to pieces; a light model of what should exist by now keeps most
steps sensible. Each script has a theme, for odd configurations and full buckets need other
company than deliveries do. The last steps look at everything that is left, and remove it.
"""

import random

from differential_values import (CONSUMER_FIELDS, FIELDS, HEADERS, MINUTE, OVER_SHARDS, SECOND, SOME_SEQ,
                                 SOME_SUBJECT)

STREAMS = ("A@", "B@", "KV_b@", "KV_c@")
KEYS = ("k1", "k2", "k3", "dir.a", "dir.b", "dir.sub.c")
TAILS = ("x", "y", "z", "x.1", "x.2", "y.long.tail")
VALUES = ("", "v", "value", "a longer value with blanks", "x" * 100, "x" * 1000, "\u00fcml\u00e4ut")
THEMES = ("bucket", "bucket", "bucket", "limits", "stream", "config", "headers", "reads", "consumers",
          "consumers", "consumer_config", "api")


def choice_of(rng, weighted):
    """One of [(weight, thing), ...]."""
    return rng.choices([thing for _, thing in weighted], [weight for weight, _ in weighted])[0]


class Writer:
    """Writes one script."""

    def __init__(self, seed, step_count, gaps):
        self.rng = random.Random(seed)
        self.step_count = step_count
        self.gaps = gaps
        self.theme = self.rng.choice(THEMES)
        self.headers, self.fields, self.consumer_fields = (
            {name: values for name, values in table.items() if name not in self.gaps}
            for table in (HEADERS, FIELDS, CONSUMER_FIELDS))
        if "republish to a stream" not in self.gaps:
            self.fields["republish"] = FIELDS["republish"] + [{"src": ">", "dest": "a@.>"}]
        self.steps = []
        self.streams = {}    # name -> the configuration that should be there
        self.consumers = {}  # (stream, name) -> deliver subject or None
        self.subscribed = set()
        self.message_count = 0
        self.has_unnamed = False  # a made-up name, and so any place in a list

    def write(self):
        for _ in range(self.rng.randint(1, 2)):
            self.create_stream()
        while len(self.steps) < self.step_count:
            choice_of(self.rng, ACTIONS[self.theme])(self)
        self.finish()
        return self.steps

    def add(self, do, **step):
        self.steps.append(dict(step, do=do))

    def api(self, subject, body=None, **more):
        self.add("api", subject=subject, **({} if body is None else {"body": body}), **more)

    def one_in(self, count):
        return self.rng.randrange(count) == 0

    # Names -------------------------------------------------------------------------------------

    def any_stream(self):
        if self.streams and not self.one_in(40):
            return self.rng.choice(sorted(self.streams))
        return self.rng.choice(STREAMS + ("NONE@",))

    def subject_of(self, stream):
        """A literal subject that the stream should capture."""
        if stream.startswith("KV_"):
            return "$KV.%s.%s" % (stream[3:], self.rng.choice(KEYS))
        return "%s.%s" % (stream.lower(), self.rng.choice(TAILS))

    def prefix_of(self, stream):
        return "$KV.%s" % stream[3:] if stream.startswith("KV_") else stream.lower()

    def filter_of(self, stream):
        prefix = self.prefix_of(stream)
        return self.rng.choice([
            prefix + ".>", ">", prefix + ".*", self.subject_of(stream), self.subject_of(stream),
            prefix + ".dir.>", prefix + ".*.*", "*.>", prefix + ".none", "other.>"])

    def any_seq(self):
        return self.rng.choice([0, 1, 2, 3, self.rng.randint(1, max(1, self.message_count)),
                                self.rng.randint(1, max(1, self.message_count)),
                                self.message_count, self.message_count + 1, 100_000])

    # Streams -----------------------------------------------------------------------------------

    def base_config(self, name):
        rng = self.rng
        if name.startswith("KV_"):
            config = {"name": name, "subjects": [self.prefix_of(name) + ".>"],
                      "max_msgs_per_subject": rng.choice([1, 1, 1, 2, 5, 64]), "discard": "new",
                      "allow_rollup_hdrs": True, "deny_delete": rng.random() < 0.8,
                      "allow_direct": rng.random() < 0.9, "num_replicas": 1,
                      "max_msgs": -1, "max_bytes": -1, "max_age": 0}
        else:
            config = {"name": name, "subjects": [self.prefix_of(name) + ".>"],
                      "allow_direct": rng.random() < 0.7}
            if rng.random() < 0.4:
                config["max_msgs_per_subject"] = rng.choice([1, 2, 3])
            if rng.random() < 0.3:
                config["allow_rollup_hdrs"] = True
        config["storage"] = "memory" if rng.random() < 0.25 else "file"
        return config

    def limit_config(self, name):
        config = self.base_config(name)
        rng = self.rng
        config["discard"] = rng.choice(["old", "new"])
        if rng.random() < 0.5:
            config["max_msgs"] = rng.choice([1, 2, 5, 10])
        if rng.random() < 0.5:
            config["max_bytes"] = rng.choice([100, 200, 300, 1000, 4000])
        if rng.random() < 0.4:
            config["max_msg_size"] = rng.choice([5, 30, 60, 100, 500])
        if (config["discard"] == "new" and rng.random() < 0.3
                and "discard_new_per_subject" not in self.gaps):
            config["discard_new_per_subject"] = True
            config["max_msgs_per_subject"] = rng.choice([1, 2, 3])
        return config

    def changed_config(self, config):
        """The configuration with a few fields of any value at all."""
        config = dict(config)
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            field = self.rng.choice(sorted(self.fields))
            config[field] = self.rng.choice(self.fields[field])
        return config

    def create_stream(self, name=None):
        rng = self.rng
        name = name or rng.choice(STREAMS if self.theme != "bucket" else STREAMS[2:])
        config = self.limit_config(name) if self.theme == "limits" else self.base_config(name)
        if self.theme == "config" or self.one_in(8):
            config = self.changed_config(config)
        self.api("STREAM.CREATE." + name, config)
        self.streams.setdefault(name, config)

    def create_again(self):
        name = self.any_stream()
        if name in self.streams and not self.one_in(3):
            self.api("STREAM.CREATE." + name, self.streams[name])
        else:
            self.create_stream()

    def update_stream(self):
        name = self.any_stream()
        config = self.streams.get(name) or self.base_config(name)
        if not self.one_in(6):
            changed = self.changed_config(config)
            if name.startswith("KV_") and "bucket updates" in self.gaps:
                for field in ("subjects", "subject_transform"):
                    changed.pop(field, None)
                    if field in config:
                        changed[field] = config[field]
            config = changed
        self.api("STREAM.UPDATE." + name, config)
        if self.one_in(2):
            self.streams[name] = config

    def delete_stream(self):
        name = self.any_stream()
        self.api("STREAM.DELETE." + name, self.rng.choice([None, None, None, {}, {"a": 1}, "null", " "]))

    def stream_info(self):
        body = self.rng.choice([None, None, {}, "null", {"deleted_details": True},
                                {"subjects_filter": ">"}, {"subjects_filter": "nothing"},
                                {"subjects_filter": ">", "deleted_details": True},
                                {"subjects_filter": ">", "offset": 1}, {"offset": -1},
                                {"subjects_filter": ">", "offset": 100}, {"unknown": 1},
                                {"deleted_details": False, "subjects_filter": None, "offset": None}])
        name = self.any_stream()
        if self.one_in(4):
            body = {"subjects_filter": self.filter_of(name)}
        self.api("STREAM.INFO." + name, body)

    def list_streams(self):
        name = self.any_stream()
        body = self.rng.choice([None, {}, {"offset": 0}, {"offset": 1}, {"offset": 100}, {"offset": -3},
                                {"subject": self.subject_of(name)}, {"subject": self.filter_of(name)},
                                {"subject": "$KV.*.>", "offset": 0}, {"subject": ""},
                                {"subject": "a..b"}, {"subject": 5}, "[]", "x"])
        self.api(self.rng.choice(["STREAM.NAMES", "STREAM.LIST"]), body)

    def purge(self):
        name = self.any_stream()
        body = self.rng.choice([
            None, {}, {"filter": self.filter_of(name)}, {"filter": self.subject_of(name)},
            {"filter": self.subject_of(name), "keep": 1}, {"filter": self.filter_of(name), "keep": 2},
            {"seq": self.any_seq()}, {"keep": self.rng.randint(0, 5)}, {"seq": 2, "keep": 1},
            {"filter": self.filter_of(name), "seq": self.any_seq()}, {"filter": "a..b"}, {"keep": -1},
            {"keep": 1.5}, {"filter": 5}, "null", "x", "[]"])
        self.api("STREAM.PURGE." + name, body)

    def message_get(self):
        name = self.any_stream()
        body = self.rng.choice([
            {"seq": self.any_seq()}, {"seq": self.any_seq()}, {"last_by_subj": self.subject_of(name)},
            {"last_by_subj": self.filter_of(name)}, {"next_by_subj": self.filter_of(name)},
            {"next_by_subj": self.filter_of(name), "seq": self.any_seq()},
            {"next_by_subj": self.subject_of(name), "seq": self.any_seq()},
            {"seq": self.any_seq(), "no_hdr": True}, {"seq": 1, "last_by_subj": "x"}, {}, None, "null",
            {"start_time": "2020-01-01T00:00:00Z"}, {"start_time": "2090-01-01T00:00:00Z"},
            {"seq": 1, "start_time": "2020-01-01T00:00:00Z"}, {"batch": 2, "seq": 1},
            {"last_by_subj": "a..b"}, {"seq": -1}, {"seq": "1"}, {"unknown": 1},
            {"multi_last": ["x"], "seq": 1}, "[]", "{"])
        self.api("STREAM.MSG.GET." + name, body)

    def message_delete(self):
        body = self.rng.choice([{"seq": self.any_seq()}, {"seq": self.any_seq()},
                                {"seq": self.any_seq(), "no_erase": True}, {"seq": 0}, {}, None, "null",
                                {"seq": "x"}, {"seq": 1, "x": 1}])
        self.api("STREAM.MSG.DELETE." + self.any_stream(), body)

    # Reads -------------------------------------------------------------------------------------

    def direct_get(self):
        name = self.any_stream()
        rng = self.rng
        if rng.random() < 0.5:
            tail = self.subject_of(name) if rng.random() < 0.7 else self.filter_of(name)
            body = choice_of(rng, [(12, None), (1, {"no_hdr": True}), (1, {}), (1, {"seq": 1}), (1, " "),
                                   (1, "null"), (1, "x"), (1, {"unknown": 1}), (1, {"max_bytes": 5})])
            self.add("get", subject="DIRECT.GET.%s.%s" % (name, tail), body=body)
            return
        body = rng.choice([
            {"seq": self.any_seq()}, {"seq": self.any_seq()}, {"last_by_subj": self.subject_of(name)},
            {"last_by_subj": self.filter_of(name)}, {"next_by_subj": self.filter_of(name)},
            {"next_by_subj": self.filter_of(name), "seq": self.any_seq()},
            {"seq": self.any_seq(), "no_hdr": True}, {"start_time": "2020-01-01T00:00:00Z"},
            {"start_time": "2020-01-01T00:00:00Z", "next_by_subj": self.filter_of(name)},
            {"start_time": "2090-01-01T00:00:00Z"}, {"seq": 1, "last_by_subj": "x"}, {}, None, "x", " ",
            {"seq": -1}, {"seq": 0}, {"last_by_subj": "a..b"}, {"unknown": 1, "seq": 1}, '{"seq":1} x',
            {"seq": 1, "start_time": "2020-01-01T00:00:00Z"},
            {"last_by_subj": "x", "next_by_subj": "x"}, {"batch": 3, "last_by_subj": "x"},
            {"up_to_seq": 1, "up_to_time": "2020-01-01T00:00:00Z", "multi_last": [">"]},
            {"multi_last": [">"], "next_by_subj": "x"}, {"batch": 3}])
        self.add("get", subject="DIRECT.GET." + name, body=body)

    def direct_get_many(self):
        name = self.any_stream()
        rng = self.rng
        if rng.random() < 0.5:
            body = {"batch": rng.choice([1, 2, 3, 10, 1000])}
            start = rng.choice([{"seq": self.any_seq() or 1}, {"next_by_subj": self.filter_of(name)},
                                {"seq": self.any_seq(), "next_by_subj": self.filter_of(name)},
                                {"start_time": "2020-01-01T00:00:00Z"},
                                {"start_time": "2090-01-01T00:00:00Z"}])
            body.update(start)
            if self.one_in(4):
                body["max_bytes"] = rng.choice([1, 50, 200, 1000])
        else:
            body = {"multi_last": rng.choice([
                [self.filter_of(name)], [self.subject_of(name), self.subject_of(name)], [">"],
                [self.filter_of(name), self.filter_of(name)], ["nothing"]])}
            if self.one_in(3):
                body["batch"] = rng.choice([1, 2, 3, 100])
            if self.one_in(3):
                body["seq"] = self.any_seq()
            if self.one_in(4):
                body["up_to_seq"] = rng.randint(1, max(1, self.message_count // 2))
            elif self.one_in(6):
                body["up_to_time"] = rng.choice(["2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"])
            if self.one_in(6):
                body["max_bytes"] = rng.choice([1, 50, 200, 1000])
        if self.one_in(6):
            body["no_hdr"] = True
        # Without headers the last message cannot be told, but its status has some.
        self.add("get", subject="DIRECT.GET." + name, body=body, many=True)

    # Publishes ---------------------------------------------------------------------------------

    def publish_step(self, headers=None, stream=None):
        stream = stream or self.any_stream()
        self.message_count += 1
        step = {"do": "pub", "subject": self.subject_of(stream), "data": self.rng.choice(VALUES)}
        if headers:
            step["headers"] = headers
        return step

    def publish(self):
        self.steps.append(self.publish_step())

    def publish_odd_subject(self):
        prefix = self.prefix_of(self.any_stream())
        tails = ["", "..a", ".a.", ".ümläut", ".a.b.c.d.e.f.g"]
        if "wildcard subjects" not in self.gaps:
            tails += [".*", ".>", ".a.*"]
        self.steps.append({"do": "pub", "data": "odd", "subject": prefix + self.rng.choice(tails)})

    def publish_operation(self):
        operation = self.rng.choice(["DEL", "PURGE", "PURGE", "PUT"])
        headers = [["KV-Operation", operation]]
        if operation == "PURGE" and not self.one_in(5):
            headers.append(["Nats-Rollup", "sub"])
        step = self.publish_step(headers)
        step["data"] = "" if not self.one_in(5) else "with a value"
        self.steps.append(step)

    def publish_with_headers(self):
        count = 1 if "many headers" in self.gaps else self.rng.choice([1, 1, 1, 2, 2, 3])
        headers = []
        stream = self.any_stream()
        for _ in range(count):
            name = self.rng.choice(sorted(self.headers))
            if (stream.startswith("KV_") and name in OVER_SHARDS
                    and "expectations over shards" in self.gaps):
                continue
            value = self.rng.choice(self.headers[name])
            if value is SOME_SEQ:
                value = str(self.any_seq())
            elif value is SOME_SUBJECT:
                value = self.filter_of(self.any_stream())
            headers.append(["Nats-Rollup" if name == "rollup all" else name, value])
        self.steps.append(self.publish_step(headers, stream))

    def publish_expecting(self):
        """A compare-and-set that has a chance to succeed."""
        seq = self.rng.choice([0, 0, self.message_count, self.any_seq()])
        name = self.rng.choice(["Nats-Expected-Last-Subject-Sequence"] * 3 +
                               ["Nats-Expected-Last-Sequence"])
        self.steps.append(self.publish_step([[name, str(seq)]]))

    def publish_block(self):
        """Header blocks as no client would write them."""
        status = [] if "inline status" in self.gaps else [
            "NATS/1.0 200 fine\r\nA: b\r\n\r\n", "NATS/1.0 503\r\n\r\n"]
        self.steps.append(self.publish_step(self.rng.choice(status + [
            "NATS/1.0\r\n\r\n", "NATS/1.0\r\nA:b\r\n\r\n", "NATS/1.0\r\nA:   b  \r\nB:\r\n\r\n",
            "NATS/1.0\r\nA: 1\r\nA: 2\r\na: 3\r\n\r\n",
            "NATS/1.0\r\nKV-Operation:DEL\r\n\r\n", "NATS/1.0\r\nno colon\r\nA: b\r\n\r\n",
            "NATS/1.0\r\nNats-Expected-Last-Sequence:0\r\n\r\n"])))

    def burst(self):
        """Publishes without waiting for an answer between them."""
        stream = self.any_stream()
        if any(subject for subject in self.subscribed):
            return self.publish()
        pubs = [self.publish_step(None, stream) for _ in range(self.rng.randint(2, 12))]
        self.add("burst", pubs=pubs)

    # Consumers ---------------------------------------------------------------------------------

    def consumer_config_of(self, stream, name):
        rng = self.rng
        config = {"deliver_subject": "d@.%s" % name, "ack_policy": rng.choice(
            ["none"] if "acks" in self.gaps else ["none", "none", "none", "explicit", "all"])}
        policy = rng.choice(["all", "all", "last", "new", "last_per_subject", "last_per_subject",
                             "by_start_sequence", "by_start_time"])
        config["deliver_policy"] = policy
        if policy == "by_start_sequence":
            config["opt_start_seq"] = max(1, self.any_seq())
        if policy == "by_start_time":
            config["opt_start_time"] = rng.choice(["2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z",
                                                   "2020-01-01T00:00:00+02:00"])
        if policy == "last_per_subject" or rng.random() < 0.5:
            if rng.random() < 0.75:
                config["filter_subject"] = self.filter_of(stream)
            else:
                config["filter_subjects"] = sorted({self.filter_of(stream), self.filter_of(stream)})
        if config["ack_policy"] != "none":
            config["ack_wait"] = 10 * MINUTE
            if rng.random() < 0.4:
                config["max_ack_pending"] = rng.choice([1, 2, 5, 1000])
        if rng.random() < 0.2:
            config["headers_only"] = True
        if rng.random() < 0.3:
            config["idle_heartbeat"] = 30 * SECOND
            config["flow_control"] = rng.random() < 0.5
        if rng.random() < 0.2:
            config["description"] = "a consumer"
        if rng.random() < 0.2:
            config["metadata"] = {"a": "b"}
        if rng.random() < 0.2:
            config["max_deliver"] = rng.choice([1, 5, -1])
        if rng.random() < 0.2:
            config["mem_storage"] = True
        if rng.random() < 0.2:
            config["inactive_threshold"] = 5 * MINUTE
        return config

    def create_consumer(self):
        rng = self.rng
        stream = self.any_stream()
        name = rng.choice(["c1", "c2", "c3", "c4", "c5", "c6"])
        if "consumer updates" in self.gaps:
            name = "c%d" % (1 + len(self.consumers))
        config = self.consumer_config_of(stream, name)
        if self.theme == "consumer_config" or self.one_in(10):
            for _ in range(rng.choice([1, 1, 2])):
                field = rng.choice(sorted(self.consumer_fields))
                config[field] = rng.choice(self.consumer_fields[field])
        is_durable = rng.random() < 0.4 and "durables" not in self.gaps
        if rng.random() < 0.85 and "deliver_subject" in config:
            self.subscribe_to("d@.%s" % name)
        body = {"stream_name": stream, "config": config}
        if self.one_in(6):
            body["action"] = rng.choice(["create", "update", "", "other"])
        shape = rng.random()
        if shape < 0.1 and not is_durable:
            self.has_unnamed = True
            suffix = "CONSUMER.CREATE." + stream
        elif shape < 0.2 and "durables" not in self.gaps:
            config["durable_name"] = name
            suffix = "CONSUMER.DURABLE.CREATE.%s.%s" % (stream, name)
        else:
            config["durable_name" if is_durable else "name"] = name
            suffix = "CONSUMER.CREATE.%s.%s" % (stream, name)
            if "filter_subject" in config and isinstance(config["filter_subject"], str) and \
                    config["filter_subject"] and rng.random() < 0.6:
                suffix += "." + config["filter_subject"]
        self.api(suffix, body)
        self.consumers[(stream, name)] = "d@.%s" % name

    def subscribe_to(self, subject):
        if subject not in self.subscribed:
            self.subscribed.add(subject)
            self.add("sub", subject=subject)

    def subscription(self):
        subject = "d@.c%d" % self.rng.randint(1, 6)
        if subject in self.subscribed and self.one_in(2):
            self.subscribed.discard(subject)
            self.add("unsub", subject=subject)
        else:
            self.subscribe_to(subject)

    def any_consumer(self):
        if self.consumers and not self.one_in(12):
            return self.rng.choice(sorted(self.consumers))
        return self.any_stream(), self.rng.choice(["c1", "c2", "none"])

    def consumer_info(self):
        self.api("CONSUMER.INFO.%s.%s" % self.any_consumer(),
                 choice_of(self.rng, [(6, None), (1, {}), (1, "null"), (1, {"a": 1})]))

    def delete_consumer(self):
        self.api("CONSUMER.DELETE.%s.%s" % self.any_consumer(),
                 choice_of(self.rng, [(6, None), (1, {}), (1, "x")]))

    def list_consumers(self):
        self.api("CONSUMER.%s.%s" % (self.rng.choice(["NAMES", "LIST"]), self.any_stream()),
                 self.rng.choice([None, {}, {"offset": 0}, {"offset": 99}, "x", "[]",
                                  None if self.has_unnamed else {"offset": 1}]))

    def acknowledge(self):
        if not self.consumers:
            return self.create_consumer()
        stream, name = self.any_consumer()
        self.add("ack", consumer=name, back=self.rng.choice([0, 0, 0, 1, 2, 5]),
                 verb=self.rng.choice(["+ACK", "+ACK", "+ACK", "", "+WPI", "+TERM", "+TERM a reason"]))

    # The API itself ----------------------------------------------------------------------------

    def odd_request(self):
        rng = self.rng
        name = self.any_stream()
        choice = rng.randrange(9 if "restore" in self.gaps else 10)
        if choice == 0:
            self.api(rng.choice(["FOO", "STREAM", "STREAM.NOTHING", "STREAM.INFO", "INFO.x",
                                 "STREAM.INFO.a.b", "STREAM.CREATE.a.b", "CONSUMER.INFO.a"]), silent=True)
        elif choice == 1:
            self.api(rng.choice(["STREAM.INFO.", ".INFO", "DIRECT.GET." + name + ".", "STREAM..A"]))
        elif choice == 2:
            self.api("INFO", rng.choice([None, {}, "[]", "x"]))
        elif choice == 3:
            level = rng.choice(["0", "1", "99", "x", "", " 1", "-1"])
            self.api(rng.choice(["INFO", "STREAM.INFO." + name, "STREAM.NAMES", "STREAM.LIST",
                                 "CONSUMER.NAMES." + name]),
                     headers=[["Nats-Required-Api-Level", level]])
        elif choice == 4:
            self.api(rng.choice(["STREAM.CREATE.", "STREAM.UPDATE.", "STREAM.PURGE.", "STREAM.MSG.GET.",
                                 "STREAM.MSG.DELETE.", "STREAM.INFO.", "STREAM.SNAPSHOT.",
                                 "CONSUMER.CREATE.", "CONSUMER.NAMES."]) + name,
                     rng.choice(["{", "[]", "x", '{"name":}', '{"a":1}', "{} x", '{"name":1}', " ", "null",
                                 '{"max_age":1.5}', '{"config":5}']))
        elif choice == 5:
            self.api(rng.choice(["STREAM.LEADER.STEPDOWN.", "STREAM.PEER.REMOVE.",
                                 "STREAM.CANCEL_MOVE."]) + name)
        elif choice == 6:
            self.api("STREAM.CREATE." + rng.choice(["x@", "a\\b", "x/@"]),
                     {"name": rng.choice(["a.b", "a b", "", "x@", "a\\b", "x/@", "*", ">"]),
                      "subjects": ["dots@"]})
        elif choice == 7:
            self.api("STREAM.SNAPSHOT." + name, rng.choice([None, {}, {"deliver_subject": ""},
                                                            {"deliver_subject": "a.*"}]))
        elif choice == 9:
            self.api("STREAM.RESTORE." + name, rng.choice([
                None, "x", {"config": {"name": name, "unknown": 1}, "state": {"messages": 0}},
                {"config": {"name": "other@"}, "state": {}}]))
        else:
            config = self.changed_config(self.base_config("A@"))
            config["pedantic"] = True
            self.api("STREAM.CREATE.A@", config)
            self.streams.setdefault("A@", config)

    # The end -----------------------------------------------------------------------------------

    def finish(self):
        names = sorted(set(self.streams) | set(STREAMS) | {"x@"})
        self.api("STREAM.NAMES")
        for name in names:
            self.api("STREAM.INFO." + name, {"subjects_filter": ">", "deleted_details": True})
            if name in self.streams:
                self.api("CONSUMER.LIST." + name)
                self.add("dump", stream=name)
        for name in names:
            self.api("STREAM.DELETE." + name)
        self.api("STREAM.NAMES")


READS = [(6, Writer.direct_get), (4, Writer.direct_get_many), (4, Writer.message_get)]
WRITES = [(10, Writer.publish), (3, Writer.publish_operation), (3, Writer.publish_expecting),
          (2, Writer.burst)]
CHANGES = [(1, Writer.create_again), (1, Writer.update_stream), (1, Writer.purge), (1, Writer.message_delete)]
LOOKS = [(2, Writer.stream_info), (1, Writer.list_streams)]
CONSUMING = [(4, Writer.create_consumer), (2, Writer.consumer_info), (1, Writer.delete_consumer),
             (1, Writer.list_consumers), (1, Writer.subscription), (4, Writer.acknowledge)]

ACTIONS = {
    "bucket": WRITES + WRITES + READS + CHANGES + LOOKS + [(1, Writer.publish_odd_subject)],
    "limits": WRITES + WRITES + WRITES + CHANGES + LOOKS + [(2, Writer.direct_get)],
    "stream": WRITES + READS + CHANGES + CHANGES + LOOKS + [(2, Writer.publish_with_headers)],
    "config": [(6, Writer.create_stream), (6, Writer.update_stream), (1, Writer.delete_stream),
               (2, Writer.publish)] + LOOKS,
    "headers": [(10, Writer.publish_with_headers), (2, Writer.publish_block)] + WRITES + LOOKS + [
        (1, Writer.update_stream), (1, Writer.direct_get)],
    "reads": WRITES + READS + READS + READS + LOOKS + [(1, Writer.purge), (1, Writer.message_delete)],
    "consumers": CONSUMING + [(8, Writer.publish), (2, Writer.publish_operation), (1, Writer.purge),
                              (1, Writer.message_delete)],
    "consumer_config": [(6, Writer.create_consumer), (3, Writer.consumer_info), (1, Writer.delete_consumer),
                        (1, Writer.list_consumers), (2, Writer.publish)],
    "api": [(8, Writer.odd_request), (1, Writer.publish), (1, Writer.create_again),
            (1, Writer.delete_stream)] + LOOKS,
}


def write_script(seed, step_count, gaps=()):
    return Writer(seed, step_count, set(gaps)).write()
