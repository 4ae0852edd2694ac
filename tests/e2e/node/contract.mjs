// tests/e2e/node/contract.mjs: the rows of the Key/Value contract as @nats-io/kv shows them. Takes the URL and, if only some
// rows are wanted, a part of their names; prints a line for each row, and exits 1 if one failed. A server of anybody must
// pass it. Its packages are found in a folder node_modules beside it: the driver runs a copy next to a link.
import assert from "node:assert/strict";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const rowMs = 30_000;
const [url, wanted = ""] = process.argv.slice(2);
const nc = await connect({ servers: url });
const js = jetstream(nc);
const jsm = await jetstreamManager(nc);
const kvm = new Kvm(js);

const collect = async (iterator) => {
  const all = [];
  for await (const item of iterator) all.push(item);
  return all;
};
const take = async (iterator, count) => {
  const all = [];
  if (count === 0) return all;
  for await (const item of iterator) {
    all.push(item);
    if (all.length === count) break;
  }
  return all;
};
const word = (entry) =>
  entry.operation === "PUT" ? `${entry.key}=${entry.string()}` : `${entry.key}:${entry.operation}`;
const apiError = (code, text) => (error) => error.code === code && error.message.includes(text);
const eventually = async (holds) => {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20));
};

// A bucket with some past: a: 1 2, b: 3 deleted, c.x: 5, c.y: 6.
const watched = async (bucket) => {
  const kv = await kvm.create(bucket, { history: 5 });
  await kv.put("a", "1");
  await kv.put("a", "2");
  await kv.put("b", "3");
  await kv.delete("b");
  await kv.put("c.x", "5");
  await kv.put("c.y", "6");
  return kv;
};
// What a watch with these options sees before and after another write to each key.
const watches = (options, past, future) => async (bucket) => {
  const kv = await watched(bucket);
  const watch = await kv.watch(options);
  const seen = [];
  const all = (async () => {
    for await (const entry of watch) {
      seen.push(entry);
      if (seen.length === past.length + future.length) break;
    }
  })();
  await eventually(() => seen.length >= past.length);
  for (const key of ["a", "b", "c.x", "c.y"]) await kv.put(key, "new");
  await kv.purge("a");
  await all;
  assert.deepEqual(seen.map(word), [...past, ...future]);
  // @nats-io/kv 3.4 calls the last of the past an update already.
  assert.deepEqual(seen.map((entry) => entry.isUpdate), seen.map((_, n) => n >= past.length - 1));
};
const everything = ["a=new", "b=new", "c.x=new", "c.y=new", "a:PURGE"];

