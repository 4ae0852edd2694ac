"""
Archives of streams for the tests: taking one from a server, reading and making one, giving one to a server.

The reader is written from the format, not from the server's code: S2 frames (blocks with all of S2's forms), then NATSARC1.
"""

import collections
import json

MAGIC = b"NATSARC1"
START = b"\xff\x06\x00\x00S2sTwO"

Entry = collections.namedtuple("Entry", "name time seq headers payload")
Snapshot = collections.namedtuple("Snapshot", "answer data status chunks")

_TABLE = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ (0x82f63b78 if _byte & 1 else 0)
    _TABLE.append(_byte)


def crc_masked(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    crc ^= 0xffffffff
    return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff


def take_uvarint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        shift += 7
        if byte < 128:
            return number, at


def uvarint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def block_decode(block):
    length, at = take_uvarint(block, 0)
    out = bytearray()
    offset = 0
    while at < len(block):
        tag = block[at]
        at += 1
        if tag & 3 == 0:
            count = tag >> 2
            if count >= 60:
                more = count - 59
                count = int.from_bytes(block[at:at + more], "little")
                at += more
            out += block[at:at + count + 1]
            at += count + 1
            continue
        count = (tag >> 2) + 1
        if tag & 3 == 1:
            new = (tag >> 5) << 8 | block[at]
            at += 1
            count = (tag >> 2 & 7) + 4
            if new == 0:
                code = tag >> 2 & 7
                if code >= 5:
                    more = code - 4
                    count = int.from_bytes(block[at:at + more], "little") + (0, 8, 260, 65540)[more]
                    at += more
            else:
                offset = new
        else:
            width = 2 if tag & 3 == 2 else 4
            offset = int.from_bytes(block[at:at + width], "little")
            at += width
        for _ in range(count):
            out.append(out[-offset])
    assert len(out) == length, (len(out), length)
    return bytes(out)


def s2_decode(data, check=True):
    assert data.startswith(START)
    out = bytearray()
    at = 0
    while at < len(data):
        kind, length = data[at], int.from_bytes(data[at + 1:at + 4], "little")
        body = data[at + 4:at + 4 + length]
        assert len(body) == length, "cut short"
        at += 4 + length
        if kind in (0, 1):
            plain = block_decode(body[4:]) if kind == 0 else body[4:]
            if check:
                assert int.from_bytes(body[:4], "little") == crc_masked(plain), "crc"
            out += plain
        else:
            assert kind >= 0x80, kind
    return bytes(out)


def s2_encode(plain):
    """Frames of plain bytes: legal S2 that nothing compressed."""
    out = bytearray(START)
    for at in range(0, len(plain), 65536):
        part = plain[at:at + 65536]
        out += b"\x01" + (len(part) + 4).to_bytes(3, "little")
        out += crc_masked(part).to_bytes(4, "little") + part
    return bytes(out)


def entries_decode(plain):
    assert plain.startswith(MAGIC)
    at = len(MAGIC)
    entries = []
    while at < len(plain):
        name, at = take_uvarint(plain, at)
        time, at = take_uvarint(plain, at)
        seq, at = take_uvarint(plain, at)
        headers, at = take_uvarint(plain, at)
        payload, at = take_uvarint(plain, at)
        texts = plain[at:at + name + headers + payload]
        assert len(texts) == name + headers + payload
        at += len(texts)
        entries.append(Entry(texts[:name].decode("utf-8", "surrogateescape"),
                             time >> 1 ^ -(time & 1), seq, texts[name:name + headers],
                             texts[name + headers:]))
    return entries


def entry_encode(entry):
    name = entry.name.encode("utf-8", "surrogateescape")
    time = (entry.time << 1 ^ entry.time >> 63) & (1 << 64) - 1
    return (uvarint(len(name)) + uvarint(time) + uvarint(entry.seq) + uvarint(len(entry.headers))
            + uvarint(len(entry.payload)) + name + entry.headers + entry.payload)


END = Entry("", 0, 0, b"", b"")


def archive(state, messages, consumers=(), end=True):
    """An archive, compressed; state is its state.json."""
    entries = [Entry("state.json", 1, 0, b"", json.dumps(state).encode())]
    entries += list(consumers) + list(messages) + ([END] if end else [])
    return s2_encode(MAGIC + b"".join(entry_encode(entry) for entry in entries))


def read_archive(data, check=True):
    """(state, consumers, messages) of an archive that must be whole."""
    entries = entries_decode(s2_decode(data, check))
    assert entries[0].name == "state.json" and entries[0].seq == 0
    assert entries[-1] == END, "no end"
    state = json.loads(entries[0].payload)
    consumers = [e for e in entries[1:-1] if e.seq == 0]
    messages = [e for e in entries[1:-1] if e.seq != 0]
    assert all(e.name.startswith("consumers/") for e in consumers)
    seqs = [e.seq for e in messages]
    assert seqs == sorted(set(seqs)), "not in sequence order"
    return state, consumers, messages


def take_snapshot(client, stream, on_chunk=None, **request):
    """
    A whole snapshot by the protocol: chunks to an own subscription, each acknowledged by an empty message. on_chunk is called
    with the number of each chunk before it is acknowledged; False from it: it is not acknowledged.
    """
    deliver = "_SNAP.%s.%d" % (stream, id(request))
    sid = client.sub(deliver)
    client.flush()
    answer = client.api("STREAM.SNAPSHOT." + stream, dict(request, deliver_subject=deliver))
    data, chunks, status = bytearray(), 0, None
    while "error" not in answer:
        msg = client.next(sid)
        if not msg.data:
            status = msg.headers
            break
        data += msg.data
        chunks += 1
        if msg.reply and (on_chunk is None or on_chunk(chunks) is not False):
            client.pub(msg.reply)
    client.unsub(sid)
    return Snapshot(answer, bytes(data), status, chunks)


def restore(client, stream, config, state, data, chunk=65536):
    """Gives the archive to the server as the CLI does: the last answer's JSON, or the first that has an error."""
    answer = client.api("STREAM.RESTORE." + stream, {"config": config, "state": state})
    if "error" in answer:
        return answer
    deliver = answer["deliver_subject"]
    for at in range(0, len(data), chunk):
        msg = client.request(deliver, data[at:at + chunk])
        if msg.data or msg.headers:
            return msg.json() if msg.data else {"status": msg.headers.status}
    return client.request(deliver, b"", deadline_s=60).json()
