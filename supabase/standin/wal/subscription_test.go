package wal_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testPrivileges(t *testing.T, d *database) {
	d.exec(`create table notes (id int primary key, owner text, v text); alter table notes enable row level security;
create policy own on notes to anon using (owner = current_setting('request.jwt.claims', true)::json ->> 'role');
grant select on notes to anon, service_role`)
	server, _, base := d.realtime()
	service := joinTable(t, base, server.ServiceKey(), "notes")
	anon := joinTable(t, base, server.AnonKey(), "notes")
	d.exec("insert into notes values (1, 'somebody', 'hidden'); insert into notes values (2, 'anon', 'seen')")
	assert.JSONEq(t, "1", string(service.change().Data.Record["id"]))
	assert.JSONEq(t, "2", string(service.change().Data.Record["id"]))
	assert.JSONEq(t, "2", string(anon.change().Data.Record["id"]))

	d.exec("insert into notes values (3, 'anon'); delete from notes where id = 3")
	assert.Equal(t, "DELETE", service.change().Data.Type, "row level security looks at the current table")
	deleted := anon.change().Data
	assert.Equal(t, "DELETE", deleted.Type)
	assert.Equal(t, map[string]json.RawMessage{"id": json.RawMessage("3")}, deleted.Old)

	d.exec("revoke select on notes from anon")
	d.exec("insert into notes values (4, 'anon')")
	assert.JSONEq(t, "4", string(service.change().Data.Record["id"]))
	refused := anon.change().Data
	assert.Equal(t, []string{"Error 401: Unauthorized"}, refused.Errors)
	assert.Empty(t, refused.Record)

	d.exec("grant select on notes to anon; alter table notes disable row level security")
	d.exec("insert into notes values (5, 'somebody')")
	assert.JSONEq(t, "5", string(anon.change().Data.Record["id"]))
}

func testNoKey(t *testing.T, d *database) {
	d.exec("create table keyless (a int); alter table keyless replica identity full; grant select on keyless to service_role")
	server, _, base := d.realtime()
	c := joinTable(t, base, server.ServiceKey(), "keyless")
	d.exec("insert into keyless values (1); update keyless set a = 2; delete from keyless")
	for _, kind := range []string{"INSERT", "UPDATE"} {
		f := c.change()
		assert.Equal(t, kind, f.Data.Type)
		assert.Equal(t, []string{"Error 400: Bad Request, no primary key"}, f.Data.Errors)
	}
	assert.Equal(t, map[string]json.RawMessage{"a": json.RawMessage("2")}, c.change().Data.Old)
}

func testFilters(t *testing.T, d *database) {
	d.exec(`create type mood as enum ('sad', 'happy'); create table facts (id int primary key, mood mood, price numeric, at timestamptz, day date,
  span interval, note text); grant select on facts to service_role`)
	server, _, base := d.realtime()
	binding := func(filter string) string { return `{"event":"*","table":"facts","filter":"` + filter + `"}` }
	_, message := join(t, base, server.ServiceKey(), binding("mood=eq.angry"))
	assert.Contains(t, message, `Exception: ERROR 22P02 (invalid_text_representation) invalid input value for enum`)
	_, message = join(t, base, server.ServiceKey(), binding("nothing=eq.1"))
	assert.Contains(t, message, "invalid column for filter nothing")
	for i, test := range []struct{ filter, in, out string }{
		{"mood=eq.happy", "mood='happy'", "mood='sad'"},
		{"mood=in.(happy)", "mood='happy'", "mood='sad'"},
		{"price=gt.9.5", "price=10", "price=9.50"},
		{"price=eq.10.0", "price=10", "price=null"},
		{"price=gt.5", "price='NaN'", "price='-Infinity'"},
		{"at=gte.2026-01-02T03:04:05+02:00", "at='2026-01-02 01:04:05+00'", "at='2026-01-02 01:04:04.999+00'"},
		{"at=lt.2026-01-02", "at='-infinity'", "at='infinity'"},
		{"day=eq.2026-01-02", "day='2026-01-02'", "day='2026-01-03'"},
		{"span=eq.1 day", "span='1 day'", "span='2 days'"},
		{"price=not.is.null", "price=1", "price=null"},
	} {
		c, message := join(t, base, server.ServiceKey(), binding(test.filter))
		require.Equal(t, "Subscribed to PostgreSQL", message, test.filter)
		d.exec(fmt.Sprintf("insert into facts (id) values (%d)", i))
		d.exec(fmt.Sprintf("update facts set %s, note = 'out' where id = %d", test.out, i))
		d.exec(fmt.Sprintf("update facts set %s, note = 'in' where id = %d", test.in, i))
		assert.Equal(t, `"in"`, string(c.change().Data.Record["note"]), test.filter)
	}
}

func testPublication(t *testing.T, d *database) {
	d.exec("create table a (id int primary key); create table b (id int primary key); grant select on a, b to service_role; " +
		"drop publication supabase_realtime; create publication supabase_realtime for table a")
	server, _, base := d.realtime()
	c := joinTable(t, base, server.ServiceKey(), "a")
	_, message := join(t, base, server.ServiceKey(), `{"event":"*","schema":"public","table":"b"}`)
	assert.Contains(t, message, "Please check Realtime is enabled for the given connect parameters")
	d.exec("insert into b values (1); insert into a values (1)")
	assert.Equal(t, "a", c.change().Data.Table)
	d.exec("alter publication supabase_realtime add table b")
	added := joinTable(t, base, server.ServiceKey(), "b")
	d.exec("insert into b values (2)")
	assert.JSONEq(t, "2", string(added.change().Data.Record["id"]))
}
