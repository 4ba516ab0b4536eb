package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	idForm              = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{1,19})$`)
	farForm             = regexp.MustCompile(`^[0-9]{5,6}-[0-9]{2}-[0-9]{2}T[0-9:.+-]+$`)
	longAgoForm         = regexp.MustCompile(`^[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9:.+-]+ BC$`)
	clientMessageIDForm = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)
)

// isID tells whether s is a UUID or a decimal integer, the only forms that may enter a filter as an id.
func isID(s string) bool { return idForm.MatchString(s) }

func isClientMessageID(s string) bool { return clientMessageIDForm.MatchString(s) }

// isToken is lenient because a token travels in a JSON body only; callers check the form of their tokens.
func isToken(s string) bool {
	return s != "" && len(s) <= maxTokenBytes && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// firstTime and lastTime bound the times that both PostgreSQL and RFC 3339 can write; lastTime itself is excluded.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

func isTimestamp(t time.Time) bool { return !t.Before(firstTime) && t.Before(lastTime) }

// literal writes a time for a filter inside and=(...): quoted, because it holds reserved characters.
func literal(t time.Time) string {
	return t.UTC().Format(`"2006-01-02T15:04:05.000000Z"`)
}

// bounds writes all conditions on times and position as one logical expression. There is always a lower and an upper bound,
// which keeps out rows whose created_at is null or infinite.
func (q MessagesQuery) bounds(t Table) string {
	at, id := t.column("created_at"), t.column("id")
	since, until, upper := firstTime, lastTime, "lt"
	if !q.Since.IsZero() {
		since = q.Since
	}
	if q.After.CreatedAt.After(since) {
		since = q.After.CreatedAt
	}
	if !q.Until.IsZero() {
		until = q.Until
	}
	if !q.Before.IsZero() && q.Before.CreatedAt.Before(until) {
		until, upper = q.Before.CreatedAt, "lte"
	}
	terms := []string{at + ".gte." + literal(since), at + "." + upper + "." + literal(until)}
	// With the plain bounds above, "later or a greater id" is the same as (created_at, id) > After.
	if !q.After.IsZero() {
		terms = append(terms, fmt.Sprintf("or(%s.gt.%s,%s.gt.%s)", at, literal(q.After.CreatedAt), id, q.After.ID))
	}
	if !q.Before.IsZero() {
		terms = append(terms, fmt.Sprintf("or(%s.lt.%s,%s.lt.%s)", at, literal(q.Before.CreatedAt), id, q.Before.ID))
	}
	if !q.ChangedSince.IsZero() {
		changed := literal(q.ChangedSince)
		terms = append(terms, fmt.Sprintf("or(%s.gte.%s,%s.gte.%s)", at, changed, t.column("updated_at"), changed))
	}
	return strings.Join(terms, ",")
}

// positionOf reads the position of a row.
func positionOf(row json.RawMessage) (Position, error) {
	var key struct {
		ID        json.RawMessage `json:"id"`
		CreatedAt timestamp       `json:"created_at"`
	}
	if err := json.Unmarshal(row, &key); err != nil {
		return Position{}, errors.New("a row without created_at and id")
	}
	id := string(bytes.Trim(key.ID, `"`)) // a string or a number; isID admits no escapes
	if !isID(id) || key.CreatedAt.IsZero() {
		return Position{}, errors.New("a row without a usable position")
	}
	return Position{CreatedAt: key.CreatedAt.Time, ID: id}, nil
}

// timestamp decodes what PostgREST prints for timestamptz and timestamp. Null, infinity and years of more than four digits become the
// zero time, -infinity and years before Christ the Unix epoch: what expired always stays expired, and no date that a user may choose
// makes the rows beside it unreadable.
type timestamp struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (t *timestamp) UnmarshalJSON(b []byte) error {
	t.Time = time.Time{}
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New("a timestamp is not a string")
	}
	switch {
	case s == "infinity", farForm.MatchString(s):
		return nil
	case s == "-infinity", longAgoForm.MatchString(s):
		t.Time = time.Unix(0, 0).UTC()
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if parsed, err := time.Parse(layout, s); err == nil {
			t.Time = parsed.UTC()
			return nil
		}
	}
	return errors.New("a timestamp has an unknown form")
}

// texts decodes a column of type text[]. PostgreSQL does not keep its users from storing arrays of arrays there: their texts count.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(b []byte) error {
	var plain []string
	if json.Unmarshal(b, &plain) == nil {
		*t = plain
		return nil
	}
	var parts []texts
	if json.Unmarshal(b, &parts) != nil {
		return errors.New("a list of texts has an unknown form")
	}
	*t = slices.Concat(parts...)
	return nil
}
