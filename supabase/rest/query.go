package rest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"time"
)

// query is a built request of postgrest-go; a builder serves one call.
type query interface {
	ExecuteWithContext(ctx context.Context) ([]byte, int64, error)
}

// run makes one request within the timeout. prefer, unless empty, replaces the Prefer header that the library built.
func (c *Client) run(ctx context.Context, op string, q query, prefer string) (*call, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer := &call{op: op, prefer: prefer}
	started := time.Now()
	_, _, err := q.ExecuteWithContext(context.WithValue(ctx, callKey{}, answer))
	switch {
	case answer.err != nil: // what the library made of it has lost the status
		err = answer.err
	case err != nil:
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // its text holds the query
		}
		err = transportError(op, err)
	case answer.status == 0:
		err = &Error{Op: op, Code: CodeNetwork}
	}
	c.log.LogAttrs(ctx, slog.LevelDebug, "rest call", slog.String("op", op), slog.Int("status", answer.status),
		slog.Int("bytes", len(answer.body)), slog.Duration("took", time.Since(started)))
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// read runs a query and decodes the rows of its answer.
func (c *Client) read(ctx context.Context, op string, q query, rows any) (*call, error) {
	answer, err := c.run(ctx, op, q, "")
	if err != nil {
		return nil, err
	}
	return answer, decodeRows(op, answer, rows)
}

// decodeRows decodes an answer that must be an array.
func decodeRows(op string, answer *call, rows any) error {
	if err := json.Unmarshal(answer.body, rows); err != nil {
		return badAnswer(op, answer, "not the rows asked for")
	}
	return nil
}

// readByID reads rows by id in batches.
func readByID[T any](ctx context.Context, c *Client, op string, t Table, ids, columns []string) ([]T, error) {
	batches, err := batchIDs(op, ids)
	if err != nil {
		return nil, err
	}
	var all []T
	for _, batch := range batches {
		q := c.builder.From(t.Name).
			Select(t.selection(columns...), "", false).
			In(t.column("id"), batch).
			Limit(maxRows, "")
		var rows []T
		if _, err := c.read(ctx, op, q, &rows); err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// batchIDs checks ids, drops repeated ones and cuts the rest into what fits one URL.
func batchIDs(op string, ids []string) ([][]string, error) {
	for _, id := range ids {
		if !isID(id) {
			return nil, invalid(op, "id")
		}
	}
	unique := slices.Compact(slices.Sorted(slices.Values(ids)))
	return slices.Collect(slices.Chunk(unique, maxBatch)), nil
}

func convert[From, To any](rows []From, f func(From) To) []To {
	out := make([]To, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}
