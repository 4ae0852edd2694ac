"""
tests/e2e/differential_player.py: plays one step on two servers and tells what each showed.

A step is a dict that JSON can hold, so that a failing script can be printed and played again:

    {"do": "api", "subject": "STREAM.INFO.A@", "body": {...} or "text", "headers": {...}}
    {"do": "get", ...}    a direct get; `many`: up to the status that ends it
    {"do": "pub", "subject": "a@.x", "data": "...", "headers": [[name, value], ...] or "block"}
    {"do": "burst", "pubs": [pub, ...]}            sent at once, each with a reply
    {"do": "sub", "subject": "d@.1", "queue": ""}  on the connection that hears deliveries
    {"do": "unsub", "subject": "d@.1"}
    {"do": "ack", "consumer": "c1", "back": 0, "verb": "+ACK"}    acknowledges one of its deliveries
    {"do": "dump", "stream": "A@"}                 every message that is stored, one by one

`@` stands for the script's tag, five characters of its own, so that a script can be played again
and again on the same servers. What a step shows is {"answers": [...], "deliveries": {...}}, after
normalising (differential_rules.py).
"""

import json
import time

from differential_rules import normal_answer, normal_delivery, normal_message
from harness import Client, header_block

ANSWER_S = 5.0
SILENCE_S = 0.08
SETTLE_S = 3.0
LAG_S = 1.0  # nats-server tells its consumers of a message after it acknowledged it


