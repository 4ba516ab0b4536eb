package rest

import (
	"context"
	"encoding/json"
	"time"

	"github.com/supabase-community/postgrest-go"
)

// beatRow is a row of the canary table.
type beatRow struct {
	ID   string    `json:"id"`
	Beat time.Time `json:"beat"`
}

// WriteBeat stores at, cut to microseconds, as the latest beat under an id. The row is made if there is none.
func (c *Client) WriteBeat(ctx context.Context, id string, at time.Time) error {
	const op = "write beat"
	if c.names.Canary == "" || !isID(id) {
		return invalid(op, "table or id")
	}
	body, err := json.Marshal(beatRow{id, at.UTC().Truncate(time.Microsecond)})
	if err != nil {
		return invalid(op, "time")
	}
	query := c.builder.From(c.names.Canary).Insert(json.RawMessage(body), true, "id", "minimal", "")
	_, err = c.run(ctx, op, query, "")
	return err
}

// DeleteBeat removes the row of an id, if there is one.
func (c *Client) DeleteBeat(ctx context.Context, id string) error {
	const op = "delete beat"
	if c.names.Canary == "" || !isID(id) {
		return invalid(op, "table or id")
	}
	return c.deleteBeats(ctx, op, func(f *postgrest.FilterBuilder) { f.Eq("id", id) })
}

// DeleteBeatsBefore removes the rows whose latest beat is older than t.
func (c *Client) DeleteBeatsBefore(ctx context.Context, t time.Time) error {
	const op = "delete old beats"
	if c.names.Canary == "" || t.IsZero() {
		return invalid(op, "table or time")
	}
	return c.deleteBeats(ctx, op, func(f *postgrest.FilterBuilder) { f.Lt("beat", t.UTC().Format(time.RFC3339Nano)) })
}

func (c *Client) deleteBeats(ctx context.Context, op string, where func(*postgrest.FilterBuilder)) error {
	query := c.builder.From(c.names.Canary).Delete("minimal", "")
	where(query)
	_, err := c.run(ctx, op, query, "")
	return err
}
