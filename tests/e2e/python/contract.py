"""
tests/e2e/python/contract.py: the rows of the Key/Value contract as nats-py shows them. Takes the URL and, if only some rows
are wanted, a part of their names; prints a line for each row, and exits 1 if one failed. A server of anybody must pass it.
Its package is found by PYTHONPATH.
"""

import asyncio
import sys

import nats
from nats.js import api, errors

ROW_S = 30
ROWS = []


def row(name):
    def register(function):
        ROWS.append((name, function))
        return function
    return register


def check(holds, *what):
    if not holds:
        raise AssertionError(" ".join(map(repr, what)))


async def fails(awaitable, *kinds):
    try:
        result = await awaitable
    except kinds as error:
        return error
    raise AssertionError("no error, but %r" % (result,))


async def eventually(holds):
    while not await holds():
        await asyncio.sleep(0.02)


def word(entry):
    if entry is None:
        return "|"
    if entry.operation:
        return "%s:%s" % (entry.key, entry.operation)
    return "%s=%s" % (entry.key, (entry.value or b"").decode())


async def watched(js, bucket):
    """A bucket with some past: a: 1 2, b: 3 deleted, c.x: 5, c.y: 6."""
    kv = await js.create_key_value(bucket=bucket, history=5)
    await kv.put("a", b"1")
    await kv.put("a", b"2")
    await kv.put("b", b"3")
    await kv.delete("b")
    await kv.put("c.x", b"5")
    await kv.put("c.y", b"6")
    return kv


@row("every option comes back")
async def _(js, bucket):
    config = api.KeyValueConfig(
        bucket=bucket, description="all of it", max_value_size=1000, history=7, ttl=3600,
        max_bytes=1 << 20, storage=api.StorageType.MEMORY, replicas=1,
        republish=api.RePublish(src="$KV.%s.>" % bucket, dest="told.%s.>" % bucket), direct=True)
    kv = await js.create_key_value(config=config)
    status = await kv.status()
    got = status.stream_info.config
    check((status.bucket, status.history, status.ttl, status.values) == (bucket, 7, 3600, 0), status)
    check((got.description, got.max_msg_size, got.max_bytes, got.storage, got.allow_direct) ==
          ("all of it", 1000, 1 << 20, "memory", True), got)
    check((got.republish.src, got.republish.dest) == (config.republish.src, config.republish.dest), got)


@row("create is idempotent, another configuration is refused")
async def _(js, bucket):
    await js.create_key_value(bucket=bucket, history=3)
    await js.create_key_value(bucket=bucket, history=3)
    error = await fails(js.create_key_value(bucket=bucket, history=4), errors.BadRequestError)
    check(error.err_code == 10058, error)


@row("delete a bucket")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket)
    await kv.put("k", b"v")
    check(await js.delete_key_value(bucket), "delete")
    await fails(js.key_value(bucket), errors.BucketNotFoundError)
    await fails(js.delete_key_value(bucket), errors.NotFoundError)
    kv = await js.create_key_value(bucket=bucket)
    await fails(kv.get("k"), errors.KeyNotFoundError)


@row("get, by direct and by STREAM.MSG.GET")
async def _(js, bucket):
    for direct in (True, False):
        kv = await js.create_key_value(bucket=bucket + "tf"[direct], history=3, direct=direct)
        check(await kv.put("a.b", b"one") == 1, "put")
        check(await kv.put("a.b", b"two") == 2, "put")
        entry = await kv.get("a.b")
        check((entry.key, entry.value, entry.revision) == ("a.b", b"two", 2), entry)
        check((await kv.get("a.b", revision=1)).value == b"one", "get of a revision")
        await fails(kv.get("none"), errors.KeyNotFoundError)
        await fails(kv.get("a.b", revision=9), errors.KeyNotFoundError)


@row("create, update and their refusals")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket, history=5)
    check(await kv.create("k", b"1") == 1, "create")
    error = await fails(kv.create("k", b"2"), errors.KeyWrongLastSequenceError)
    check("wrong last sequence: 1" in str(error), error)
    check(await kv.update("k", b"2", last=1) == 2, "update")
    error = await fails(kv.update("k", b"3", last=1), errors.KeyWrongLastSequenceError)
    check("wrong last sequence: 2" in str(error), error)
    await fails(kv.delete("k", last=1), errors.BadRequestError, errors.KeyWrongLastSequenceError)
    check(await kv.delete("k", last=2), "delete")
    check(await kv.create("k", b"4") == 4, "create over a marker")
    check(await kv.purge("k"), "purge")
    check([word(entry) for entry in await kv.history("k")] == ["k:PURGE"], "history")


