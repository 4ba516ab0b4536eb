package rest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Names are the schema, table, column and function names of an installation.
type Names struct {
	Schema               string // sent as Accept-Profile and Content-Profile
	Messages             Table
	Sessions             Table
	Links                Table
	ConversationSessions Table
	Agents               Table
	ValidateSession      string // function, called with the single argument p_session_token
	Canary               string // table of the beats, with the columns id and beat; "" for none, and has no default
}

// Table is the actual name of a table and of those columns that are named differently from the canonical name.
type Table struct {
	Name    string
	Columns map[string]string // canonical -> actual; a missing entry means the same name
}

// DefaultNames returns the names of the stock schema.
func DefaultNames() Names {
	return Names{
		Schema:               "public",
		Messages:             Table{Name: "chat_messages_v2"},
		Sessions:             Table{Name: "temporary_chat_sessions"},
		Links:                Table{Name: "temporary_chat_links"},
		ConversationSessions: Table{Name: "conversation_sessions"},
		Agents:               Table{Name: "agents"},
		ValidateSession:      "validate_temp_chat_session",
	}
}

// identifier is what an unquoted PostgreSQL name may hold: nothing that means something in a URL or in a PostgREST query.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// reserved are the query parameters that a filter on a column of that name would overwrite.
var reserved = []string{"and", "columns", "limit", "not", "offset", "on_conflict", "or", "order", "select"}

// filled returns n with the default in every empty place.
func (n Names) filled() Names {
	d := DefaultNames()
	for _, p := range []struct {
		at       *string
		fallback string
	}{
		{&n.Schema, d.Schema},
		{&n.Messages.Name, d.Messages.Name},
		{&n.Sessions.Name, d.Sessions.Name},
		{&n.Links.Name, d.Links.Name},
		{&n.ConversationSessions.Name, d.ConversationSessions.Name},
		{&n.Agents.Name, d.Agents.Name},
		{&n.ValidateSession, d.ValidateSession},
	} {
		if *p.at == "" {
			*p.at = p.fallback
		}
	}
	return n
}

func (n Names) validate() error {
	var problems []error
	check := func(what, name string) {
		if !identifier.MatchString(name) {
			problems = append(problems, fmt.Errorf("%s %q is not a plain identifier", what, name))
		}
	}
	check("schema", n.Schema)
	check("function", n.ValidateSession)
	if n.Canary != "" {
		check("table", n.Canary)
	}
	for _, t := range []Table{n.Messages, n.Sessions, n.Links, n.ConversationSessions, n.Agents} {
		check("table", t.Name)
		for canonical, actual := range t.Columns {
			check("column", canonical)
			check("column", actual)
			if slices.Contains(reserved, actual) {
				problems = append(problems, fmt.Errorf("column %q has the name of a query parameter", actual))
			}
		}
	}
	return errors.Join(problems...)
}

// column returns the actual name of a canonical column.
func (t Table) column(canonical string) string {
	if actual, ok := t.Columns[canonical]; ok {
		return actual
	}
	return canonical
}

// selection returns the select list that answers with canonical keys.
func (t Table) selection(canonical ...string) string {
	var b strings.Builder
	for i, name := range canonical {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
		if actual := t.column(name); actual != name {
			b.WriteByte(':')
			b.WriteString(actual)
		}
	}
	return b.String()
}
