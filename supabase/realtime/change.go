package realtime

import (
	"encoding/json"
	"errors"
	"strconv"
)

// Change is one row event, the data of a postgres_changes message. The raw fields are parts of one frame and keep all of it
// in memory; they must not be changed.
type Change struct {
	Topic           string
	Type            string // INSERT, UPDATE or DELETE
	Schema, Table   string
	CommitTimestamp string          // ISO 8601, UTC, milliseconds; "" where the server sent null (errors 400 and 401)
	IDs             []int64         // the bindings of the channel that match
	Columns         json.RawMessage // array of {name, type}
	Record          json.RawMessage // nil for DELETE. Unchanged large values are missing; so are most after error 413
	OldRecord       json.RawMessage // nil for INSERT; only the primary key unless the replica identity is full
	Errors          []string        // such as "Error 413: Payload Too Large"; 400 and 401 come without regard to filters
}

var errNoData = errors.New("change without data")

// parseChange reads the payload of a postgres_changes message, which is valid JSON.
func parseChange(topic string, payload json.RawMessage) (Change, error) {
	c := Change{Topic: topic}
	ok := false
	members(payload, func(key, value []byte) {
		switch string(key) {
		case "ids":
			elements(value, func(id []byte) {
				if n, err := strconv.ParseInt(string(id), 10, 64); err == nil {
					c.IDs = append(c.IDs, n)
				}
			})
		case "data":
			ok = members(value, c.set)
		}
	})
	if !ok || c.Type == "" || c.Table == "" {
		return Change{}, errNoData
	}
	return c, nil
}

func (c *Change) set(key, value []byte) {
	switch string(key) {
	case "type":
		c.Type = str(value)
	case "schema":
		c.Schema = str(value)
	case "table":
		c.Table = str(value)
	case "commit_timestamp":
		c.CommitTimestamp = str(value)
	case "columns":
		c.Columns = present(value)
	case "record":
		c.Record = present(value)
	case "old_record":
		c.OldRecord = present(value)
	case "errors":
		c.Errors = nil
		elements(value, func(text []byte) { c.Errors = append(c.Errors, str(text)) })
	}
}

// parseBroadcast reads the payload of a broadcast message in a text frame: {"type","event","payload","meta"?}.
func parseBroadcast(raw json.RawMessage) (event string, meta, payload json.RawMessage) {
	members(raw, func(key, value []byte) {
		switch string(key) {
		case "event":
			event = str(value)
		case "meta":
			meta = present(value)
		case "payload":
			payload = value
		}
	})
	return event, meta, payload
}