const rows = {
  "every option comes back": async (bucket) => {
    const options = { description: "all of it", history: 7, ttl: 3_600_000, max_bytes: 1 << 20,
      maxValueSize: 1000, storage: "memory", compression: true, markerTTL: 60_000,
      metadata: { team: "a" }, republish: { src: `$KV.${bucket}.>`, dest: `told.${bucket}.>` } };
    const kv = await kvm.create(bucket, options);
    const status = await kv.status();
    const { config } = status.streamInfo;
    assert.deepEqual([status.bucket, status.description, status.history, status.ttl, status.max_bytes,
      status.maxValueSize, status.storage, status.compression, status.markerTTL, status.values],
    [bucket, "all of it", 7, 3_600_000, 1 << 20, 1000, "memory", true, 60_000, 0]);
    assert.equal(status.metadata.team, "a");
    assert.deepEqual(config.republish, options.republish);
    assert.equal(config.allow_msg_ttl, true);
  },
  "create takes an existing bucket as it is": async (bucket) => {
    await kvm.create(bucket, { history: 3 });
    const kv = await kvm.create(bucket, { history: 9 });
    assert.equal((await kv.status()).history, 3);
  },
  "buckets are listed": async (bucket) => {
    await kvm.create(`${bucket}x`);
    const names = (await collect(await kvm.list())).map((status) => status.bucket);
    assert.ok(names.includes(`${bucket}x`), names.join(" "));
  },
  "delete a bucket": async (bucket) => {
    const kv = await kvm.create(bucket);
    await kv.put("k", "v");
    assert.equal(await kv.destroy(), true);
    await assert.rejects(jsm.streams.info(`KV_${bucket}`), apiError(10059, "stream not found"));
    assert.equal(await (await kvm.create(bucket)).get("k"), null);
  },
  "create, update and their refusals": async (bucket) => {
    const kv = await kvm.create(bucket, { history: 5 });
    assert.equal(await kv.create("k", "1"), 1);
    await assert.rejects(kv.create("k", "2"), apiError(10071, "wrong last sequence: 1"));
    assert.equal(await kv.update("k", "2", 1), 2);
    await assert.rejects(kv.update("k", "3", 1), apiError(10071, "wrong last sequence: 2"));
    await assert.rejects(kv.put("k", "3", { previousSeq: 1 }), apiError(10071, "wrong last sequence: 2"));
    await kv.delete("k", { previousSeq: 2 });
    assert.equal(await kv.create("k", "4"), 4);
    await assert.rejects(kv.purge("k", { previousSeq: 1 }), apiError(10071, "wrong last sequence: 4"));
    await kv.purge("k", { previousSeq: 4 });
    assert.equal((await kv.get("k")).operation, "PURGE");
  },
  "delete by a pattern": async (bucket) => {
    const kv = await watched(bucket);
    await kv.delete("c.*");
    assert.deepEqual(await collect(await kv.keys()), ["a"]);
  },
  "keys, all and filtered": async (bucket) => {
    const kv = await watched(bucket);
    assert.deepEqual(await collect(await kv.keys()), ["a", "c.x", "c.y"]);
    assert.deepEqual(await collect(await kv.keys("c.>")), ["c.x", "c.y"]);
    assert.deepEqual(await collect(await kv.keys(["a", "c.y"])), ["a", "c.y"]);
    assert.deepEqual(await collect(await kv.keys("none")), []);
  },
  "history, all and filtered": async (bucket) => {
    const kv = await watched(bucket);
    assert.deepEqual((await collect(await kv.history())).map(word),
      ["a=1", "a=2", "b=3", "b:DEL", "c.x=5", "c.y=6"]);
    const some = await collect(await kv.history({ key: "a" }));
    assert.deepEqual(some.map((entry) => [entry.revision, entry.delta]), [[1, 1], [2, 0]]);
  },
  "purge of deletes": async (bucket) => {
    const kv = await kvm.create(bucket, { history: 3 });
    await kv.put("live", "v");
    await kv.put("dead", "v");
    await kv.delete("dead");
    assert.equal((await kv.purgeDeletes(0)).purged, 2);
    assert.equal((await kv.status()).values, 1);
  },
  "purge of a bucket": async (bucket) => {
    const kv = await watched(bucket);
    assert.equal((await kv.purgeBucket()).purged, 6);
    assert.deepEqual(await collect(await kv.keys()), []);
    assert.equal(await kv.put("k", "v"), 7);
  },
  "watch all": watches({}, ["a=2", "b:DEL", "c.x=5", "c.y=6"], everything),
  "watch a key": watches({ key: "a" }, ["a=2"], ["a=new", "a:PURGE"]),
  "watch a pattern": watches({ key: "c.*" }, ["c.x=5", "c.y=6"], ["c.x=new", "c.y=new"]),
  "watch several keys": watches({ key: ["a", "c.x"] }, ["a=2", "c.x=5"], ["a=new", "c.x=new", "a:PURGE"]),
  "watch with history": watches({ include: "history" },
    ["a=1", "a=2", "b=3", "b:DEL", "c.x=5", "c.y=6"], everything),
  "watch without deletes": watches({ ignoreDeletes: true }, ["a=2", "c.x=5", "c.y=6"], everything),
  "watch without values": watches({ headers_only: true }, ["a=", "b:DEL", "c.x=", "c.y="],
    ["a=", "b=", "c.x=", "c.y=", "a:PURGE"]),
  "watch from a revision": watches({ resumeFromRevision: 4 }, ["b:DEL", "c.x=5", "c.y=6"], everything),
  "watch updates only": async (bucket) => {
    const kv = await watched(bucket);
    const watch = await kv.watch({ include: "updates" });
    const seen = take(watch, 1);
    await kv.put("a", "new");
    assert.deepEqual((await seen).map(word), ["a=new"]);
  },
  "a key with a time to live": async (bucket) => {
    const kv = await kvm.create(bucket, { markerTTL: 2000 });
    const watch = await kv.watch({ include: "updates" });
    const seen = take(watch, 2);
    await kv.create("lease", "mine", "1s");
    await kv.put("stays", "v");
    const [lease, stays] = await seen;
    assert.deepEqual([word(lease), word(stays)], ["lease=mine", "stays=v"]);
    await eventually(async () => (await kv.get("lease")).operation === "PURGE");
    await kv.create("lease", "yours");
    assert.equal((await kv.get("lease")).string(), "yours");
    assert.equal((await kv.get("stays")).string(), "v");
  },
  "a purge with a time to live": async (bucket) => {
    const kv = await kvm.create(bucket, { markerTTL: 1000 });
    await kv.put("k", "v");
    await kv.purge("k", { ttl: "1s" });
    assert.equal((await kv.get("k")).operation, "PURGE");
    await eventually(async () => (await kv.get("k")) === null);
    assert.equal((await kv.status()).values, 0);
  },
  "a time to live that the bucket does not take": async (bucket) => {
    const kv = await kvm.create(bucket);
    await assert.rejects(kv.create("k", "v", "10s"), apiError(10166, "per-message TTL is disabled"));
  },
  "a mirror follows": async (bucket) => {
    const origin = await kvm.create(`${bucket}o`);
    await origin.put("a", "1");
    await kvm.create(bucket, { mirror: { name: `${bucket}o` } });
    await origin.put("b", "2");
    await eventually(async () => {
      const info = await jsm.streams.info(`KV_${bucket}`);
      assert.equal(info.mirror.name, `KV_${bucket}o`);
      return info.state.messages === 2 && info.state.last_seq === 2;
    });
  },
  "a bucket with sources": async (bucket) => {
    const one = await kvm.create(`${bucket}one`);
    const two = await kvm.create(`${bucket}two`);
    await one.put("a", "1");
    const kv = await kvm.create(bucket, { sources: [{ name: `${bucket}one` }, { name: `${bucket}two` }] });
    await two.put("b", "2");
    await eventually(async () => (await kv.get("a")) !== null && (await kv.get("b")) !== null);
    assert.equal((await kv.get("a")).string() + (await kv.get("b")).string(), "12");
    await kv.put("own", "3");
    assert.equal((await kv.get("own")).string(), "3");
  },
  "direct gets of a batch": async (bucket) => {
    await watched(bucket);
    const stream = `KV_${bucket}`;
    const last = await collect(await jsm.direct.getLastMessagesFor(stream, { multi_last: [`$KV.${bucket}.>`] }));
    assert.deepEqual(last.map((msg) => msg.seq), [2, 4, 5, 6]);
    const batch = await collect(await jsm.direct.getBatch(stream, { seq: 2, batch: 3 }));
    assert.deepEqual(batch.map((msg) => msg.seq), [2, 3, 4]);
  },
};

let failed = 0;
let index = 0;
for (const [name, run] of Object.entries(rows)) {
  index++;
  if (!name.includes(wanted)) continue;
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("took too long")), rowMs);
  });
  try {
    await Promise.race([run(`jsrow${index}`), late]);
    console.log(`ok: ${name}`);
  } catch (error) {
    failed++;
    console.log(`failed: ${name}: ${error.message}`);
  }
  clearTimeout(timer);
}
process.exit(failed > 0 ? 1 : 0);