@row("keys and history")
async def _(js, bucket):
    kv = await watched(js, bucket)
    check(sorted(await kv.keys()) == ["a", "c.x", "c.y"], "keys")
    check([word(entry) for entry in await kv.history("a")] == ["a=1", "a=2"], "history")
    await fails(kv.history("none"), errors.NoKeysError)
    empty = await js.create_key_value(bucket=bucket + "empty")
    await fails(empty.keys(), errors.NoKeysError)


def watches(name, past, future, key=">", **options):
    """What a watch sees before and after another write to each key."""
    async def run(js, bucket):
        kv = await watched(js, bucket)
        watcher = await kv.watch(key, **options)
        seen = [word(await watcher.updates(timeout=10)) for _ in past]
        check(seen == past, seen)
        for one in ("a", "b", "c.x", "c.y"):
            await kv.put(one, b"new")
        await kv.purge("a")
        seen = [word(await watcher.updates(timeout=10)) for _ in future]
        check(seen == future, seen)
        await watcher.stop()
    row(name)(run)


EVERYTHING = ["a=new", "b=new", "c.x=new", "c.y=new", "a:PURGE"]
watches("watch all", ["a=2", "b:DEL", "c.x=5", "c.y=6", "|"], EVERYTHING)
watches("watch a key", ["a=2", "|"], ["a=new", "a:PURGE"], key="a")
watches("watch a pattern", ["c.x=5", "c.y=6", "|"], ["c.x=new", "c.y=new"], key="c.*")
watches("watch with history", ["a=1", "a=2", "b=3", "b:DEL", "c.x=5", "c.y=6", "|"], EVERYTHING,
        include_history=True)
watches("watch without deletes", ["a=2", "c.x=5", "c.y=6", "|"], EVERYTHING[:-1],
        ignore_deletes=True)
watches("watch without values", ["a=", "b:DEL", "c.x=", "c.y=", "|"],
        ["a=", "b=", "c.x=", "c.y=", "a:PURGE"], meta_only=True)


@row("a watch of nothing ends at once")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket)
    watcher = await kv.watch("none")
    check(await watcher.updates(timeout=10) is None, "the end")
    await kv.put("none", b"now")
    check(word(await watcher.updates(timeout=10)) == "none=now", "the future")


@row("purge of deletes")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket, history=3)
    await kv.put("live", b"v")
    await kv.put("dead", b"v")
    await kv.delete("dead")
    await kv.purge_deletes(olderthan=-1)
    check((await kv.status()).values == 1, "values")


@row("a key with a time to live")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket)
    await kv.create("lease", b"mine", msg_ttl=1)
    check((await kv.get("lease")).value == b"mine", "get")

    async def is_gone():
        try:
            await kv.get("lease")
        except errors.KeyNotFoundError:
            return True
        return False
    await eventually(is_gone)
    check((await kv.status()).values == 0, "nothing is left of it")
    await kv.create("lease", b"yours", msg_ttl=1)


@row("a full bucket")
async def _(js, bucket):
    kv = await js.create_key_value(bucket=bucket, max_bytes=1000)
    error = await fails(kv.put("k", b"x" * 1000), errors.APIError)
    check(error.err_code == 10077, error)
    await kv.put("k", b"x" * 100)


@row("message ids")
async def _(js, bucket):
    await js.create_key_value(bucket=bucket, history=5)
    subject = "$KV.%s.k" % bucket
    first = await js.publish(subject, b"1", headers={"Nats-Msg-Id": "x"})
    again = await js.publish(subject, b"2", headers={"Nats-Msg-Id": "x"})
    check((first.seq, first.duplicate or False, again.seq, again.duplicate) == (1, False, 1, True),
          first, again)


async def main():
    nc = await nats.connect(sys.argv[1])
    js = nc.jetstream()
    failed = 0
    for index, (name, function) in enumerate(ROWS):
        if len(sys.argv) > 2 and sys.argv[2] not in name:
            continue
        try:
            await asyncio.wait_for(function(js, "pyrow%d" % index), ROW_S)
            print("ok:", name, flush=True)
        except Exception as error:  # whatever a client may raise
            failed += 1
            print("failed: %s: %r" % (name, error), flush=True)
    await nc.close()
    sys.exit(1 if failed else 0)


asyncio.run(main())
