package rest

import (
	"context"
	"encoding/json"
	"fmt"
)

// InsertMessage stores one row and returns it with the keys of Page.Rows. row encodes to a JSON object with canonical
// keys, among them an id chosen by the caller, which makes the call safe to repeat: when the id exists already, that row
// is left as it is and returned. A row of another conversation under that id is a Conflict.
func (c *Client) InsertMessage(ctx context.Context, row any) (json.RawMessage, error) {
	const op = "insert message"
	t := c.names.Messages
	body, key, err := t.encode(op, row)
	if err != nil {
		return nil, err
	}
	from := c.builder.From(t.Name)
	from.Select(t.selection(messageColumns...), "", false) // the only way to give a write a select list
	query := from.Insert(body, true, t.column("id"), "representation", "")
	// The library can only ask to merge duplicates, which would overwrite the stored row.
	answer, err := c.run(ctx, op, query, "return=representation,resolution=ignore-duplicates")
	if err != nil {
		return nil, err
	}
	var rows []json.RawMessage
	if err := decodeRows(op, answer, &rows); err != nil {
		return nil, err
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	return c.existing(ctx, op, key)
}

// rowKey is what identifies a row to be inserted.
type rowKey struct {
	ID             string `json:"id"`
	ConversationID string `json:"conversation_id"`
}

// existing returns the stored row that made an insert a duplicate.
func (c *Client) existing(ctx context.Context, op string, key rowKey) (json.RawMessage, error) {
	rows, err := c.MessagesByID(ctx, []string{key.ID})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: stored and gone again: %w", op, ErrNotFound)
	}
	var stored rowKey
	if err := json.Unmarshal(rows[0], &stored); err != nil {
		return nil, &Error{Op: op, Code: CodeBadAnswer, Message: "a row without id and conversation"}
	}
	if stored.ConversationID != key.ConversationID {
		return nil, &Error{Op: op, Status: 409, Code: "23505", Message: "the id belongs to another conversation"}
	}
	return rows[0], nil
}

// encode returns row as an object of actual column names.
func (t Table) encode(op string, row any) (json.RawMessage, rowKey, error) {
	var key rowKey
	encoded, err := json.Marshal(row)
	if err != nil {
		return nil, key, fmt.Errorf("%s: encode: %w", op, err)
	}
	var canonical map[string]json.RawMessage
	if json.Unmarshal(encoded, &canonical) != nil || json.Unmarshal(encoded, &key) != nil {
		return nil, key, invalid(op, "row")
	}
	if !isID(key.ID) || !isID(key.ConversationID) {
		return nil, key, invalid(op, "id")
	}
	actual := make(map[string]json.RawMessage, len(canonical))
	for name, value := range canonical {
		if !identifier.MatchString(name) {
			return nil, key, invalid(op, "column name")
		}
		actual[t.column(name)] = value
	}
	body, err := json.Marshal(actual)
	if err != nil {
		return nil, key, fmt.Errorf("%s: encode: %w", op, err)
	}
	return body, key, nil
}
