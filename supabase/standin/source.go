package standin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ChangeSource is a database outside the server whose committed changes Realtime sends. The source hands them to
// [Server.Deliver]; the methods here answer what Realtime asks the database itself. All are safe for concurrent use.
type ChangeSource interface {
	// Published lists the tables of the publication. It gives an [*Error] with code 42704 when the role does not exist and
	// any other error when the database cannot be asked: the subscription then waits and tries again.
	Published(ctx context.Context, role string) ([]PublishedTable, error)
	// Literal converts the text of a filter to the form in which the column's values stand in a Row. It gives an [*Error]
	// when the database refuses the text.
	Literal(ctx context.Context, t *PublishedTable, column, text string) (any, error)
	// Visible reports whether row level security lets the role read the row of the change now.
	Visible(ctx context.Context, role string, c *Change) (bool, error)
}

// PublishedTable is what Realtime has to know of a table: names, columns in their order, key, replica identity, row level
// security, and which roles lack SELECT on the key. The rules of TableDef are not used.
type PublishedTable struct {
	TableDef
	Revoked []string
}

// Change is one committed row event of a ChangeSource. Values have the forms that [Row] lists for values coming out; those
// that no Go type fits exactly may be the string or json.RawMessage of PostgreSQL's to_jsonb.
type Change struct {
	Table *PublishedTable
	Type  string // INSERT, UPDATE or DELETE
	// Row is the new row, nil for DELETE. A column that it lacks is a toasted value that the UPDATE left in place.
	Row Row
	// Old is what the replica identity keeps of the old row, nil for INSERT.
	Old      Row
	WALBytes int // length of the change as JSON in wal2json's form, for error 413
	Commit   time.Time
}

// ErrClosed reports a call on a server that has been closed.
var ErrClosed = errors.New("stand-in is closed")

const sourceTimeout = 5 * time.Second // for one question to a ChangeSource

// Deliver takes the changes of one committed transaction from a ChangeSource and sends them as Realtime does. Calls must be
// made one after the other, in the order of the commits. An error means that the changes are lost.
func (s *Server) Deliver(ctx context.Context, changes []Change) error {
	if !s.enter() {
		return ErrClosed
	}
	defer s.wg.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	roles := s.realtime.liveRoles()
	tables := make(map[*PublishedTable]*table)
	rows := make([]change, len(changes))
	for i := range changes {
		c := &changes[i]
		t := tables[c.Table]
		if t == nil {
			t = c.Table.table(nil)
			tables[c.Table] = t
		}
		rows[i] = change{table: t, old: c.Old, row: c.Row, at: c.Commit, walSize: c.WALBytes, visible: make(map[string]bool)}
		switch c.Type {
		case "INSERT":
			rows[i].kind = kindInsert
		case "UPDATE":
			rows[i].kind = kindUpdate
		case "DELETE":
			rows[i].kind = kindDelete
		default:
			return fmt.Errorf("deliver a change of type %q", c.Type)
		}
		for _, role := range roles {
			if err := s.look(ctx, role, c, &rows[i]); err != nil {
				return err
			}
		}
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.realtime.commit(rows)
	return nil
}

// look finds out whether the role may see the change. Row level security looks at the current table, for service_role too: a
// row that is gone already is not visible.
func (s *Server) look(ctx context.Context, role string, c *Change, row *change) error {
	if row.kind == kindDelete || !c.Table.RLS || len(c.Table.PrimaryKey) == 0 || row.table.revoked[role] {
		row.visible[role] = true
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	visible, err := s.opts.Source.Visible(ctx, role, c)
	if err != nil {
		return fmt.Errorf("look whether %s sees a row of %s: %w", role, c.Table.Name, err)
	}
	row.visible[role] = visible
	return nil
}

// table builds the form that Realtime works with. cast reads the literals of filters; nil where there are none.
func (p *PublishedTable) table(cast func(column, text string) (any, error)) *table {
	t := newTable(p.TableDef)
	for _, role := range p.Revoked {
		t.revoked[role] = true
	}
	for name, c := range t.columns {
		if cast != nil {
			c.cast = func(text string) (any, error) { return cast(name, text) }
		}
	}
	return t
}

// liveRoles lists the roles of the live channels.
func (rt *realtime) liveRoles() []string {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var roles []string
	for _, c := range rt.channels {
		if c.live && !slices.Contains(roles, c.role) {
			roles = append(roles, c.role)
		}
	}
	return roles
}

// publishedTables gives the tables of a ChangeSource, ready for filters to be compiled within ctx.
func (s *Server) publishedTables(ctx context.Context, role string) ([]*table, error) {
	published, err := s.opts.Source.Published(ctx, role)
	if err != nil {
		return nil, err
	}
	tables := make([]*table, len(published))
	for i := range published {
		p := &published[i]
		tables[i] = p.table(func(column, text string) (any, error) { return s.opts.Source.Literal(ctx, p, column, text) })
	}
	return tables, nil
}
