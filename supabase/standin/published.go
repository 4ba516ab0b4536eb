package standin

import (
	"context"
	"errors"
	"maps"
	"slices"
)

// subscribeBindings checks the bindings of a join against the published tables and compiles them. An error of type wireText is
// the text of the system message; any other means that the database could not be asked. One bad binding fails all.
func (rt *realtime) subscribeBindings(role string, bindings []*binding) ([]predicate, error) {
	for _, b := range bindings {
		if b.problem != nil {
			return nil, b.problem
		}
	}
	if rt.s.opts.Source == nil {
		rt.s.db.mu.Lock()
		defer rt.s.db.mu.Unlock()
		tables, err := rt.s.db.published(role)
		return rt.compile(bindings, tables, err)
	}
	ctx, cancel := context.WithTimeout(rt.s.ctx, sourceTimeout)
	defer cancel()
	tables, err := rt.s.publishedTables(ctx, role)
	return rt.compile(bindings, tables, err)
}

// compile checks bindings against tables; err is why there are none.
func (rt *realtime) compile(bindings []*binding, tables []*table, err error) ([]predicate, error) {
	compiled := make([]predicate, len(bindings))
	for i, b := range bindings {
		if err != nil {
			return nil, b.exception(err)
		}
		_, hidden := rt.s.faults.fire(UnpublishedTable, b.table)
		at := slices.IndexFunc(tables, b.names)
		if at < 0 || hidden {
			return nil, wireTextf("Unable to subscribe to changes with given parameters. "+
				"Please check Realtime is enabled for the given connect parameters: %s", b.describe())
		}
		if compiled[i], err = b.compile(tables[at]); err != nil {
			return nil, b.exception(err)
		}
	}
	return compiled, nil
}

func (b *binding) exception(err error) error {
	pg, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	return wireTextf("Unable to subscribe to changes with given parameters. An exception happened so please check your connect "+
		"parameters: %s. Exception: ERROR %s (%s) %s", b.describe(), pg.Code, conditionName(pg.Code), pg.Message)
}

// names reports whether the binding names the table.
func (b *binding) names(t *table) bool {
	return (b.schema == "*" || b.schema == t.def.Schema) && (b.table == "*" || b.table == t.def.Name)
}

// published lists the published tables for a role. db.mu is held.
func (db *DB) published(role string) ([]*table, error) {
	if !slices.Contains([]string{roleService, roleAnon, roleUser, "postgres"}, role) {
		return nil, pgErrorf("42704", "role %q does not exist", role)
	}
	var tables []*table
	for _, name := range slices.Sorted(maps.Keys(db.publication)) {
		if t := db.tables[name]; t != nil {
			tables = append(tables, t)
		}
	}
	return tables, nil
}
