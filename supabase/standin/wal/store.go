package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const storeConns = 20

// Store runs statements on a PostgreSQL database with the privileges of its connection. Rows go in and come out as JSON, so
// values have the forms that standin.Row lists. Safe for concurrent use.
type Store struct{ pool *pgxpool.Pool }

var _ standin.Store = (*Store)(nil)

// OpenStore connects to a database. Close ends the connections.
func OpenStore(ctx context.Context, dsn string) (*Store, error) {
	config, err := poolConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = storeConns
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec // arguments take the types of what they stand for
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open connection pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &Store{pool: pool}, nil
}

// Close waits for running statements and ends the connections.
func (s *Store) Close() { s.pool.Close() }

// Transact runs fn in a transaction.
func (s *Store) Transact(ctx context.Context, fn func(standin.Statements) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return fn(&statements{ctx: ctx, tx: tx}) })
	return asError(err)
}

// Exec runs a script: several statements, which are one transaction.
func (s *Store) Exec(ctx context.Context, script string) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("acquire connection: %w", err)
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().Exec(ctx, script).ReadAll()
	return asError(err)
}

// Call runs a function with named arguments.
func (s *Store) Call(ctx context.Context, function string, args standin.Row) ([]standin.Row, error) {
	names := sortedNames(args)
	values := make([]any, len(names))
	for i, name := range names {
		values[i] = args[name]
		if n, ok := values[i].(json.Number); ok {
			values[i] = n.String()
		}
		names[i] = quoteIdentifier(name) + " => $" + strconv.Itoa(i+1)
	}
	call := "public." + quoteIdentifier(function) + "(" + strings.Join(names, ", ") + ")"
	return collect(ctx, s.pool, "select to_jsonb(t)::text, t.* from (select * from "+call+") t", values...)
}

// Secret decrypts one secret.
func (s *Store) Secret(ctx context.Context, vaultID string) (string, error) {
	var secret string
	err := s.pool.QueryRow(ctx, `select decrypted_secret from vault.decrypted_secrets where id = $1::text::uuid`, vaultID).Scan(&secret)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return secret, asError(err)
}

// statements are the statements of one transaction.
type statements struct {
	ctx context.Context // of Transact, which ends the transaction
	tx  pgx.Tx
}

func (s *statements) Insert(table string, row standin.Row) (standin.Row, error) {
	input, err := object(row)
	if err != nil {
		return nil, err
	}
	columns, name := columnList(row, "%s"), tableName(table)
	rows, err := collect(s.ctx, s.tx, "insert into "+name+" as t ("+columns+") select "+columns+
		" from jsonb_populate_record(null::"+name+", $1::jsonb) returning to_jsonb(t)::text, t.*", input)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("insert into %s: %d rows", table, len(rows))
	}
	return rows[0], nil
}

func (s *statements) Update(table string, where, set standin.Row) (int, error) {
	input, err := object(set)
	if err != nil {
		return 0, err
	}
	condition, err := object(where)
	if err != nil {
		return 0, err
	}
	name := tableName(table)
	return s.exec("update "+name+" t set "+columnList(set, "%[1]s = s.%[1]s")+" from jsonb_populate_record(null::"+name+
		", $1::jsonb) s, jsonb_populate_record(null::"+name+", $2::jsonb) w where "+matching(where), input, condition)
}

func (s *statements) Delete(table string, where standin.Row) (int, error) {
	condition, err := object(where)
	if err != nil {
		return 0, err
	}
	name := tableName(table)
	return s.exec("delete from "+name+" t using jsonb_populate_record(null::"+name+", $1::jsonb) w where "+matching(where), condition)
}

func (s *statements) Rows(table string, where standin.Row) ([]standin.Row, error) {
	condition, err := object(where)
	if err != nil {
		return nil, err
	}
	name := tableName(table)
	return collect(s.ctx, s.tx, "select to_jsonb(t)::text, t.* from "+name+" t, jsonb_populate_record(null::"+name+
		", $1::jsonb) w where "+matching(where), condition)
}

func (s *statements) exec(sql string, args ...any) (int, error) {
	tag, err := s.tx.Exec(s.ctx, sql, args...)
	if err != nil {
		return 0, asError(err)
	}
	return int(tag.RowsAffected()), nil
}

// matching compares t with w; NULL equals NULL.
func matching(where standin.Row) string {
	terms := []string{"true"}
	for _, name := range sortedNames(where) {
		if column := quoteIdentifier(name); where[name] == nil {
			terms = append(terms, "t."+column+" is null")
		} else {
			terms = append(terms, "t."+column+" = w."+column)
		}
	}
	return strings.Join(terms, " and ")
}

func columnList(row standin.Row, format string) string {
	names := sortedNames(row)
	for i, name := range names {
		names[i] = fmt.Sprintf(format, quoteIdentifier(name))
	}
	return strings.Join(names, ", ")
}

func sortedNames(row standin.Row) []string {
	names := make([]string, 0, len(row))
	for name := range row {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// tableName quotes schema.table or a table of the schema public.
func tableName(name string) string {
	schema, table, ok := strings.Cut(name, ".")
	if !ok {
		schema, table = "public", name
	}
	return quoteIdentifier(schema) + "." + quoteIdentifier(table)
}
