package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keyRows: writing and reading keys.
var keyRows = []namedRow{
	{"put and get", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 3})
		before := time.Now().Add(-time.Second)
		check(r.put(kv, "a.b-c/d=e_f", "one") == 1, "the first revision")
		check(r.put(kv, "a.b-c/d=e_f", "two") == 2, "the second revision")
		entry, err := kv.Get(r.ctx, "a.b-c/d=e_f")
		no(err, "get")
		check(entry.Bucket() == r.bucket && entry.Key() == "a.b-c/d=e_f" && entry.Revision() == 2 &&
			string(entry.Value()) == "two" && entry.Operation() == jetstream.KeyValuePut, "entry", entry)
		check(entry.Created().After(before) && entry.Created().Before(time.Now().Add(time.Second)),
			"created", entry.Created())
	}},
	{"values of every size and byte", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		for _, size := range []int{0, 1, 255, 4096, 65536, 1 << 20} {
			value := make([]byte, size)
			for i := range value {
				value[i] = byte(i)
			}
			_, err := kv.Put(r.ctx, "k", value)
			no(err, "put")
			entry, err := kv.Get(r.ctx, "k")
			no(err, "get")
			check(bytes.Equal(entry.Value(), value), "value of bytes", size, len(entry.Value()))
		}
	}},
	{"get by revision", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 2})
		for _, value := range []string{"1", "2", "3"} {
			r.put(kv, "k", value)
		}
		other := r.put(kv, "other", "x")
		entry, err := kv.GetRevision(r.ctx, "k", 2)
		no(err, "get")
		check(string(entry.Value()) == "2" && entry.Revision() == 2, "entry", entry)
		for _, revision := range []uint64{1, other, 99} {
			_, err = kv.GetRevision(r.ctx, "k", revision)
			check(errors.Is(err, jetstream.ErrKeyNotFound), "get of revision", revision, err)
		}
	}},
	{"create", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 5})
		revision, err := kv.Create(r.ctx, "k", []byte("1"))
		no(err, "create")
		_, err = kv.Create(r.ctx, "k", []byte("2"))
		check(errors.Is(err, jetstream.ErrKeyExists), "again", err)
		has(err, fmt.Sprintf("err_code=10071 description=wrong last sequence: %d: key exists", revision))
		no(kv.Delete(r.ctx, "k"), "delete")
		revision, err = kv.Create(r.ctx, "k", []byte("3"))
		no(err, "create over DEL")
		check(revision == 3, "revision", revision)
		no(kv.Purge(r.ctx, "k"), "purge")
		_, err = kv.Create(r.ctx, "k", []byte("4"))
		no(err, "create over PURGE")
		check(r.value(kv, "k") == "4", "value")
	}},
	{"of many creates one wins", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		var wins sync.Map
		var all sync.WaitGroup
		for n := 0; n < 20; n++ {
			all.Go(func() {
				if revision, err := kv.Create(r.ctx, "lock", []byte(fmt.Sprint(n))); err == nil {
					wins.Store(n, revision)
				}
			})
		}
		all.Wait()
		count := 0
		wins.Range(func(winner, revision any) bool {
			count++
			entry, err := kv.Get(r.ctx, "lock")
			no(err, "get")
			check(string(entry.Value()) == fmt.Sprint(winner) && entry.Revision() == revision, "winner", entry)
			return true
		})
		check(count == 1, "winners", count)
	}},
	{"update", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		revision, err := kv.Update(r.ctx, "k", []byte("1"), 0)
		no(err, "update from nothing")
		revision, err = kv.Update(r.ctx, "k", []byte("2"), revision)
		no(err, "update")
		_, err = kv.Update(r.ctx, "k", []byte("3"), revision-1)
		check(errors.Is(err, jetstream.ErrKeyRevisionMismatch), "stale", err)
		has(err, "wrong last sequence: 2")
		_, err = kv.Update(r.ctx, "none", []byte("3"), 7)
		has(err, "wrong last sequence: 0")
		check(r.put(kv, "k", "4") == 3, "a refused write costs no revision")
	}},
	{"a counter that many increment", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		r.put(kv, "n", "0")
		var all sync.WaitGroup
		for n := 0; n < 4; n++ {
			all.Go(func() {
				for done := 0; done < 25 && r.ctx.Err() == nil; {
					entry, err := kv.Get(r.ctx, "n")
					if err != nil {
						continue
					}
					var value int
					_, _ = fmt.Sscan(string(entry.Value()), &value)
					if _, err = kv.Update(r.ctx, "n", []byte(fmt.Sprint(value+1)), entry.Revision()); err == nil {
						done++
					}
				}
			})
		}
		all.Wait()
		check(r.value(kv, "n") == "100", "counter", r.value(kv, "n"))
	}},
	{"delete", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 3})
		revision := r.put(kv, "k", "1")
		has(kv.Delete(r.ctx, "k", jetstream.LastRevision(revision+5)), "wrong last sequence: 1")
		no(kv.Delete(r.ctx, "k", jetstream.LastRevision(revision)), "delete at a revision")
		_, err := kv.Get(r.ctx, "k")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "get", err)
		no(kv.Delete(r.ctx, "none"), "delete of none")
		history, err := kv.History(r.ctx, "k")
		no(err, "history")
		check(len(history) == 2 && history[1].Operation() == jetstream.KeyValueDelete &&
			len(history[1].Value()) == 0, "history", history)
		has(kv.Delete(r.ctx, "k", jetstream.PurgeTTL(time.Second)), "TTL is not supported on delete")
	}},
	{"purge", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 5})
		for _, value := range []string{"1", "2", "3"} {
			r.put(kv, "k", value)
		}
		r.put(kv, "other", "x")
		has(kv.Purge(r.ctx, "k", jetstream.LastRevision(2)), "wrong last sequence: 3")
		no(kv.Purge(r.ctx, "k", jetstream.LastRevision(3)), "purge at a revision")
		history, err := kv.History(r.ctx, "k")
		no(err, "history")
		check(len(history) == 1 && history[0].Operation() == jetstream.KeyValuePurge &&
			history[0].Revision() == 5, "history", history)
		check(r.value(kv, "other") == "x", "other keys")
	}},
	{"keys", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 2})
		_, err := kv.Keys(r.ctx)
		check(errors.Is(err, jetstream.ErrNoKeysFound), "none", err)
		for _, key := range []string{"b.1", "a.1", "a.2", "c", "gone", "purged"} {
			r.put(kv, key, "v")
			r.put(kv, key, "w")
		}
		no(kv.Delete(r.ctx, "gone"), "delete")
		no(kv.Purge(r.ctx, "purged"), "purge")
		keys, err := kv.Keys(r.ctx)
		no(err, "keys")
		slices.Sort(keys)
		check(strings.Join(keys, " ") == "a.1 a.2 b.1 c", "keys", keys)
		listed := func(lister jetstream.KeyLister, err error) string {
			no(err, "list")
			var got []string
			for key := range lister.Keys() {
				got = append(got, key)
			}
			return strings.Join(got, " ")
		}
		check(listed(kv.ListKeys(r.ctx)) == "b.1 a.1 a.2 c", "list in the order of revisions")
		check(listed(kv.ListKeysFiltered(r.ctx, "a.*")) == "a.1 a.2", "a filter")
		check(listed(kv.ListKeysFiltered(r.ctx, "a.*", "c")) == "a.1 a.2 c", "two filters")
		check(listed(kv.ListKeysFiltered(r.ctx, "none.>")) == "", "a filter of nothing")
	}},
	{"history", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 4})
		_, err := kv.History(r.ctx, "k")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "none", err)
		for n := 1; n <= 6; n++ {
			r.put(kv, "k", fmt.Sprint(n))
			r.put(kv, "other", "x")
		}
		history, err := kv.History(r.ctx, "k")
		no(err, "history")
		check(len(history) == 4, "length", len(history))
		for i, entry := range history {
			check(string(entry.Value()) == fmt.Sprint(3+i) && entry.Revision() == uint64(5+2*i) &&
				entry.Delta() == uint64(3-i), "entry", i, entry)
		}
		history, err = kv.History(r.ctx, "k", jetstream.MetaOnly())
		no(err, "history")
		check(len(history) == 4 && len(history[0].Value()) == 0, "without values", history)
	}},
	{"purge of deletes", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{History: 5})
		r.put(kv, "live", "v")
		for _, key := range []string{"a", "b"} {
			r.put(kv, key, "v")
			no(kv.Delete(r.ctx, key), "delete")
		}
		values := func() uint64 {
			status, err := kv.Status(r.ctx)
			no(err, "status")
			return status.Values()
		}
		no(kv.PurgeDeletes(r.ctx), "markers that are young stay")
		check(values() == 3, "values", values())
		no(kv.PurgeDeletes(r.ctx, jetstream.DeleteMarkersOlderThan(-1)), "all markers go")
		check(values() == 1, "values", values())
		check(r.value(kv, "live") == "v", "what lives")
	}},
	{"a key with a time to live", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{LimitMarkerTTL: 2 * time.Second})
		_, err := kv.Create(r.ctx, "lease", []byte("mine"), jetstream.KeyTTL(time.Second))
		no(err, "create")
		_, err = kv.Create(r.ctx, "stays", []byte("v"))
		no(err, "create")
		watcher, err := kv.Watch(r.ctx, "lease", jetstream.UpdatesOnly())
		no(err, "watch")
		select {
		case entry := <-watcher.Updates():
			check(entry.Key() == "lease" && entry.Operation() == jetstream.KeyValuePurge, "marker", entry)
		case <-r.ctx.Done():
			check(false, "no marker came")
		}
		_, err = kv.Get(r.ctx, "lease")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "get", err)
		_, err = kv.Create(r.ctx, "lease", []byte("yours"))
		no(err, "create over a marker")
		check(r.value(kv, "stays") == "v" && r.value(kv, "lease") == "yours", "values")
	}},
	{"a purge with a time to live", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{LimitMarkerTTL: time.Second})
		r.put(kv, "k", "v")
		no(kv.Purge(r.ctx, "k", jetstream.PurgeTTL(time.Second)), "purge")
		status := func() jetstream.KeyValueStatus {
			status, err := kv.Status(r.ctx)
			no(err, "status")
			return status
		}
		check(status().Values() == 1, "the marker", status().Values())
		r.eventually("the marker goes, and leaves none", func() bool { return status().Values() == 0 })
	}},
	{"times to live that are refused", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		_, err := kv.Create(r.ctx, "k", []byte("v"), jetstream.KeyTTL(time.Minute))
		has(err, "err_code=10166", "per-message TTL is disabled")
		_, err = kv.Get(r.ctx, "k")
		check(errors.Is(err, jetstream.ErrKeyNotFound), "nothing was stored", err)
	}},
	{"the end of a bucket's age leaves markers", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{TTL: time.Second, LimitMarkerTTL: time.Minute})
		watcher, err := kv.WatchAll(r.ctx, jetstream.UpdatesOnly())
		no(err, "watch")
		r.put(kv, "k", "v")
		for _, wanted := range []jetstream.KeyValueOp{jetstream.KeyValuePut, jetstream.KeyValuePurge} {
			select {
			case entry := <-watcher.Updates():
				check(entry != nil && entry.Operation() == wanted, "watch", entry)
			case <-r.ctx.Done():
				check(false, "nothing came, wanted", wanted)
			}
		}
	}},
	{"what a missing bucket answers", func(r *row) {
		kv := r.create(jetstream.KeyValueConfig{})
		no(r.js.DeleteKeyValue(r.ctx, r.bucket), "delete")
		begin := time.Now()
		_, err := kv.Get(r.ctx, "k")
		check(err != nil && time.Since(begin) < 2*time.Second, "get", err, time.Since(begin))
		_, err = kv.Put(r.ctx, "k", nil)
		check(errors.Is(err, jetstream.ErrNoStreamResponse), "put", err)
	}},
}
