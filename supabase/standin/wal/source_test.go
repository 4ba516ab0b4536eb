package wal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/stack"
	"github.com/agentopia/realtime-proxy/supabase/standin"
	"github.com/agentopia/realtime-proxy/supabase/standin/wal"
)

func TestBadConnectionStringIsRefusedWithoutItsPassword(t *testing.T) {
	_, err := wal.New(wal.Options{DSN: "postgres://user:hunter2@host:notaport/db"})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hunter2")
}

func TestQuestionsWithoutAStreamAreNotAnswered(t *testing.T) {
	source, err := wal.New(wal.Options{DSN: "postgres://127.0.0.1:1/db"})
	require.NoError(t, err)
	_, err = source.Published(t.Context(), "service_role")
	require.ErrorIs(t, err, wal.ErrNotStreaming)
	_, err = source.Literal(t.Context(), &standin.PublishedTable{}, "a", "1")
	require.ErrorIs(t, err, wal.ErrNotStreaming)
	_, err = source.Visible(t.Context(), "anon", &standin.Change{})
	require.ErrorIs(t, err, wal.ErrNotStreaming)
}

func TestSource(t *testing.T) {
	for _, kind := range []string{stack.Embedded, stack.Debian} {
		t.Run(kind, func(t *testing.T) {
			st := stack.Start(t, stack.Options{Postgres: kind})
			for name, test := range map[string]func(*testing.T, *database){
				"values have the forms of to_jsonb":                             testValues,
				"an unknown type is told by its name":                           testUserTypes,
				"an update without a large column leaves it out":                testToast,
				"a row above the limit loses its large values":                  testTooLarge,
				"a transaction comes whole and in order":                        testTransaction,
				"20 writers come in commit order":                               testOrder,
				"row level security and grants decide at once":                  testPrivileges,
				"a table without a key answers with error 400":                  testNoKey,
				"filters take the column's own type":                            testFilters,
				"a table taken out of the publication is not subscribed":        testPublication,
				"a sink that fails gets a new slot":                             testFailingSink,
				"a row is there for other readers when its change is delivered": testReadYourChange,
			} {
				t.Run(name, func(t *testing.T) {
					test(t, newDatabase(t, st, "d"+strconv.Itoa(int(databases.next()))))
				})
			}
		})
	}
}

var databases counter

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

const large = `(select string_agg(md5(i::text), '') from generate_series(1, 4000) i)` // 128,000 bytes that do not compress

func testToast(t *testing.T, d *database) {
	d.exec(`create table docs (id int primary key, body text, n int); create table full_docs (like docs including all);
alter table full_docs replica identity full`)
	transactions := d.transactions()
	for _, table := range []string{"docs", "full_docs"} {
		d.exec("insert into " + table + " values (1, " + large + ", 1)")
		inserted := next(t, transactions)[0]
		require.Len(t, inserted.Row["body"], 128_000)
		d.exec("update " + table + " set n = 2")
		updated := next(t, transactions)[0]
		body, there := updated.Row["body"]
		assert.Equal(t, table == "full_docs", there, table)
		if there {
			assert.Equal(t, inserted.Row["body"], body)
			assert.Equal(t, json.Number("1"), updated.Old["n"])
		} else {
			assert.Equal(t, standin.Row{"id": json.Number("1")}, updated.Old)
		}
		d.exec("update " + table + " set id = 5; delete from " + table)
		moved := next(t, transactions)
		require.Len(t, moved, 2)
		assert.Equal(t, json.Number("1"), moved[0].Old["id"])
		assert.Equal(t, "DELETE", moved[1].Type)
		assert.Nil(t, moved[1].Row)
		assert.Equal(t, json.Number("5"), moved[1].Old["id"])
	}
}

func testTooLarge(t *testing.T, d *database) {
	d.exec("create table docs (id int primary key, short text, body text, absent text); grant select on docs to service_role")
	server, _, base := d.realtime()
	c := joinTable(t, base, server.ServiceKey(), "docs")
	for i, test := range []struct {
		bytes    int
		tooLarge bool
	}{{1_048_000, false}, {1_048_577, true}, {2 << 20, true}} {
		d.exec(fmt.Sprintf("insert into docs values (%d, 'short', repeat('x', %d))", i, test.bytes))
		f := c.change()
		require.Len(t, f.Data.Columns, 4)
		if !test.tooLarge {
			require.Empty(t, f.Data.Errors)
			require.Len(t, f.Data.Record["body"], test.bytes+2)
			continue
		}
		require.Equal(t, []string{"Error 413: Payload Too Large"}, f.Data.Errors)
		require.Equal(t, map[string]json.RawMessage{"id": json.RawMessage(strconv.Itoa(i)), "short": json.RawMessage(`"short"`)}, f.Data.Record)
	}
}

