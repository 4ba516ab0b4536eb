package wal_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asJSON writes a value as it appears in a record.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	if raw, ok := v.(json.RawMessage); ok {
		return string(raw)
	}
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func testValues(t *testing.T, d *database) {
	tests := []struct{ pgType, literal, want, typname string }{
		{"int2", "-32768", `-32768`, ""},
		{"int8", "9223372036854775807", `9223372036854775807`, ""},
		{"numeric(10,4)", "12.34", `12.3400`, "numeric"},
		{"numeric", "12345678901234567890.123456789", `12345678901234567890.123456789`, ""},
		{"numeric", "NaN", `"NaN"`, ""},
		{"numeric", "Infinity", `"Infinity"`, ""},
		{"float8", "1e20", `100000000000000000000`, ""},
		{"float8", "-Infinity", `"-Infinity"`, ""},
		{"float4", "0.1", `0.1`, ""},
		{"bool", "t", `true`, ""},
		{"text", `quote " backslash \ <b>`, `"quote \" backslash \\ \u003cb\u003e"`, ""},
		{"varchar(20)", "null", `"null"`, "varchar"},
		{"char(5)", "ab", `"ab   "`, "bpchar"},
		{`"char"`, "x", `"x"`, "char"},
		{"uuid", "11111111-1111-4111-8111-111111111111", `"11111111-1111-4111-8111-111111111111"`, ""},
		{"json", `{"b":1,  "a":[1,2]}`, `{"a": [1, 2], "b": 1}`, ""},
		{"jsonb", `{"bb":1,"a":{"z":12345678901234567890.5,"y":null}}`, `{"a": {"y": null, "z": 12345678901234567890.5}, "bb": 1}`, ""},
		{"jsonb", `null`, `null`, ""},
		{"jsonb", `"str"`, `"str"`, ""},
		{"timestamptz", "2026-01-02 03:04:05.120+02", `"2026-01-02T01:04:05.12+00:00"`, ""},
		{"timestamptz", "infinity", `"infinity"`, ""},
		{"timestamp", "2026-11-22 18:00:00.5", `"2026-11-22T18:00:00.5"`, ""},
		{"date", "2026-11-22", `"2026-11-22"`, ""},
		{"time", "18:00:00.25", `"18:00:00.25"`, ""},
		{"interval", "1 day 02:03:04", `"1 day 02:03:04"`, ""},
		{"bytea", `\x0102ff`, `"0102ff"`, ""},
		{"inet", "10.0.0.1/8", `"10.0.0.1/8"`, ""},
		{"money", "12.50", `"$12.50"`, ""},
		{"bit(3)", "101", `"101"`, "bit"},
		{"int4range", "[1,5)", `"[1,5)"`, ""},
		{"point", "(1,2)", `"(1,2)"`, ""},
		{"text[]", `{a,"b,c",NULL}`, `["a", "b,c", null]`, "_text"},
		{"int4[]", "{{1,2},{3,4}}", `[[1, 2], [3, 4]]`, "_int4"},
		{"timestamptz[]", `{"2026-01-02 03:04:05+00"}`, `["2026-01-02T03:04:05+00:00"]`, "_timestamptz"},
	}
	var columns, literals []string
	for i, test := range tests {
		columns = append(columns, fmt.Sprintf("c%d %s", i, test.pgType))
		literals = append(literals, "'"+test.literal+"'")
	}
	d.exec("create table things (id int primary key, gone text, " + strings.Join(columns, ", ") + ")")
	transactions := d.transactions()
	d.exec("insert into things values (1, null, " + strings.Join(literals, ", ") + ")")
	change := next(t, transactions)[0]
	for i, test := range tests {
		name := fmt.Sprintf("c%d", i)
		assert.Equal(t, test.want, asJSON(t, change.Row[name]), "%s %s", test.pgType, test.literal)
		typname := test.typname
		if typname == "" {
			typname = test.pgType
		}
		assert.Equal(t, typname, change.Table.Columns[i+2].Type)
	}
	gone, there := change.Row["gone"]
	assert.True(t, there, "NULL is a key")
	assert.Nil(t, gone)
}

func testUserTypes(t *testing.T, d *database) {
	d.exec(`create schema "odd Schema"; create type "odd Schema"."a Mood" as enum ('sad', 'ok "quoted"');
create type pair as (x int, y text); create domain document as jsonb; create domain positive as int check (value > 0);
create table "odd Schema"."odd Table" ("the Id" int primary key, mood "odd Schema"."a Mood", pairs pair, list pair[], doc document,
  n positive);
insert into "odd Schema"."odd Table" values (0, 'sad')`)
	transactions := d.transactions()
	d.exec(`insert into "odd Schema"."odd Table" values (1, 'ok "quoted"', (1, 'a,b'), array[(2, null)::pair], '{"bb": 1, "a": 2}', 7)`)
	change := next(t, transactions)[0]
	assert.Equal(t, "odd Schema", change.Table.Schema)
	assert.Equal(t, []string{"the Id"}, change.Table.PrimaryKey)
	var types []string
	for _, c := range change.Table.Columns {
		types = append(types, c.Type)
	}
	assert.Equal(t, []string{"int4", "a Mood", "pair", "_pair", "document", "positive"}, types)
	assert.Equal(t, `ok "quoted"`, change.Row["mood"])
	assert.Equal(t, `{"x": 1, "y": "a,b"}`, asJSON(t, change.Row["pairs"]))
	assert.Equal(t, `[{"x": 2, "y": null}]`, asJSON(t, change.Row["list"]))
	assert.Equal(t, `{"a": 2, "bb": 1}`, asJSON(t, change.Row["doc"]))
	assert.Equal(t, json.Number("7"), change.Row["n"])
}
