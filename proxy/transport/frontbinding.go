package transport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// frontBinding is one postgres_changes entry of a join.
type frontBinding struct {
	id            int
	event         string // INSERT, UPDATE, DELETE or *
	schema, table string
	only          []string // select; nil is all
	conditions    []frontCondition
	tests         []frontTest // compiled conditions: all must hold
}

// addBindings reads the bindings and returns the answer to the join: each object as it was sent, in order, with an id.
func (j *frontJoin) addBindings(list []json.RawMessage, t chat.Table) []byte {
	response, conditions := []byte(`{"postgres_changes":[`), 0
	for _, raw := range list {
		object, ok := parseFields(raw)
		if !ok {
			continue
		}
		b := &frontBinding{id: j.newBindingID(raw), event: "*"}
		problem := b.parse(object, raw)
		if conditions += len(b.conditions); conditions > maxConditions {
			problem = fmt.Sprintf("Error parsing `filter` params: too many conditions in one channel. Maximum %d", maxConditions)
		}
		if problem != "" && j.problem == "" {
			j.problem = problem
		}
		if len(j.bindings) > 0 {
			response = append(response, ',')
		}
		response = appendEcho(response, raw, object, b.id)
		j.bindings = append(j.bindings, b)
	}
	return append(response, "]}"...)
}

// newBindingID is the same for the same object after a reconnect, and no other binding's of the channel. Clients take 0 for none.
func (j *frontJoin) newBindingID(raw []byte) int {
	h := fnv.New32a()
	_, _ = h.Write(raw)
	id := int(h.Sum32() & (1<<27 - 1))
	for id == 0 || slices.ContainsFunc(j.bindings, func(b *frontBinding) bool { return b.id == id }) {
		id++
	}
	return id
}

// appendEcho repeats the raw object: clients compare what they sent. Of a repeated key the last counts, so an id of theirs comes first.
func appendEcho(dst []byte, raw json.RawMessage, object fields, id int) []byte {
	inner := bytes.TrimSpace(raw)
	inner = bytes.TrimSpace(inner[1 : len(inner)-1])
	member := strconv.AppendInt([]byte(`"id":`), int64(id), 10)
	dst = append(dst, '{')
	_, own := object["id"]
	switch {
	case len(inner) == 0:
		dst = append(dst, member...)
	case own:
		dst = append(append(append(dst, inner...), ','), member...)
	default:
		dst = append(append(append(dst, member...), ','), inner...)
	}
	return append(dst, '}')
}

// parse reads an entry and returns the text of the system message where it cannot work.
func (b *frontBinding) parse(object fields, raw []byte) (problem string) {
	if event, _ := object.text("event"); slices.Contains([]string{"INSERT", "UPDATE", "DELETE"}, strings.ToUpper(event)) {
		b.event = strings.ToUpper(event)
	}
	values := make(map[string]string)
	for _, name := range []string{"schema", "table", "filter"} {
		if value, sent := object[name]; sent {
			text, ok := object.text(name)
			if !ok || string(value) == "null" {
				return noParams(raw)
			}
			values[name] = text
		}
	}
	_, hasSchema := values["schema"]
	_, hasTable := values["table"]
	_, hasFilter := values["filter"]
	b.schema, b.table = values["schema"], values["table"]
	switch {
	case hasSchema && hasTable:
	case hasTable:
		b.schema = "public"
	case hasSchema && !hasFilter:
		b.table = "*"
	default:
		return noParams(raw)
	}
	if problem := b.parseSelect(object["select"]); problem != "" {
		return problem
	}
	if strings.TrimSpace(values["filter"]) != "" {
		b.conditions, problem = parseConditions(values["filter"])
	}
	return problem
}

func (b *frontBinding) parseSelect(raw json.RawMessage) (problem string) {
	if json.Unmarshal(raw, &b.only) != nil || b.only == nil {
		b.only = nil
		return ""
	}
	if b.schema == "*" || b.table == "*" {
		return "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
	}
	return ""
}

func noParams(raw []byte) string {
	return "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: " + inspectJSON(raw)
}

