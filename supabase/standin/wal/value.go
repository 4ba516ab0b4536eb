package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const queryTimeout = 10 * time.Second

// valueType is a data type of columns.
type valueType struct {
	oid      uint32
	name     string // pg_type.typname
	sqlName  string // as wal2json names it
	cast     string // quoted, with its schema; empty when the type is gone
	document bool   // json or jsonb, or a domain of one
}

// learnTypes reads the types of columns that are not known yet.
func (d *decoder) learnTypes(ctx context.Context, columns []*pglogrepl.RelationMessageColumn) error {
	var ids []int64
	for _, c := range columns {
		ids = append(ids, int64(c.DataType))
		d.types[c.DataType] = &valueType{oid: c.DataType, name: "unknown", sqlName: "unknown"}
	}
	rows, err := d.pool.Query(ctx, `select t.oid::int8, t.typname::text, pg_catalog.format_type(t.oid, null),
  pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname),
  coalesce(nullif(t.typbasetype, 0), t.oid) in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype)
from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.oid = any ($1::int8[]::oid[])`, ids)
	if err != nil {
		return fmt.Errorf("read types: %w", err)
	}
	var id int64
	var t valueType
	_, err = pgx.ForEachRow(rows, []any{&id, &t.name, &t.sqlName, &t.cast, &t.document}, func() error {
		known := t
		known.oid = uint32(id)
		d.types[known.oid] = &known
		return nil
	})
	if err != nil {
		return fmt.Errorf("read types: %w", err)
	}
	return nil
}

// plain converts values whose text needs no help of the database.
func (t *valueType) plain(text string) (v any, ok bool) {
	switch t.name {
	case "text", "varchar", "uuid", "name":
		return text, true
	case "int2", "int4", "int8":
		return json.Number(text), true
	case "bool":
		return text == "t", true
	case "jsonb":
		return json.RawMessage(text), true
	}
	return text, t.cast == ""
}

// toJSON is what the real server makes of a value: to_jsonb, but bytea as bare hex.
func (t *valueType) toJSON() string {
	if t.name == "bytea" {
		return "to_jsonb(pg_catalog.encode(v::pg_catalog.bytea, 'hex'))"
	}
	return "to_jsonb(v::" + t.cast + ")"
}

// decode gives to_jsonb's text the form of a stored value.
func (t *valueType) decode(text string) (any, error) {
	if t.document {
		return json.RawMessage(text), nil
	}
	switch {
	case text == "null":
		return nil, nil
	case text == "true", text == "false":
		return text == "true", nil
	case strings.HasPrefix(text, `"`):
		var s string
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return nil, fmt.Errorf("decode a value of type %s: %w", t.name, err)
		}
		return s, nil
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return json.RawMessage(text), nil
	}
	return json.Number(text), nil
}

// convert turns the pending events of a transaction into changes.
func (d *decoder) convert(ctx context.Context, pending []pendingChange, commit time.Time) ([]standin.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	c := conversion{texts: make(map[*valueType][]string), values: make(map[*valueType]map[string]any)}
	for i := range pending {
		c.collect(pending[i].relation, pending[i].row)
		c.collect(pending[i].relation, pending[i].old)
	}
	if err := c.ask(ctx, d.pool); err != nil {
		return nil, err
	}
	changes := make([]standin.Change, len(pending))
	for i := range pending {
		p := &pending[i]
		changes[i] = standin.Change{
			Table: p.relation.published, Type: p.kind, Commit: commit, WALBytes: p.walBytes(),
			Row: c.rowOf(p.relation, p.row), Old: c.rowOf(p.relation, p.old),
		}
	}
	return changes, nil
}

// conversion holds the values of one transaction that the database has to convert.
type conversion struct {
	texts  map[*valueType][]string
	values map[*valueType]map[string]any
}

