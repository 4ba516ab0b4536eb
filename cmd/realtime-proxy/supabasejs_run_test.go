package main_test

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// jsRun is one scenario of one client with one target.
type jsRun struct {
	scenario string
	client   jsClient
	at       *jsTarget
	relay    *relay // between client and target, where the scenario cuts it

	visitor standin.FixtureSession
	ids     []string // of the rows inserted for it
	notes   []jsNote
	err     error
}

func (r *jsRun) name() string { return r.scenario + ", " + r.client.name }

// perform plays the scenario.
func (r *jsRun) perform() {
	r.err = func() (err error) {
		if r.visitor, err = r.at.up.visitor(); err != nil {
			return err
		}
		params := map[string]any{"url": r.at.url, "key": r.at.key(r.visitor), "conversation": r.visitor.ConversationID,
			"table": standin.TableMessages, "wrong": r.wrong()}
		switch r.scenario {
		case "setAuth", "callback", "heartbeats":
			params["key"] = r.at.up.AnonKey
			params["token"], params["nextToken"], err = r.at.tokens(r.visitor)
		case "over": // before the proxy has heard of it
			_, err = r.end(nil)
		case "cut":
			params["url"] = r.relay.url()
		}
		if err != nil {
			return err
		}
		if r.scenario == "heartbeats" {
			params["options"] = map[string]any{"realtime": map[string]any{"heartbeatIntervalMs": 250}}
		}
		r.notes, err = r.client.play(r.at.name+", "+r.name(), r.scenario, params, r.answers())
		return err
	}()
}

// wrongBinding is one that the target refuses, by a system message or by closing the channel.
type wrongBinding struct {
	Difference map[string]string `json:"difference"` // from the right one
	By         string            `json:"by"`
	reason     string            // part of what is told
}

func (r *jsRun) wrong() []wrongBinding {
	unknown := map[string]string{"filter": "nowhere=eq.1"}
	all := []wrongBinding{{unknown, "system", "Unable to subscribe to changes with given parameters. An exception happened so please check"}}
	if r.at.proxied {
		foreign := map[string]string{"filter": "conversation_id=eq." + r.at.up.fixture.Shared.ConversationID}
		table := map[string]string{"table": standin.TableSessions, "filter": "id=eq." + r.visitor.ID}
		all = append(all, wrongBinding{foreign, "close", "conversation"}, wrongBinding{table, "close", "table"})
	}
	return all
}

func (r *jsRun) answers() answers {
	return answers{
		"insert": r.insert, "update": r.update, "delete": r.remove, "say": r.say, "thousand": r.thousand, "end": r.end,
		"restart": func(json.RawMessage) (any, error) { return nil, r.at.restarts.join() },
		"cut": func(json.RawMessage) (any, error) {
			r.relay.cut()
			return nil, nil
		},
		"mend": func(json.RawMessage) (any, error) {
			r.relay.mend()
			return nil, nil
		},
	}
}

// store writes a row and returns its id.
func (r *jsRun) store(row standin.Row) (id string, err error) {
	stored, err := r.at.up.standin.DB().Insert(standin.TableMessages, row)
	if err != nil {
		return "", err
	}
	id = stored["id"].(string)
	r.ids = append(r.ids, id)
	return id, nil
}

// insert writes rows of the agent, each in a transaction of its own: a read that overtakes the live way brings them in the order of
// their times, and those of one transaction are equal.
func (r *jsRun) insert(details json.RawMessage) (any, error) {
	var in struct{ Texts []string }
	if err := json.Unmarshal(details, &in); err != nil {
		return nil, err
	}
	var ids []string
	for _, text := range in.Texts {
		id, err := r.store(r.at.up.row(r.visitor, false, text))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (r *jsRun) say(details json.RawMessage) (any, error) {
	var in struct{ Text string }
	if err := json.Unmarshal(details, &in); err != nil {
		return nil, err
	}
	return r.store(r.at.up.row(r.visitor, true, in.Text))
}

func (r *jsRun) update(details json.RawMessage) (any, error) {
	var in struct{ ID, Text string }
	if err := json.Unmarshal(details, &in); err != nil {
		return nil, err
	}
	set := standin.Row{"content": r.at.up.row(r.visitor, false, in.Text)["content"]}
	return r.at.up.standin.DB().Update(standin.TableMessages, standin.Row{"id": in.ID}, set)
}

func (r *jsRun) remove(details json.RawMessage) (any, error) {
	var in struct{ ID string }
	if err := json.Unmarshal(details, &in); err != nil {
		return nil, err
	}
	return r.at.up.standin.DB().Delete(standin.TableMessages, standin.Row{"id": in.ID})
}

// thousand writes 1,000 rows, each a microsecond younger than the one before.
func (r *jsRun) thousand(json.RawMessage) (any, error) {
	began := r.at.up.standin.DB().Now()
	for i := range 1000 {
		row := r.at.up.row(r.visitor, false, strconv.Itoa(i))
		row["created_at"] = began.Add(time.Duration(i) * time.Microsecond)
		if _, err := r.store(row); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// end ends the visitor's session. The stand-in knows no sessions: there a token that is about to expire ends the channel.
func (r *jsRun) end(json.RawMessage) (any, error) {
	if !r.at.proxied {
		return r.at.up.standin.SignToken("service_role", time.Now().Add(2*time.Second))
	}
	set := standin.Row{"status": "ended", "ended_at": time.Now(), "end_reason": "completed"}
	_, err := r.at.up.standin.DB().Update(standin.TableSessions, standin.Row{"id": r.visitor.ID}, set)
	return nil, err
}