class Side:
    """One server: a connection that asks, one that listens, and the consumers that live there."""

    def __init__(self, port):
        self.asking = Client(port)
        self.listening = Client(port)
        self.asking.sub("_INBOX.ask.*")
        self.asking.flush()
        self.asked_count = 0
        self.reset("")

    def reset(self, tag):
        self.tag = tag
        self.sids = {}       # deliver subject -> sid
        self.heard = {}      # (deliver subject, consumer) -> deliveries, all there were
        self.shown = {}      # the same -> how many of them were told
        self.last_seq = {}   # (stream, consumer) -> its last consumer sequence heard
        self.consumers = {}  # (stream, consumer) -> deliver subject
        self.policies = {}   # (stream, consumer) -> its deliver policy and filters
        self.names = {}      # a name the server made up -> its stand-in

    def close(self):
        self.asking.close()
        self.listening.close()

    def fill(self, text):
        return text.replace("@", self.tag)

    def empty(self, text):
        return text.replace(self.tag, "@")

    # Asking ------------------------------------------------------------------------------------

    def send(self, subject, data, headers):
        self.asked_count += 1
        reply = "_INBOX.ask.%d" % self.asked_count
        self.asking.pub(subject, data, reply, headers)
        return reply

    def answers(self, reply, is_last=None, deadline_s=ANSWER_S):
        """The messages that came to that inbox, up to the last one; None stands for a silence."""
        found = []
        until = time.monotonic() + deadline_s
        while True:
            msg = self.asking.take(lambda msg: msg.subject == reply)
            if msg is None:
                left = until - time.monotonic()
                if left <= 0:
                    return found + [None]
                self.asking._receive(left)
                if self.asking.is_closed:
                    raise AssertionError("the server closed: %r" % self.asking.errors)
                continue
            found.append(msg)
            if is_last is None or is_last(msg):
                return found

    def ask(self, suffix, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        msg = self.answers(self.send("$JS.API." + suffix, data, None))[0]
        return json.loads(msg.data) if msg is not None and msg.data else {}

    # Hearing -----------------------------------------------------------------------------------

    def subscribe(self, subject, queue):
        if subject not in self.sids:
            self.sids[subject] = self.listening.sub(subject, queue or None)
            self.listening.flush()

    def unsubscribe(self, subject):
        sid = self.sids.pop(subject, None)
        if sid is not None:
            self.listening.unsub(sid)
            self.listening.flush()

    def hear(self, timeout_s=0.0):
        """Takes in what came for the subscriptions."""
        self.listening._receive(timeout_s)
        subject_of = {sid: subject for subject, sid in self.sids.items()}
        while self.listening.messages:
            msg = self.listening.messages.popleft()
            subject = subject_of.get(msg.sid)
            if subject is None or msg.status == "100":
                continue
            consumer = ""
            if msg.reply and msg.reply.startswith("$JS.ACK."):
                ack = msg.ack()
                consumer = ack.consumer
                self.last_seq[(ack.stream, consumer)] = ack.consumer_seq
            self.heard.setdefault((subject, consumer), []).append(msg)

    def learn_consumer(self, answer, request):
        """Remembers a consumer that delivers, and the name the server made up for it."""
        config = answer.get("config", {})
        if not answer.get("name"):
            return
        asked = (request or {}).get("config") or {}
        if not (asked.get("name") or asked.get("durable_name")):
            self.names.setdefault(answer["name"], "made-up-%d" % (len(self.names) + 1))
        if config.get("deliver_subject"):
            key = (answer["stream_name"], answer["name"])
            self.consumers[key] = config["deliver_subject"]
            self.policies[key] = {"deliver_policy": config["deliver_policy"],
                                  "filter_subjects": [self.empty(subject) for subject in
                                                      config.get("filter_subjects", [])]}
            self.last_seq.setdefault(key, answer["delivered"]["consumer_seq"])

    def settle(self):
        """Waits until each consumer has delivered what it can."""
        until = time.monotonic() + SETTLE_S
        for key in list(self.consumers):
            while time.monotonic() < until:
                info = self.ask("CONSUMER.INFO.%s.%s" % key)
                if "error" in info or not info:
                    del self.consumers[key]
                    self.last_seq.pop(key, None)
                    break
                self.hear()
                config = info["config"]
                limit = config.get("max_ack_pending", 0)
                is_full = limit > 0 and info.get("num_ack_pending", 0) >= limit
                is_idle = (info["num_pending"] == 0 or is_full or info.get("paused")
                           or not info.get("push_bound"))
                is_heard = (self.consumers[key] not in self.sids
                            or info["delivered"]["consumer_seq"] <= self.last_seq.get(key, 0))
                if is_idle and is_heard and not info.get("num_redelivered_waiting"):
                    break
                self.hear(0.002)
        self.hear()

    def deliveries(self):
        """What came since the last step, by deliver subject and consumer: the order between two
        consumers that share a subject is nobody's promise."""
        fresh = {}
        for key, messages in self.heard.items():
            seen = self.shown.get(key, 0)
            if len(messages) > seen:
                name = "%s for %s" % (key[0].replace(self.tag, "@"),
                                      self.names.get(key[1], key[1]))
                fresh[name] = [normal_delivery(msg, self) for msg in messages[seen:]]
        return fresh

    def deliveries_are_told(self):
        self.shown = {key: len(messages) for key, messages in self.heard.items()}


def is_end(msg):
    return msg.status is not None and msg.status != "100"


def step_data(side, value):
    if value is None:
        return b""
    text = value if isinstance(value, str) else json.dumps(value)
    return side.fill(text).encode("utf-8", "surrogateescape")


def step_headers(side, headers):
    if headers is None:
        return None
    if isinstance(headers, str):
        return side.fill(headers).encode()
    return header_block([(side.fill(name), side.fill(value)) for name, value in headers])


def send_step(side, step):
    """Sends what the step asks for; returns a function that waits for what comes of it."""
    do = step["do"]
    if do in ("api", "get"):
        return send_request(side, step)
    if do == "pub":
        return send_publishes(side, [step])
    if do == "burst":
        return send_publishes(side, step["pubs"])
    if do == "dump":
        return lambda: dump(side, side.fill(step["stream"]))
    if do == "ack":
        return send_ack(side, step)
    if do == "sub":
        side.subscribe(side.fill(step["subject"]), step.get("queue"))
    elif do == "unsub":
        side.hear()
        side.unsubscribe(side.fill(step["subject"]))
    else:
        raise AssertionError("no such step: %r" % do)
    return lambda: []


def send_request(side, step):
    reply = side.send("$JS.API." + side.fill(step["subject"]), step_data(side, step.get("body")),
                      step_headers(side, step.get("headers")))
    is_last = is_end if step.get("many") else None
    deadline_s = SILENCE_S if step.get("silent") else ANSWER_S

    def finish():
        messages = side.answers(reply, is_last, deadline_s)
        if step["do"] == "get":
            return [msg and normal_message(msg, side) for msg in messages]
        if step["subject"].startswith("CONSUMER.") and messages[0] and messages[0].data:
            request = step.get("body")
            side.learn_consumer(messages[0].json(), request if isinstance(request, dict) else None)
        return [msg and normal_answer(msg, side) for msg in messages]
    return finish


def send_publishes(side, pubs):
    replies = [side.send(side.fill(pub["subject"]), step_data(side, pub.get("data")),
                         step_headers(side, pub.get("headers"))) for pub in pubs]

    def finish():
        deadline_s = SILENCE_S if pubs[0].get("silent") else ANSWER_S
        return [msg and normal_answer(msg, side) for reply in replies
                for msg in side.answers(reply, None, deadline_s)]
    return finish


def send_ack(side, step):
    side.hear()
    messages = [msg for key, heard in sorted(side.heard.items()) if key[1] == step["consumer"]
                for msg in heard]
    if step["back"] >= len(messages):
        return lambda: ["nothing to acknowledge"]
    reply = side.send(messages[-1 - step["back"]].reply, step["verb"].encode(), None)
    return lambda: [msg and normal_message(msg, side) for msg in side.answers(reply)]


def dump(side, stream):
    state = side.ask("STREAM.INFO." + stream).get("state")
    if state is None:
        return ["no such stream"]
    first, last = state["first_seq"], state["last_seq"]
    replies = [side.send("$JS.API.STREAM.MSG.GET." + stream, b'{"seq":%d}' % seq, None)
               for seq in range(max(first, 1), min(last, first + 400) + 1)]
    return [normal_answer(side.answers(reply)[0], side) for reply in replies]


def play_step(sides, step):
    """Plays the step on both sides at once: what each showed."""
    waits = [send_step(side, step) for side in sides]
    shown = [{"answers": wait()} for wait in waits]
    if any(side.consumers or side.sids for side in sides):
        hear_deliveries(sides, shown)
    return shown


def hear_deliveries(sides, shown):
    """Adds the deliveries, once both sides have the same or one has had time enough to lag."""
    for side in sides:
        side.settle()
    until = time.monotonic() + LAG_S
    while True:
        heard = [side.deliveries() for side in sides]
        if heard[0] == heard[1] or time.monotonic() > until:
            break
        for side in sides:
            side.hear(0.005)
            side.settle()
    for side, seen, deliveries in zip(sides, shown, heard):
        side.deliveries_are_told()
        if deliveries:
            seen["deliveries"] = deliveries
