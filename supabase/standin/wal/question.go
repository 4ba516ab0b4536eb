package wal

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// Literal casts the text of a filter to the column's type.
func (s *Source) Literal(ctx context.Context, t *standin.PublishedTable, column, text string) (any, error) {
	pool, err := s.connected()
	if err != nil {
		return nil, err
	}
	typ, err := columnType(ctx, pool, t, column)
	if err != nil {
		return nil, err
	}
	rows, err := pool.Query(ctx, `select `+typ.toJSON()+`::text from (select $1::text) literal (v)`, text)
	if err != nil {
		return nil, asError(err)
	}
	converted, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return nil, asError(err)
	}
	return typ.decode(converted)
}

func columnType(ctx context.Context, db querier, t *standin.PublishedTable, column string) (*valueType, error) {
	rows, err := db.Query(ctx, `select y.typname::text, pg_catalog.quote_ident(m.nspname) || '.' || pg_catalog.quote_ident(y.typname),
  coalesce(nullif(y.typbasetype, 0), y.oid) in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type y on y.oid = a.atttypid join pg_catalog.pg_namespace m on m.oid = y.typnamespace
where n.nspname = $1 and c.relname = $2 and a.attname = $3`, t.Schema, t.Name, column)
	if err != nil {
		return nil, fmt.Errorf("look up column: %w", err)
	}
	var typ valueType
	found, err := pgx.ForEachRow(rows, []any{&typ.name, &typ.cast, &typ.document}, func() error { return nil })
	if err != nil {
		return nil, fmt.Errorf("look up column: %w", err)
	}
	if found.RowsAffected() == 0 {
		return nil, &standin.Error{Code: "42703", Message: fmt.Sprintf("column %q does not exist", column)}
	}
	return &typ, nil
}

// Visible reads the row by its key as the role, with the role as the only claim of its token.
func (s *Source) Visible(ctx context.Context, role string, c *standin.Change) (bool, error) {
	pool, err := s.connected()
	if err != nil {
		return false, err
	}
	claims, err := json.Marshal(map[string]string{"role": role})
	if err != nil {
		return false, fmt.Errorf("encode claims: %w", err)
	}
	sql, args := existsQuery(c)
	var visible bool
	var batch pgx.Batch
	batch.Queue("begin")
	batch.Queue("select set_config('request.jwt.claims', $1, true), set_config('role', $2, true)", string(claims), role)
	batch.Queue(sql, args...).QueryRow(func(row pgx.Row) error { return row.Scan(&visible) })
	batch.Queue("rollback")
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("acquire connection: %w", err)
	}
	defer conn.Release()
	err = conn.SendBatch(ctx, &batch).Close()
	if refusal, ok := refused(err); ok { // a policy that fails, or a role that may not read
		s.log.Debug("row level security refused a read", "code", refusal.Code)
		_, err = conn.Exec(ctx, "rollback")
		visible = false
	}
	if err != nil {
		return false, fmt.Errorf("read row as %s: %w", role, err)
	}
	return visible, nil
}

// existsQuery asks for a row by its primary key.
func existsQuery(c *standin.Change) (sql string, args []any) {
	var fields, where []string
	for _, column := range c.Table.Columns {
		if !slices.Contains(c.Table.PrimaryKey, column.Name) {
			continue
		}
		args = append(args, keyJSON(column.Type, c.Row[column.Name]))
		fields = append(fields, quoteLiteral(column.Name)+", $"+strconv.Itoa(len(args))+"::jsonb")
		name := quoteIdentifier(column.Name)
		where = append(where, "k."+name+" = r."+name)
	}
	table := quoteIdentifier(c.Table.Schema) + "." + quoteIdentifier(c.Table.Name)
	return "select exists (select from " + table + " k, jsonb_populate_record(null::" + table +
		", jsonb_build_object(" + strings.Join(fields, ", ") + ")) r where " + strings.Join(where, " and ") + ")", args
}

// keyJSON writes a key value for jsonb_populate_record.
func keyJSON(typname string, v any) string {
	if hex, ok := v.(string); ok && typname == "bytea" {
		v = `\x` + hex
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "null" // cannot happen: all values come from JSON
	}
	return string(b)
}

func quoteIdentifier(s string) string { return pgx.Identifier{s}.Sanitize() }

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