func testTransaction(t *testing.T, d *database) {
	d.exec("create table rows_of_one (id int primary key, v text)")
	transactions := d.transactions()
	d.exec("insert into rows_of_one values (0, 'x'); rollback; begin; insert into rows_of_one values (1, 'a'), (2, 'b'); " +
		"savepoint s; insert into rows_of_one values (3, 'undone'); rollback to s; update rows_of_one set v = 'c' where id = 1; " +
		"delete from rows_of_one where id = 2; commit")
	var got []string
	changes := next(t, transactions)
	for _, c := range changes {
		got = append(got, c.Type+" "+asJSON(t, c.Row["v"]))
		assert.Equal(t, changes[0].Commit, c.Commit)
	}
	assert.Equal(t, []string{`INSERT "a"`, `INSERT "b"`, `UPDATE "c"`, `DELETE null`}, got)
}

func testOrder(t *testing.T, d *database) {
	const writers, each = 20, 25
	d.exec(`create table entries (id uuid primary key default gen_random_uuid(), writer int, seq bigint generated always as identity);
alter table entries enable row level security; grant select on entries to service_role;
create function decoded() returns setof text language sql as
$$ select data from pg_logical_slot_peek_changes('witness', null, null) where data like 'table public.entries: INSERT%' $$`)
	d.exec("select pg_create_logical_replication_slot('witness', 'test_decoding')")
	server, _, base := d.realtime()
	c := joinTable(t, base, server.ServiceKey(), "entries")
	var group sync.WaitGroup
	for writer := range writers {
		group.Go(func() {
			for range each {
				err := d.Transact(context.Background(), func(tx standin.Statements) error {
					_, err := tx.Insert("entries", standin.Row{"writer": writer})
					return err
				})
				assert.NoError(t, err)
			}
		})
	}
	var got []string
	outOfOrder, last := 0, 0
	for range writers * each {
		record := c.change().Data.Record
		got = append(got, strings.Trim(string(record["id"]), `"`))
		seq, err := strconv.Atoi(string(record["seq"]))
		require.NoError(t, err)
		if seq < last {
			outOfOrder++
		}
		last = seq
	}
	group.Wait()
	rows, err := d.Call(t.Context(), "decoded", nil)
	require.NoError(t, err)
	d.exec("select pg_drop_replication_slot('witness')")
	var want []string
	for _, row := range rows {
		_, after, _ := strings.Cut(row["decoded"].(string), "id[uuid]:'")
		id, _, _ := strings.Cut(after, "'")
		want = append(want, id)
	}
	assert.Equal(t, want, got)
	t.Logf("%d of %d rows have a smaller seq than the one before", outOfOrder, len(got))
}

func testFailingSink(t *testing.T, d *database) {
	d.exec("create table a (id int primary key)")
	rows := make(chan string, 8)
	failed := false
	source := d.source()
	d.run(source, func(_ context.Context, changes []standin.Change) error {
		if !failed {
			failed = true
			return errors.New("no")
		}
		rows <- asJSON(t, changes[0].Row["id"])
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d.exec("insert into a values (1)")
	require.NoError(t, source.WaitLost(ctx))
	require.NoError(t, source.WaitStreaming(ctx))
	d.exec("insert into a values (2)")
	assert.Equal(t, "2", next(t, rows), "the transaction of the failure is lost")
}

// testReadYourChange holds a commit in the moment in which it is in the WAL and nobody sees its rows yet: it waits for a standby
// that does not exist.
func testReadYourChange(t *testing.T, d *database) {
	d.exec("create table a (id int generated always as identity primary key)")
	var unseen, delivered atomic.Int32
	d.run(d.source(), func(ctx context.Context, changes []standin.Change) error {
		defer delivered.Add(1)
		if len(d.rows(ctx, "a", standin.Row{"id": changes[0].Row["id"]})) == 0 {
			unseen.Add(1)
		}
		return nil
	})
	release := sync.OnceFunc(func() {
		d.exec("alter system reset synchronous_standby_names")
		d.exec("select pg_reload_conf()")
	})
	d.exec("alter system set synchronous_standby_names = 'nobody'")
	defer release()
	d.exec("select pg_reload_conf()")
	ctx, stop := context.WithCancel(t.Context())
	inserted := make(chan int32, 1)
	go func() { // the setting takes effect some time after the reload
		n := int32(0)
		for ; ctx.Err() == nil; n++ {
			assert.NoError(t, d.Exec(context.WithoutCancel(ctx), "insert into a default values"))
		}
		inserted <- n
	}()
	held := standin.Row{"wait_event": "SyncRep", "backend_type": "client backend", "query": "insert into a default values"}
	require.Eventually(t, func() bool { return len(d.rows(ctx, "pg_catalog.pg_stat_activity", held)) > 0 }, patience, time.Millisecond)
	asked := func() (last time.Time) { // when the source last asked for a snapshot
		for _, row := range d.rows(ctx, "pg_catalog.pg_stat_activity", standin.Row{"query": "select pg_catalog.pg_current_snapshot()::text"}) {
			if at := row["query_start"].(time.Time); at.After(last) {
				last = at
			}
		}
		return last
	}
	for range 3 { // it has the commit and asks again and again
		before := asked()
		require.Eventually(t, func() bool { return asked().After(before) }, patience, time.Millisecond)
	}
	stop()
	release()
	n := next(t, inserted)
	require.Eventually(t, func() bool { return delivered.Load() == n }, patience, time.Millisecond)
	assert.Zero(t, unseen.Load())
}
