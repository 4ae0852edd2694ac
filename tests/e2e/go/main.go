// tests/e2e/go/main.go: the small Key/Value session with nats.go. Takes the URL and a bucket's
// name, prints ok and exits 0, or says what differs and exits 1.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// check ends the program unless the condition holds.
func check(holds bool, what string, values ...any) {
	if !holds {
		fmt.Println("failed:", what, values)
		os.Exit(1)
	}
}

func no(err error, what string) { check(err == nil, what, err) }

func main() {
	check(len(os.Args) == 3, "usage: session <url> <bucket>")
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	nc, err := nats.Connect(os.Args[1])
	no(err, "connect")
	defer nc.Close()
	js, err := jetstream.New(nc)
	no(err, "jetstream")
	bucket := os.Args[2]

	_, err = js.KeyValue(ctx, bucket)
	check(errors.Is(err, jetstream.ErrBucketNotFound), "a missing bucket", err)
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: 5})
	no(err, "create bucket")
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: 5})
	no(err, "create bucket again")
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: 2})
	check(errors.Is(err, jetstream.ErrBucketExists), "create with another configuration", err)

	// Values.
	revision, err := kv.Put(ctx, "a", []byte("one"))
	no(err, "put")
	check(revision == 1, "revision of the first put", revision)
	entry, err := kv.Get(ctx, "a")
	no(err, "get")
	check(string(entry.Value()) == "one" && entry.Revision() == 1, "get", entry)
	check(entry.Operation() == jetstream.KeyValuePut, "operation", entry.Operation())
	check(time.Since(entry.Created()) < time.Minute, "created", entry.Created())
	_, err = kv.Get(ctx, "none")
	check(errors.Is(err, jetstream.ErrKeyNotFound), "get of a missing key", err)

	// Create and update.
	_, err = kv.Create(ctx, "a", []byte("x"))
	check(errors.Is(err, jetstream.ErrKeyExists), "create of a live key", err)
	revision, err = kv.Create(ctx, "b", []byte("two"))
	no(err, "create")
	revision, err = kv.Update(ctx, "b", []byte("three"), revision)
	no(err, "update")
	check(revision == 3, "revision of the update", revision)
	_, err = kv.Update(ctx, "b", []byte("x"), revision-1)
	check(errors.Is(err, jetstream.ErrKeyRevisionMismatch) &&
		strings.Contains(err.Error(), "wrong last sequence: 3"), "update with a stale revision", err)
	entry, err = kv.GetRevision(ctx, "b", 2)
	no(err, "get revision")
	check(string(entry.Value()) == "two", "get revision", entry)

	// Watch: what is there, the end of it, then what comes.
	watcher, err := kv.WatchAll(ctx)
	no(err, "watch")
	expect := func(key, value string, operation jetstream.KeyValueOp) {
		select {
		case entry := <-watcher.Updates():
			check(entry != nil && entry.Key() == key && string(entry.Value()) == value &&
				entry.Operation() == operation, "watch", key, entry)
		case <-ctx.Done():
			check(false, "watch: nothing came for", key)
		}
	}
	expect("a", "one", jetstream.KeyValuePut)
	expect("b", "three", jetstream.KeyValuePut)
	check(<-watcher.Updates() == nil, "end of the initial values")
	_, err = kv.Put(ctx, "c", []byte("four"))
	no(err, "put")
	expect("c", "four", jetstream.KeyValuePut)
	no(kv.Delete(ctx, "a"), "delete")
	expect("a", "", jetstream.KeyValueDelete)
	no(kv.Purge(ctx, "b"), "purge")
	expect("b", "", jetstream.KeyValuePurge)
	no(watcher.Stop(), "stop")

	// Deleted keys.
	_, err = kv.Get(ctx, "a")
	check(errors.Is(err, jetstream.ErrKeyNotFound), "get of a deleted key", err)
	revision, err = kv.Create(ctx, "a", []byte("again"))
	no(err, "create over a delete marker")
	check(revision == 7, "revision of the create", revision)
	err = kv.Delete(ctx, "a", jetstream.LastRevision(3))
	check(err != nil && strings.Contains(err.Error(), "wrong last sequence: 7"), "delete", err)

	// Keys and history.
	keys, err := kv.Keys(ctx)
	no(err, "keys")
	sort.Strings(keys)
	check(strings.Join(keys, " ") == "a c", "keys", keys)
	history, err := kv.History(ctx, "a")
	no(err, "history")
	check(len(history) == 3 && string(history[0].Value()) == "one" &&
		history[1].Operation() == jetstream.KeyValueDelete && history[2].Revision() == 7,
		"history", history)
	history, err = kv.History(ctx, "b")
	no(err, "history of a purged key")
	check(len(history) == 1 && history[0].Operation() == jetstream.KeyValuePurge, "history", history)

	// Many keys, and values of a size.
	for n := 0; n < 500; n++ {
		_, err = kv.Put(ctx, fmt.Sprintf("many.%d", n), make([]byte, n*20))
		no(err, "put")
	}
	keys, err = kv.Keys(ctx)
	no(err, "keys")
	check(len(keys) == 502, "number of keys", len(keys))
	entry, err = kv.Get(ctx, "many.499")
	no(err, "get")
	check(len(entry.Value()) == 499*20, "a large value", len(entry.Value()))

	status, err := kv.Status(ctx)
	no(err, "status")
	check(status.Bucket() == bucket && status.History() == 5 && status.Values() == 505,
		"status", status.Values())
	no(kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)), "purge deletes")
	status, err = kv.Status(ctx)
	no(err, "status")
	check(status.Values() == 504, "status after purge deletes", status.Values())
	no(js.DeleteKeyValue(ctx, bucket), "delete bucket")
	_, err = js.KeyValue(ctx, bucket)
	check(errors.Is(err, jetstream.ErrBucketNotFound), "the deleted bucket", err)
	fmt.Println("ok")
}
