package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrNotFound says that the row asked for does not exist.
var ErrNotFound = errors.New("not found")

// ErrInvalidArgument says that an argument was refused before a request was made.
var ErrInvalidArgument = errors.New("invalid argument")

// Codes of failures that are no answer of PostgREST.
const (
	CodeNetwork      = "network"        // no answer, or a broken one
	CodeTimeout      = "timeout"        // Options.Timeout or the context's deadline passed
	CodeCanceled     = "canceled"       // the context was cancelled
	CodeBodyTooLarge = "body_too_large" // more bytes than Options.MaxBody
	CodeBadAnswer    = "bad_answer"     // a success whose body is not what was asked for
	CodeRedirect     = "redirect"       // redirects are not followed: the URL is not the API's
)

const (
	maxErrorText  = 2 << 10   // bytes kept of each text of an error answer
	maxRetryAfter = time.Hour // longer waits are cut
)

// Error is a failed call. Message, Details and Hint are the server's texts, which may quote values of the row or the
// query; Error does not print them.
type Error struct {
	Op         string // what was attempted
	Status     int    // HTTP status, 0 without an answer
	Code       string // SQLSTATE, PGRST code or one of the Code constants; "" when the answer had none
	Message    string
	Details    string
	Hint       string
	RetryAfter time.Duration // 0 when the answer named none; at most an hour

	cause error
}

// Error returns operation, status and code with a fixed text for known codes. It holds no value of query or row.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	b.WriteByte(':')
	if e.Status != 0 {
		b.WriteString(" status " + strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		b.WriteString(" code " + e.Code)
	}
	if text := safeText(e); text != "" {
		b.WriteString(": " + text)
	}
	return b.String()
}

// Unwrap returns the cause of a failure without an answer, so that errors.Is finds context errors.
func (e *Error) Unwrap() error { return e.cause }

var safeTexts = map[string]string{
	"22P02":          "a value does not fit the column's type",
	"23502":          "a required column is null",
	"23503":          "a referenced row does not exist",
	"23505":          "the row exists already",
	"23514":          "a check constraint refused the row",
	"42501":          "permission denied",
	"42703":          "a column does not exist",
	"42883":          "a function does not exist",
	"42P01":          "a table does not exist",
	"57014":          "the statement was cancelled or took too long",
	"P0001":          "the function raised an exception",
	"PGRST000":       "no connection to the database",
	"PGRST001":       "no connection to the database",
	"PGRST002":       "the schema cache is not loaded",
	"PGRST003":       "no free connection to the database",
	"PGRST106":       "the schema is not exposed",
	"PGRST202":       "a function does not exist or has other arguments",
	"PGRST204":       "a column does not exist",
	"PGRST205":       "a table does not exist",
	"PGRST301":       "the key was refused",
	"PGRST302":       "the key was refused",
	"PGRST303":       "the key was refused",
	CodeBodyTooLarge: "the answer is too large",
	CodeBadAnswer:    "the answer is not what was asked for",
	CodeRedirect:     "the server redirects, check the URL",
}

func safeText(e *Error) string {
	if e.cause != nil {
		return causeText(e.cause)
	}
	if text, ok := safeTexts[e.Code]; ok {
		return text
	}
	if e.Code == "" {
		return strings.ToLower(http.StatusText(e.Status))
	}
	return ""
}

// causeText names a transport failure without quoting what was sent or received.
func causeText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ""
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + " " + op.Net + ": " + op.Err.Error()
	}
	if strings.HasPrefix(err.Error(), "tls: ") || strings.HasPrefix(err.Error(), "x509: ") {
		return err.Error()
	}
	return "the connection broke"
}

var codeForm = regexp.MustCompile(`^[A-Za-z0-9_]{1,32}$`)

// answerError makes an error of an answer with status 300 or more, whatever its body is.
func answerError(op string, resp *http.Response, body []byte, received time.Time) *Error {
	e := &Error{Op: op, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header, received)}
	if resp.StatusCode < 400 {
		e.Code = CodeRedirect
		return e
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return e // HTML of a gateway, nothing, or null
	}
	if code := text(fields["code"]); codeForm.MatchString(code) {
		e.Code = code
	}
	e.Message, e.Details, e.Hint = text(fields["message"]), text(fields["details"]), text(fields["hint"])
	return e
}

// text returns a JSON string, or another value as it stands; null and nothing are "".
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(bytes.TrimSpace(raw))
	}
	return strings.ToValidUTF8(s[:min(len(s), maxErrorText)], "")
}

// retryAfter reads seconds or an HTTP date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(v, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// transportError makes an error of a request without a whole answer.
func transportError(op string, err error) *Error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	code := CodeNetwork
	var timeout net.Error
	switch {
	case errors.Is(err, context.Canceled):
		code = CodeCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		code = CodeTimeout
	}
	return &Error{Op: op, Code: code, cause: err}
}

func badAnswer(op string, answer *call, what string) *Error {
	return &Error{Op: op, Status: answer.status, Code: CodeBadAnswer, Message: what}
}

func invalid(op, what string) error { return fmt.Errorf("%s: %w: %s", op, ErrInvalidArgument, what) }

// Unavailable tells whether err says nothing but that the call could not be carried out: the network, a timeout, a
// cancelled context, 5xx, 429, a refused key, a missing table, column or function, an unreadable answer. It never means a
// bad token, and never a row that the database refused.
func Unavailable(err error) bool {
	_, ok := errors.AsType[*Error](err)
	return ok && !Conflict(err) && !Constraint(err)
}

// MissingTable tells whether the table does not exist or is not exposed.
func MissingTable(err error) bool { return hasCode(err, "42P01", "PGRST205") }

// MissingColumn tells whether a column does not exist, in the query or inside a called function.
func MissingColumn(err error) bool { return hasCode(err, "42703", "PGRST204") }

// MissingFunction tells whether a function does not exist, the called one or one that it calls.
func MissingFunction(err error) bool { return hasCode(err, "42883", "PGRST202") }

// Forbidden tells whether the key was refused or lacks a grant.
func Forbidden(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden ||
		hasCode(err, "42501", "PGRST301", "PGRST302", "PGRST303"))
}

// Conflict tells whether a row of the same key exists.
func Conflict(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Code == "23505" || e.Status == http.StatusConflict && !Constraint(err))
}

// Constraint tells whether the row itself was refused: a check, a reference or a missing value.
func Constraint(err error) bool { return hasCode(err, "23514", "23503", "23502") }

func hasCode(err error, codes ...string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && slices.Contains(codes, e.Code)
}