func (c *conversion) collect(r *relation, row []textValue) {
	for i, v := range row {
		if !v.present || v.null {
			continue
		}
		if _, ok := r.columns[i].typ.plain(v.text); !ok {
			c.texts[r.columns[i].typ] = append(c.texts[r.columns[i].typ], v.text)
		}
	}
}

// ask converts all collected texts in one round trip. A type that the database refuses, as when it was dropped meanwhile, keeps
// its texts.
func (c *conversion) ask(ctx context.Context, db querier) error {
	if len(c.texts) == 0 {
		return nil
	}
	var batch pgx.Batch
	for t, texts := range c.texts {
		slices.Sort(texts)
		c.texts[t] = slices.Compact(texts)
		batch.Queue(t.query(), c.texts[t]).Query(func(rows pgx.Rows) error { return c.take(t, rows) })
	}
	err := db.SendBatch(ctx, &batch).Close()
	if _, ok := refused(err); !ok {
		return wrapConversion(err)
	}
	for t, texts := range c.texts {
		rows, err := db.Query(ctx, t.query(), texts)
		if err == nil {
			err = c.take(t, rows)
		}
		if _, ok := refused(err); ok {
			c.values[t] = make(map[string]any, len(texts))
			for _, text := range texts {
				c.values[t][text] = text
			}
		} else if err != nil {
			return wrapConversion(err)
		}
	}
	return nil
}

func wrapConversion(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("convert values: %w", err)
}

// query converts an array of texts.
func (t *valueType) query() string {
	return "select v, " + t.toJSON() + "::text from unnest($1::text[]) v"
}

func (c *conversion) take(t *valueType, rows pgx.Rows) error {
	known := make(map[string]any)
	c.values[t] = known
	var text, converted string
	_, err := pgx.ForEachRow(rows, []any{&text, &converted}, func() (err error) {
		known[text], err = t.decode(converted)
		return err
	})
	return err
}

func (c *conversion) rowOf(r *relation, values []textValue) standin.Row {
	if values == nil {
		return nil
	}
	row := make(standin.Row, len(values))
	for i, v := range values {
		column := &r.columns[i]
		if !v.present {
			continue
		}
		if v.null {
			row[column.name] = nil
		} else if plain, ok := column.typ.plain(v.text); ok {
			row[column.name] = plain
		} else {
			row[column.name] = c.values[column.typ][v.text]
		}
	}
	return row
}

// walBytes is the length of the change in the JSON that the real server reads from wal2json, version 2, as jsonb text.
func (p *pendingChange) walBytes() int {
	const frame, perColumn, perKey = 170, 54, 27
	n := frame + len(p.relation.published.Schema) + len(p.relation.published.Name)
	for i := range p.relation.columns {
		c := &p.relation.columns[i]
		for _, values := range [][]textValue{p.row, p.old} {
			if i < len(values) && values[i].present {
				n += perColumn + len(c.name) + len(c.typ.sqlName) + values[i].jsonLength(c.typ)
			}
		}
	}
	for _, name := range p.relation.published.PrimaryKey {
		n += perKey + len(name) + 16
	}
	return n
}

// jsonLength is the length of the value in wal2json's output: numbers and bools bare, all else a string.
func (v *textValue) jsonLength(t *valueType) int {
	if v.null {
		return len("null")
	}
	switch t.name {
	case "int2", "int4", "int8", "float4", "float8", "numeric", "bool":
		return len(v.text)
	}
	n := len(v.text) + 2
	for i := range len(v.text) {
		switch b := v.text[i]; {
		case b == '"', b == '\\', b == '\b', b == '\f', b == '\n', b == '\r', b == '\t':
			n++
		case b < 0x20:
			n += len(`\u0000`) - 1
		}
	}
	return n
}

// refused reports the answer of a database that could be asked and said no.
func refused(err error) (*pgconn.PgError, bool) {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || strings.HasPrefix(refusal.Code, "57") || strings.HasPrefix(refusal.Code, "53") { // shutting down, or out of resources
		return nil, false
	}
	return refusal, true
}
