"""
tests/e2e/differential_rules.py: what may differ between nats-server and pail, and why.

Two things are told apart. Normalising takes away what no two runs have in common: times, names that
are made up, the words of a JSON parser. A rule names one answer in which pail differs on purpose; it
matches as narrowly as it can, and one that never matches in a full run fails the test.
"""

import base64
import json
import re

TIME_FIELDS = {"created", "ts", "first_ts", "last_ts", "time", "last_active"}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")
NEVER = "0001-01-01T00:00:00Z"
ACK_TIME = re.compile(r"(\$JS\.ACK\..*\.)\d{19}(\.\d+)$")


# Normalising ----------------------------------------------------------------------------------


def normal_text(text, side):
    if side.tag:
        text = ACK_TIME.sub(r"\1time\2", text.replace(side.tag, "@"))
    return side.names.get(text, text)


def normal_time(text):
    if text == NEVER:
        return "never"
    return "a time" if TIME.match(text) else text


def normal_value(value, side, name=""):
    if isinstance(value, dict):
        if name == "api" and "total" in value:
            # The player itself asks more or less often, as deliveries come.
            value = dict(value, total="some", errors="some")
        if name == "cluster" and "leader" in value:
            value = dict(value, leader="the server")
        return {normal_text(field, side): normal_value(member, side, field)
                for field, member in value.items()}
    if isinstance(value, list):
        members = [normal_value(member, side, name) for member in value]
        # Sorted by name on the wire; a made-up name stands anywhere.
        return sorted(members, key=json.dumps) if name == "consumers" else members
    if isinstance(value, str):
        if name in TIME_FIELDS:
            return normal_time(value)
        if name in ("hdrs", "data"):
            value = base64.b64decode(value).decode("latin-1")
        if name == "description" and value.startswith("invalid JSON: "):
            return "invalid JSON: its words"
        return normal_text(value, side)
    return value


def normal_message(msg, side):
    """A message as it came: its headers and its payload."""
    seen = {"data": normal_text(msg.data.decode("latin-1"), side)}
    if msg.headers is not None:
        seen["status"] = " ".join(word for word in (msg.headers.status, msg.headers.description)
                                  if word)
        seen["headers"] = [[name, normal_time(value) if name == "Nats-Time-Stamp"
                            else normal_text(value, side)]
                           for name, value in msg.headers.fields]
    return seen


def normal_answer(msg, side):
    """An answer in JSON; anything else as a message."""
    if msg.headers is None and msg.data[:1] == b"{":
        try:
            return normal_value(json.loads(msg.data), side)
        except ValueError:
            pass
    return normal_message(msg, side)


def normal_delivery(msg, side):
    seen = normal_message(msg, side)
    seen["subject"] = normal_text(msg.subject, side)
    if msg.reply and msg.reply.startswith("$JS.ACK."):
        ack = msg.ack()
        seen["ack"] = {"stream": normal_text(ack.stream, side),
                       "consumer": normal_text(ack.consumer, side),
                       "delivered": ack.delivered_count, "stream_seq": ack.stream_seq,
                       "consumer_seq": ack.consumer_seq, "pending": ack.pending_count,
                       **side.policies.get((ack.stream, ack.consumer), {})}
    elif msg.reply:
        seen["reply"] = normal_text(msg.reply, side)
    return seen


# Differences ----------------------------------------------------------------------------------


def differences(reference, pail, path="", around=None):
    """The places where two values differ, as (path, reference's, pail's, what stands around it)."""
    if isinstance(reference, dict) and isinstance(pail, dict):
        found = []
        for name in sorted(set(reference) | set(pail)):
            if name not in reference or name not in pail:
                found.append(("%s/%s" % (path, name), reference.get(name, ABSENT),
                              pail.get(name, ABSENT), reference))
            else:
                found += differences(reference[name], pail[name], "%s/%s" % (path, name),
                                     reference)
        return found
    if isinstance(reference, list) and isinstance(pail, list) and len(reference) == len(pail):
        return [found for index, (one, other) in enumerate(zip(reference, pail))
                for found in differences(one, other, "%s/%d" % (path, index))]
    return [] if same(reference, pail) else [(path, reference, pail, around)]


def same(one, other):
    return type(one) is type(other) and one == other


ABSENT = "(absent)"


class Rule:
    """
    A difference on purpose. `matches(step, path, reference, pail, around)` sees one place of a
    step's answers, and the reference's object it stands in; the reason is for people. A gap is no purpose but a fault of pail that waits for repair.
    """

    def __init__(self, name, reason, matches, witness=(), is_gap=False):
        self.name = name
        self.reason = reason
        self.matches = matches
        self.witness = list(witness)
        self.is_gap = is_gap
        self.count = 0


def unexplained(rules, step, reference, pail):
    """The differences of a step that no rule explains."""
    rest = []
    for path, one, other, around in differences(reference, pail):
        for rule in rules:
            if rule.matches(step, path, one, other, around):
                rule.count += 1
                break
        else:
            rest.append((path, one, other))
    return rest


def subject_starts(step, *starts):
    return step.get("subject", "").startswith(starts)


def body_has(step, *words):
    return any(word in json.dumps(step.get("body")) for word in words)


def policy_of(around):
    return around.get("config", around).get("deliver_policy")


def filters_of(around):
    return around.get("config", around).get("filter_subjects", [])


