package wal

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// rowQuerier is a pool or a transaction.
type rowQuerier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// collect reads rows whose first column is the whole row as JSON; the others are there for their types.
func collect(ctx context.Context, db rowQuerier, sql string, args ...any) ([]standin.Row, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, asError(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (standin.Row, error) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(row.RawValues()[0], &fields); err != nil {
			return nil, fmt.Errorf("decode row: %w", err)
		}
		stored := make(standin.Row, len(fields))
		for _, column := range row.FieldDescriptions()[1:] {
			v, err := storedValue(column.DataTypeOID, fields[column.Name])
			if err != nil {
				return nil, err
			}
			stored[column.Name] = v
		}
		return stored, nil
	})
	return list, asError(err)
}

// storedValue gives to_jsonb's text the form that standin.Row lists.
func storedValue(oid uint32, text json.RawMessage) (any, error) {
	t := valueType{name: "column", document: oid == pgtype.JSONBOID || oid == pgtype.JSONOID}
	if string(text) == "null" {
		return nil, nil
	}
	v, err := t.decode(string(text))
	if s, ok := v.(string); ok && oid == pgtype.TimestamptzOID {
		if instant, err := time.Parse(time.RFC3339Nano, s); err == nil { // infinity stays a string
			return instant.UTC(), nil
		}
	}
	return v, err
}

// object writes a row as a JSON object.
func object(row standin.Row) (string, error) {
	if row == nil {
		return "{}", nil
	}
	b, err := json.Marshal(row)
	if err != nil {
		return "", fmt.Errorf("encode row: %w", err)
	}
	return string(b), nil
}
