package wal

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// relation is a table as a stretch of the stream describes it.
type relation struct {
	published *standin.PublishedTable
	columns   []relationColumn
}

type relationColumn struct {
	name     string
	typ      *valueType
	identity bool // part of the replica identity
}

// querier is a pool or a connection.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// tableFacts asks for tables by their ids: name, row level security, replica identity, primary key in index order, and the
// roles that lack SELECT on one of its columns or USAGE of the schema.
const tableFacts = `select c.oid::int8, n.nspname::text, c.relname::text, c.relrowsecurity, c.relreplident = 'f', k.names,
  array(select r.rolname::text from pg_catalog.pg_roles r where not pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
    or exists (select from unnest(k.numbers) number where not pg_catalog.has_column_privilege(r.oid, c.oid, number, 'SELECT')))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (
  select coalesce(array_agg(a.attname::text order by i.place), '{}') as names, coalesce(array_agg(a.attnum), '{}') as numbers
  from pg_catalog.pg_index x cross join unnest(x.indkey::int2[]) with ordinality i(number, place)
  join pg_catalog.pg_attribute a on a.attrelid = x.indrelid and a.attnum = i.number
  where x.indrelid = c.oid and x.indisprimary) k
where c.oid = any ($1::int8[]::oid[])
order by 2, 3`

const columnFacts = `select a.attrelid::int8, a.attname::text, t.typname::text
from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
where a.attrelid = any ($1::int8[]::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`

// publishedTables reads what the catalog says of tables, by id.
func publishedTables(ctx context.Context, db querier, ids []int64) (map[int64]*standin.PublishedTable, error) {
	tables := make(map[int64]*standin.PublishedTable)
	rows, err := db.Query(ctx, tableFacts, ids)
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	var id int64
	var t standin.PublishedTable
	_, err = pgx.ForEachRow(rows, []any{&id, &t.Schema, &t.Name, &t.RLS, &t.FullIdentity, &t.PrimaryKey, &t.Revoked}, func() error {
		table := t
		tables[id] = &table
		t = standin.PublishedTable{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	if rows, err = db.Query(ctx, columnFacts, ids); err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	var name, typname string
	_, err = pgx.ForEachRow(rows, []any{&id, &name, &typname}, func() error {
		if table := tables[id]; table != nil {
			table.Columns = append(table.Columns, standin.Column{Name: name, Type: typname})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	return tables, nil
}

// describe takes a relation message: names and types as they were, the rest as the catalog has it now. The server sends it
// again whenever the table was altered, its grants and policies included.
func (d *decoder) describe(ctx context.Context, m *pglogrepl.RelationMessage) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tables, err := publishedTables(ctx, d.pool, []int64{int64(m.RelationID)})
	if err != nil {
		return err
	}
	r := &relation{published: tables[int64(m.RelationID)]}
	dropped := r.published == nil
	if dropped {
		r.published = &standin.PublishedTable{}
	}
	r.published.Schema, r.published.Name = m.Namespace, m.RelationName
	r.published.FullIdentity = m.ReplicaIdentity == 'f'
	r.published.Columns = nil
	if err := d.learnTypes(ctx, m.Columns); err != nil {
		return err
	}
	for _, c := range m.Columns {
		typ := d.types[c.DataType]
		r.published.Columns = append(r.published.Columns, standin.Column{Name: c.Name, Type: typ.name})
		r.columns = append(r.columns, relationColumn{
			name: c.Name, typ: typ, identity: c.Flags&1 != 0,
		})
		if dropped && c.Flags&1 != 0 && !r.published.FullIdentity {
			r.published.PrimaryKey = append(r.published.PrimaryKey, c.Name)
		}
	}
	d.relations[m.RelationID] = r
	return nil
}

// Published lists the tables of the publication.
func (s *Source) Published(ctx context.Context, role string) ([]standin.PublishedTable, error) {
	pool, err := s.connected()
	if err != nil {
		return nil, err
	}
	var known bool
	if err := pool.QueryRow(ctx, `select exists (select from pg_catalog.pg_roles where rolname = $1)`, role).Scan(&known); err != nil {
		return nil, fmt.Errorf("look up role: %w", err)
	}
	if !known {
		return nil, &standin.Error{Code: "42704", Message: fmt.Sprintf("role %q does not exist", role)}
	}
	ids, err := s.publishedIDs(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("read publication: %w", err)
	}
	tables, err := publishedTables(ctx, pool, ids)
	if err != nil {
		return nil, err
	}
	list := make([]standin.PublishedTable, 0, len(ids))
	for _, id := range ids {
		if t := tables[id]; t != nil {
			list = append(list, *t)
		}
	}
	return list, nil
}

func (s *Source) publishedIDs(ctx context.Context, pool *pgxpool.Pool) ([]int64, error) {
	rows, err := pool.Query(ctx, `select c.oid::int8 from pg_catalog.pg_publication_tables p
join pg_catalog.pg_namespace n on n.nspname = p.schemaname
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
where p.pubname = $1 order by p.schemaname, p.tablename`, s.publication)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// asError turns a refusal of the database into the stand-in's form; any other error stays as it is.
func asError(err error) error {
	refusal, ok := refused(err)
	if !ok {
		return err
	}
	return &standin.Error{Code: refusal.Code, Message: refusal.Message, Details: refusal.Detail, Hint: refusal.Hint}
}