def make_rules():
    return [Rule(*row) for row in PURPOSES] + [Rule(*row, is_gap=True) for row in FAULTS]


def create(name, **fields):
    config = dict({"name": name, "subjects": [name.lower() + ".>"], "allow_direct": True}, **fields)
    return {"do": "api", "subject": "STREAM.CREATE." + name, "body": config}


PURPOSES = [
    ("api level", "pail tells the level of which it has all features",
     lambda step, path, reference, pail, around:
     path.endswith(("/metadata/_nats.level", "/api/level")) and str(pail) in "1234",
     [{"do": "api", "subject": "INFO"}]),
    ("deleted sequence 0", "a fault of nats-server: an empty stream lists sequence 0 as deleted",
     lambda step, path, reference, pail, around: pail == ABSENT and (
         (path.endswith("/state/deleted") and reference == [0])
         or (path.endswith("/state/num_deleted") and reference == 1
             and subject_starts(step, "STREAM."))),
     [create("A@"),
      {"do": "api", "subject": "STREAM.INFO.A@", "body": {"deleted_details": True}}]),
    ("up_to_seq", "a fault of nats-server: a ceiling beyond the last sequence finds nothing on file storage",
     lambda step, path, reference, pail, around: step["do"] == "get" and body_has(step, "up_to_seq")
     and (path == "/answers" and reference[0]["status"] == "404 No Results"
          or path.startswith("/answers/0/") and around["status"] == "404 No Results"),
     [create("A@"), {"do": "pub", "subject": "a@.x", "data": ""},
      {"do": "get", "subject": "DIRECT.GET.A@", "body": {"multi_last": [">"], "up_to_seq": 5},
       "many": True}]),
    ("pending of the last", "a fault of nats-server: with a history above 1 it counts removed messages of "
     "a key twice, so that fewer seem to be pending",
     lambda step, path, reference, pail, around:
     path.endswith(("/num_pending", "/ack/pending")) and policy_of(around) == "last_per_subject"
     and reference < pail,
     [create("A@", max_msgs_per_subject=2)]
     + [{"do": "pub", "subject": "a@." + tail, "data": ""} for tail in "yzz"]
     + [{"do": "api", "subject": "CONSUMER.CREATE.A@.c1", "body": {
         "stream_name": "A@", "config": {"name": "c1", "deliver_subject": "d@.c1", "ack_policy": "none",
                                         "deliver_policy": "last_per_subject", "filter_subject": ">"}}},
        {"do": "pub", "subject": "a@.z", "data": ""},
        {"do": "api", "subject": "CONSUMER.INFO.A@.c1"}]),
    ("pending of two filters", "a fault of nats-server: a new message that two filters match is counted twice",
     lambda step, path, reference, pail, around:
     path.endswith(("/num_pending", "/ack/pending")) and len(filters_of(around)) > 1
     and reference > pail,
     [create("A@"), {"do": "sub", "subject": "d@.c1"},
      {"do": "api", "subject": "CONSUMER.CREATE.A@.c1", "body": {
          "stream_name": "A@", "config": {"name": "c1", "deliver_subject": "d@.c1", "ack_policy": "none",
                                          "filter_subjects": ["a@.*.y", "a@.x.*"]}}},
      {"do": "pub", "subject": "a@.x.y", "data": ""}]),
]


# Faults of pail that wait for repair: each takes its row out.

FAULTS = [
    ("delete of seq 0", "10057 `no message found` on file storage",
     lambda step, path, reference, pail, around: subject_starts(step, "STREAM.MSG.DELETE")
     and path.startswith("/answers/0/error/")),
    ("snapshot's checks", "10003 comes before 10059",
     lambda step, path, reference, pail, around: subject_starts(step, "STREAM.SNAPSHOT")
     and path.startswith("/answers/0/error/")),
    ("purge of nothing", "a stream that never held a message begins at 1 after a purge",
     lambda step, path, reference, pail, around: path.endswith("/state/first_seq")
     and (reference, pail) == (1, 0) and around["last_seq"] == 0),
    ("skipped position", "where a consumer stands that has nothing to deliver",
     lambda step, path, reference, pail, around: path.endswith(("/delivered/stream_seq",
                                                        "/ack_floor/stream_seq"))),
]


# Gaps: what the generator leaves out for now -----------------------------------------------------

GAPS = {
    "pull": "pull consumers are a later issue",
    "workqueue": "work queues are a later issue; interest retention with them",
    "batch": "atomic and fast batches, counters and schedules are a later issue",
    "acks": "ack policies all and explicit are being built",
    "ack_policy": "the same",
    "backoff": "the same",
    "durables": "durable consumers are being built",
    "durable_name": "the same",
    "first_seq": "an update shows it on an empty stream",
    "inline status": "the status in the first line of a stored header block is not taken away",
    "discard_new_per_subject": "a rollup on a full subject is refused",
    "bucket updates": "a bucket that is spread over shards refuses other subjects and a subject transform, for "
                      "its messages would have to move",
    "consumer updates": "being built",
    "expectations over shards": "the last message id, and the newest of several keys, of a bucket that is "
                                "spread over shards",
    "wildcard subjects": "what a filter finds of a subject that holds the tokens * or >",
    "republish to a stream": "what is republished is not stored by a stream with such subjects",
    "rollup all": "refused in a bucket that is spread over shards",
}
