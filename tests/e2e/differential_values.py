"""
tests/e2e/differential_values.py: what the scripts of the differential test put into fields and headers.

Good values, odd ones and wrong ones; `@` is the script's tag (differential_player.py).
"""

SECOND = 1_000_000_000
MINUTE = 60 * SECOND

SOME_SEQ = "a sequence"
SOME_SUBJECT = "a subject"

OVER_SHARDS = ("Nats-Expected-Last-Msg-Id", "Nats-Expected-Last-Subject-Sequence-Subject")
HEADERS = {
    "Nats-Expected-Last-Subject-Sequence": [SOME_SEQ, SOME_SEQ, "0", "0", "", "x", "-1", "+1", "1 ", "007",
                                            "99999999999999999999"],
    "Nats-Expected-Last-Sequence": [SOME_SEQ, SOME_SEQ, "0", "", "x", "-1"],
    "Nats-Expected-Stream": ["A@", "KV_b@", "other", ""],
    "Nats-Expected-Last-Msg-Id": ["", "id-1", "id-2", "other"],
    "Nats-Expected-Last-Subject-Sequence-Subject": [SOME_SUBJECT, SOME_SUBJECT, "", "a..b"],
    "Nats-Msg-Id": ["id-1", "id-1", "id-2", "id-3", "", "an id with blanks"],
    "Nats-Rollup": ["sub", "SUB", "", "other", " sub"],
    "rollup all": ["all", "ALL"],
    "Nats-TTL": ["1h", "never", "NEVER", "3600", "1h30m", "500ms", "0", "0s", "-5s", "soon", "", " 3600",
                 "5.5", "90000ms", "+1h"],
    "KV-Operation": ["DEL", "PURGE", "other", ""],
    "Nats-Marker-Reason": ["MaxAge", "Remove"],
    "Nats-Stream-Source": ["x 1 > >"],
    "nats-msg-id": ["id-1"],
    "X-Other": ["", "a value", "ümläut", "x" * 200],
}

FIELDS = {
    "name": ["", "other@", None],
    "description": ["", "a text", "another", "x" * 4097, 5, None],
    "subjects": [[], ["a@.>"], ["a@.x", "a@.y"], ["a@.x", "a@.x"], ["a@.x", "a@.>"], ["a..b"], [">"], [""],
                 ["$JS.API.>"], ["$SYS.x"], ["$KV.b@.>"], ["$KV.c@.>", "c@.>"], "a@.>", None, ["b@.>"],
                 ["a@ x"], ["*.x@"]],
    "retention": ["limits", "other", "", 1, None],
    "max_consumers": [-1, 0, -2, 1, 2, "x"],
    "max_msgs": [-1, 0, -5, 1, 2, 3, 10, 1.5, "x", None],
    "max_bytes": [-1, 0, -5, 100, 300, 1000, 1_000_000_000, "x"],
    "max_age": [0, -1, 1, 100_000_000, 99_999_999, MINUTE, 3600 * SECOND, "1h"],
    "max_msgs_per_subject": [-1, 0, -3, 1, 2, 5, 64, 1000],
    "max_msg_size": [-1, 0, -3, 10, 60, 1000, 5_000_000_000],
    "discard": ["old", "new", "NEW", "other", "", None],
    "storage": ["file", "memory", "paper", ""],
    "num_replicas": [0, 1, 2, 3, 5, 6, -1],
    "duplicate_window": [0, -1, 1, 100_000_000, MINUTE, 120 * SECOND, 7200 * SECOND],
    "no_ack": [False],
    "placement": [{}, {"cluster": "", "tags": ["x"]}, {"cluster": "c"}, {"preferred": "x"}, None],
    "compression": ["none", "s2", "zip", "", None],
    "first_seq": [0, 1, 10],
    "allow_direct": [True, False, "x"],
    "mirror_direct": [True, False],
    "discard_new_per_subject": [True, False],
    "sealed": [True, False],
    "deny_delete": [True, False],
    "deny_purge": [True, False],
    "allow_rollup_hdrs": [True, False],
    "consumer_limits": [{}, None, {"inactive_threshold": 600 * SECOND}, {"max_ack_pending": 50}],
    "allow_msg_ttl": [True, False],
    "subject_delete_marker_ttl": [0, 1, SECOND, 3600 * SECOND, -1],
    "metadata": [{}, {"a": "b"}, {"_nats.ver": "x"}, {"_nats.own": "kept"}, {"k": "x" * 131_072}, 5, None],
    "persist_mode": ["default", "async", "", "other"],
    "republish": [{"src": ">", "dest": "r@.>"}, {"dest": "r@.>"}, {"src": "a@.*", "dest": "r@.$1"},
                  {"dest": "r@.>", "headers_only": True}, None],
    "subject_transform": [{"src": "a@.x", "dest": "a@.moved"}, {"src": "a@.*", "dest": "a@.{{wildcard(1)}}"},
                          {"src": "a..b", "dest": "c"}, {"src": "a@.*", "dest": "a@.{{wildcard(2)}}"}, {}],
    "unknown_field": [1],
}

CONSUMER_FIELDS = {
    "name": ["", "other", "a.b", "a b", "a/b", "x" * 300],
    "durable_name": ["", "other", "a.b"],
    "description": ["", "a text", "x" * 4097, 5],
    "deliver_subject": ["d@.c1", "d@.*", "a..b", "a@.x", "$KV.b@.k1", "d@ x"],
    "deliver_group": ["", "g", "a b"],
    "deliver_policy": ["all", "last", "new", "last_per_subject", "by_start_sequence", "by_start_time",
                       "other", "", 1],
    "opt_start_seq": [0, 1, 5, -1],
    "opt_start_time": ["2020-01-01T00:00:00Z", "x", None],
    "ack_policy": ["none", "explicit", "all", "other", ""],
    "ack_wait": [0, 1, -1, SECOND * 600],
    "max_deliver": [0, -1, 1, 5, -5],
    "backoff": [[], [600 * SECOND], [600 * SECOND, 700 * SECOND], [-1]],
    "filter_subject": ["", "a@.>", "$KV.b@.k1", "a..b", ">", 5],
    "filter_subjects": [[], ["a@.x"], ["a@.x", "a@.y"], ["a@.x", "a@.>"], ["a@.x", "a@.x"], [""], ["a..b"]],
    "replay_policy": ["instant", "other"],
    "sample_freq": ["", "100%", "5", "x", "-5"],
    "max_waiting": [0, 1, -1],
    "max_ack_pending": [0, -1, 1, 10, -5],
    "idle_heartbeat": [0, 1, 99_999_999, 30 * SECOND, -1],
    "flow_control": [True, False],
    "headers_only": [True, False],
    "max_batch": [0, 1, -1],
    "max_expires": [0, 1, SECOND, -1],
    "max_bytes": [0, 1, -1],
    "inactive_threshold": [0, 300 * SECOND, -1],
    "num_replicas": [0, 1, 2, -1],
    "mem_storage": [True, False],
    "metadata": [{}, {"a": "b"}, {"k": "x" * 131_072}],
    "unknown_field": [1],
    "direct": [False],
}