// names reports whether the binding can mean the messages table.
func (b *frontBinding) names(t chat.Table) bool {
	return (b.schema == "*" || b.schema == t.Schema) && (b.table == "*" || b.table == t.Name)
}

// checkBindings compares what a join asks for with what the visitor may see. A problem of the bindings themselves becomes the system
// message of a channel without changes, as on the real server.
func (c *frontChannel) checkBindings(v *chat.Visitor, t chat.Table) *frontRefusal {
	for _, b := range c.bindings {
		if b.schema == "" || b.names(t) {
			continue
		}
		if !c.legacy { // else any topic of a client that has no config at all would be refused
			return permanent("Unauthorized",
				fmt.Sprintf("A chat session may not watch the table %s.%s, only %s.%s", b.schema, b.table, t.Schema, t.Name))
		}
		if c.problem == "" {
			c.problem = "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given " +
				"connect parameters: " + b.describe()
		}
	}
	for _, b := range c.bindings {
		if foreign := b.foreignConversation(v, t); foreign != "" {
			return permanent("Unauthorized",
				fmt.Sprintf("A chat session may not watch another conversation (%s), only its own", foreign))
		}
	}
	for _, b := range c.bindings {
		if c.problem != "" {
			break
		}
		if fault := b.compile(v, t); fault != "" {
			c.problem = "Unable to subscribe to changes with given parameters. An exception happened so please check your connect " +
				"parameters: " + b.describe() + ". Exception: ERROR " + fault
		}
	}
	for _, b := range c.bindings {
		b.conditions = nil // compiled
	}
	return nil
}

// describe is the list of parameters in the texts of the real server.
func (b *frontBinding) describe() string {
	filters := make([]string, len(b.conditions))
	for i, c := range b.conditions {
		filters[i] = fmt.Sprintf("{%s, %s, %s, %t}", quoted(c.column), quoted(c.op), quoted(c.value), c.negated)
	}
	selected := "nil"
	if b.only != nil {
		selected = inspectJSON(encode(b.only))
	}
	return fmt.Sprintf("[event: %s, schema: %s, table: %s, filters: [%s], select: %s]",
		b.event, b.schema, b.table, strings.Join(filters, ", "), selected)
}

func quoted(text string) string { return string(encode(text)) }

// frontMatch is one frame's worth of a channel's bindings: those with the same columns.
type frontMatch struct {
	only []string
	ids  []int
}

// matching lists the frames that an event makes, the one with all columns first; ids come last one first, as on the real server.
func (c *frontChannel) matching(e *chat.Event) (found []frontMatch) {
	if c.problem != "" {
		return nil
	}
	subject := &frontSubject{Event: e}
	for _, b := range slices.Backward(c.bindings) {
		if !b.matches(subject) {
			continue
		}
		i := slices.IndexFunc(found, func(m frontMatch) bool {
			return slices.Equal(m.only, b.only) && (m.only == nil) == (b.only == nil)
		})
		switch {
		case i >= 0:
			found[i].ids = append(found[i].ids, b.id)
		case b.only == nil:
			found = slices.Insert(found, 0, frontMatch{nil, []int{b.id}})
		default:
			found = append(found, frontMatch{b.only, []int{b.id}})
		}
	}
	if c.legacy {
		for i := range found {
			found[i].ids = nil
		}
	}
	return found
}

func (b *frontBinding) matches(e *frontSubject) bool {
	if b.event != "*" && b.event != e.Kind.ChangeType() {
		return false
	}
	for _, test := range b.tests {
		if test(e) != yes {
			return false
		}
	}
	return true
}

// appendPayload splices the shared data object between what is the channel's own. Clients without a config get the bare object.
func (m *frontMatch) appendPayload(dst []byte, e *chat.Event) []byte {
	if m.ids != nil {
		dst = append(dst, `{"data":`...)
	}
	if m.only == nil {
		dst = append(dst, e.Encode(chat.DialectRealtime)...)
	} else {
		dst = e.AppendChange(dst, func(name string) bool { return slices.Contains(m.only, name) })
	}
	if m.ids == nil {
		return dst
	}
	dst = append(dst, `,"ids":[`...)
	for i, id := range m.ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(id), 10)
	}
	return append(dst, "]}"...)
}
