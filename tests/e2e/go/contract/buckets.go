package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// bucketRows: making, reading, changing, listing and deleting buckets.
var bucketRows = []namedRow{
	{"every option comes back", func(r *row) {
		config := jetstream.KeyValueConfig{
			Bucket: r.bucket, Description: "all of it", MaxValueSize: 1000, History: 7, TTL: time.Hour,
			MaxBytes: 1 << 20, Storage: jetstream.MemoryStorage, Replicas: 1, Compression: true,
			LimitMarkerTTL: time.Minute, Metadata: map[string]string{"team": "a"},
			RePublish: &jetstream.RePublish{Source: "$KV." + r.bucket + ".>",
				Destination: "told." + r.bucket + ".>", HeadersOnly: true},
		}
		status, err := r.create(config).Status(r.ctx)
		no(err, "status")
		check(status.Bucket() == r.bucket && status.History() == 7 && status.TTL() == time.Hour,
			"status", status)
		check(status.IsCompressed() && status.BackingStore() == "JetStream" &&
			status.LimitMarkerTTL() == time.Minute && status.Metadata()["team"] == "a", "status", status)
		got := status.Config()
		check(got.Description == config.Description && got.MaxValueSize == 1000 &&
			got.MaxBytes == 1<<20 && got.Storage == jetstream.MemoryStorage && got.Compression &&
			*got.RePublish == *config.RePublish, "config", got)
	}},
	{"defaults", func(r *row) {
		status, err := r.create(jetstream.KeyValueConfig{}).Status(r.ctx)
		no(err, "status")
		check(status.History() == 1 && status.TTL() == 0 && status.Values() == 0 &&
			status.Bytes() == 0 && !status.IsCompressed() && status.LimitMarkerTTL() == 0, "status", status)
	}},
	{"create is idempotent, another configuration is refused", func(r *row) {
		r.create(jetstream.KeyValueConfig{History: 3})
		r.create(jetstream.KeyValueConfig{History: 3})
		_, err := r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket, History: 4})
		check(errors.Is(err, jetstream.ErrBucketExists), "create", err)
	}},
	{"update", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 5})
		for _, value := range []string{"1", "2", "3", "4"} {
			r.put(kv, "k", value)
		}
		changed := jetstream.KeyValueConfig{Bucket: r.bucket, History: 2, Description: "less",
			TTL: time.Hour, MaxValueSize: 64, Metadata: map[string]string{"a": "b"}}
		kv, err := r.js.UpdateKeyValue(r.ctx, changed)
		no(err, "update")
		status, err := kv.Status(r.ctx)
		no(err, "status")
		check(status.History() == 2 && status.TTL() == time.Hour && status.Values() == 2 &&
			status.Config().Description == "less" && status.Metadata()["a"] == "b", "status", status)
		_, err = kv.Put(r.ctx, "k", make([]byte, 65))
		has(err, "err_code=10054", "message size exceeds maximum allowed")
		changed.Storage = jetstream.MemoryStorage
		_, err = r.js.UpdateKeyValue(r.ctx, changed)
		has(err, "err_code=10052", "stream configuration update can not change storage type")
		_, err = r.js.UpdateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket + "none"})
		check(errors.Is(err, jetstream.ErrBucketNotFound), "update of none", err)
	}},
	{"an update to a limit of bytes", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		for n := 0; n < 50; n++ {
			r.put(kv, fmt.Sprint("k", n), "value")
		}
		kv, err := r.js.UpdateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket, MaxBytes: 8192})
		no(err, "update")
		full := func() bool {
			_, err := kv.Put(r.ctx, "big", make([]byte, 4000))
			if err == nil {
				_, err = kv.Put(r.ctx, "big2", make([]byte, 4000))
			}
			if err != nil {
				has(err, "maximum bytes exceeded")
			}
			return err != nil
		}
		check(full(), "a limit of bytes that is not kept")
		check(r.value(kv, "k49") == "value", "what was there")
	}},
	{"create or update", func(r *row) {
		config := jetstream.KeyValueConfig{Bucket: r.bucket, Description: "one"}
		_, err := r.js.CreateOrUpdateKeyValue(r.ctx, config)
		no(err, "create")
		config.Description = "two"
		kv, err := r.js.CreateOrUpdateKeyValue(r.ctx, config)
		no(err, "update")
		status, err := kv.Status(r.ctx)
		no(err, "status")
		check(status.Config().Description == "two", "description", status.Config())
	}},
	{"names and statuses", func(r *row) {
		r.create(jetstream.KeyValueConfig{Bucket: r.bucket + "x", Description: "for the list"})
		r.create(jetstream.KeyValueConfig{Bucket: r.bucket + "y"})
		names := r.js.KeyValueStoreNames(r.ctx)
		var got []string
		for name := range names.Name() {
			got = append(got, name)
		}
		no(names.Error(), "names")
		check(slices.Contains(got, r.bucket+"x") && slices.Contains(got, r.bucket+"y"), "names", got)
		stores := r.js.KeyValueStores(r.ctx)
		found := false
		for status := range stores.Status() {
			found = found || status.Bucket() == r.bucket+"x" &&
				status.Config().Description == "for the list"
		}
		no(stores.Error(), "statuses")
		check(found, "statuses")
	}},
	{"delete a bucket", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		r.put(kv, "k", "v")
		no(r.js.DeleteKeyValue(r.ctx, r.bucket), "delete")
		check(errors.Is(r.js.DeleteKeyValue(r.ctx, r.bucket), jetstream.ErrBucketNotFound), "again")
		_, err := r.js.KeyValue(r.ctx, r.bucket)
		check(errors.Is(err, jetstream.ErrBucketNotFound), "bind", err)
		kv = r.create(jetstream.KeyValueConfig{})
		_, err = kv.Get(r.ctx, "k")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "get in the new bucket", err)
		check(r.put(kv, "k", "v") == 1, "a new bucket begins with revision 1")
	}},
	{"bad names and bad configurations", func(r *row) {
		_, err := r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: "a.b"})
		check(errors.Is(err, jetstream.ErrInvalidBucketName), "name", err)
		_, err = r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket, History: 65})
		check(errors.Is(err, jetstream.ErrHistoryTooLarge), "history", err)
		_, err = r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket, Replicas: 3})
		has(err, "err_code=10074", "replicas > 1 not supported in non-clustered mode")
		_, err = r.js.CreateKeyValue(r.ctx, jetstream.KeyValueConfig{Bucket: r.bucket, TTL: time.Millisecond})
		has(err, "err_code=10052", "max age needs to be >= 100ms")
	}},
	{"a full bucket", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{MaxBytes: 1000})
		r.put(kv, "k", "small")
		_, err := kv.Put(r.ctx, "big", make([]byte, 1000))
		has(err, "err_code=10077", "maximum bytes exceeded")
		check(r.value(kv, "k") == "small", "what is there")
		_, err = kv.Put(r.ctx, "small", make([]byte, 10))
		no(err, "what fits")
	}},
	{"the time to live of a bucket", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{TTL: time.Second})
		revision, err := kv.Create(r.ctx, "lock", []byte("mine"))
		no(err, "create")
		_, err = kv.Create(r.ctx, "lock", []byte("yours"))
		check(errors.Is(err, jetstream.ErrKeyExists), "a lock that is held", err)
		r.eventually("the lock ends", func() bool {
			_, err := kv.Create(r.ctx, "lock", []byte("yours"))
			return err == nil
		})
		_, err = kv.Update(r.ctx, "lock", []byte("mine"), revision)
		check(errors.Is(err, jetstream.ErrKeyRevisionMismatch), "the old holder", err)
	}},
}
