package standin

import "strings"

// complete converts the values of row, fills defaults and checks lengths and NOT NULL.
func (t *table) complete(row Row, d Defaults) (Row, error) {
	full := make(Row, len(t.def.Columns))
	for name, v := range row {
		column, ok := t.columns[name]
		if !ok {
			return nil, undefinedColumn(t.def.Name, name)
		}
		stored, err := column.canonical(v)
		if err != nil {
			return nil, err
		}
		full[name] = stored
	}
	for i := range t.def.Columns {
		column := &t.def.Columns[i]
		if _, given := row[column.Name]; given {
			continue
		}
		full[column.Name] = nil
		switch {
		case column.Identity:
			t.identity++
			full[column.Name], _ = column.canonical(t.identity)
		case column.Default != nil:
			stored, err := column.canonical(column.Default(d))
			if err != nil {
				return nil, err
			}
			full[column.Name] = stored
		}
	}
	return full, nil
}

// validate checks NOT NULL, CHECK and UNIQUE of a complete row that will replace self (nil for INSERT).
func (t *table) validate(row Row, self *record) error {
	for i := range t.def.Columns {
		column := &t.def.Columns[i]
		if column.NotNull && row[column.Name] == nil {
			return pgErrorf("23502", "null value in column %q of relation %q violates not-null constraint", column.Name, t.def.Name)
		}
	}
	for _, check := range t.def.Checks {
		if !check.OK(row) {
			return pgErrorf("23514", "new row for relation %q violates check constraint %q", t.def.Name, check.Name)
		}
	}
	if len(t.def.PrimaryKey) > 0 && t.collision(row, t.def.PrimaryKey, self) != nil {
		return t.duplicate(t.def.Name+"_pkey", t.def.PrimaryKey, row)
	}
	for _, u := range t.def.Unique {
		if t.collision(row, u.Columns, self) != nil {
			return t.duplicate(u.Name, u.Columns, row)
		}
	}
	return nil
}

func (t *table) duplicate(constraint string, columns []string, row Row) error {
	var values []string
	for _, column := range columns {
		values = append(values, strings.Trim(lookupKey(row[column]), `"`))
	}
	err := pgErrorf("23505", "duplicate key value violates unique constraint %q", constraint)
	err.Details = "Key (" + strings.Join(columns, ", ") + ")=(" + strings.Join(values, ", ") + ") already exists."
	return err
}
