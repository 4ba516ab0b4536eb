package standin

import (
	"errors"
	"fmt"
)

// Error is a PostgreSQL or PostgREST error. The REST endpoint sends it as its body.
type Error struct {
	Code    string // SQLSTATE or PGRSTnnn
	Message string
	Details string // empty is sent as null
	Hint    string // empty is sent as null
}

// Error gives the code and the message, which may quote values.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrTxDone reports a statement on a transaction that has been committed or rolled back.
var ErrTxDone = errors.New("transaction has already been committed or rolled back")

func pgErrorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func undefinedTable(schema, name string) *Error {
	return pgErrorf("42P01", "relation %q does not exist", schema+"."+name)
}

func undefinedColumn(table, column string) *Error {
	return pgErrorf("42703", "column %s.%s does not exist", table, column)
}

func invalidSyntax(pgType, text string) *Error {
	code := "22P02"
	if pgType == "timestamptz" {
		code, pgType = "22007", "timestamp with time zone"
	}
	return pgErrorf(code, "invalid input syntax for type %s: \"%s\"", pgTypeName(pgType), text)
}

// pgTypeName gives the name that PostgreSQL's messages use for a pg_type.typname.
func pgTypeName(typname string) string {
	switch typname {
	case "int2":
		return "smallint"
	case "int4":
		return "integer"
	case "int8":
		return "bigint"
	case "bool":
		return "boolean"
	case "jsonb":
		return "json"
	}
	return typname
}

// conditionName gives PostgreSQL's name of a SQLSTATE, as Realtime prints it in subscription errors.
func conditionName(code string) string {
	switch code {
	case "22P02":
		return "invalid_text_representation"
	case "22007":
		return "invalid_datetime_format"
	case "22003":
		return "numeric_value_out_of_range"
	case "22008":
		return "datetime_field_overflow"
	case "42704":
		return "undefined_object"
	}
	return "raise_exception"
}

// wireText is an error whose text goes to the client as it is, in the words of the real server.
type wireText string

func (t wireText) Error() string { return string(t) }

func wireTextf(format string, args ...any) error { return wireText(fmt.Sprintf(format, args...)) }
