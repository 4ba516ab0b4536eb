package realtime_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// recorded is one socket of a recording of a real server: one join of every topic, and all that the server sent.
type recorded struct {
	version phoenix.Version
	prefer  phoenix.Ref // the join to take where a topic was joined more than once; otherwise the first
	specs   []realtime.ChannelSpec
	joins   map[string]phoenix.Ref // topic to its recorded join ref
	frames  []recordedFrame
}

type recordedFrame struct {
	binary bool
	bytes  []byte
	m      phoenix.Message
}

// load reads the socket conn ("" where there is one only) of a recording.
func load(t *testing.T, file, conn, prefer string) recorded {
	t.Helper()
	in, err := os.Open("../../testdata/realtime/" + file + ".jsonl")
	require.NoError(t, err)
	defer in.Close()
	r := recorded{version: phoenix.V1, prefer: phoenix.StringRef(prefer), joins: map[string]phoenix.Ref{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var l struct {
			Dir, Conn, HTTP, Frame string
			FrameB64               []byte `json:"frame_b64"`
			FrameLen               int    `json:"frame_len"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l))
		frame, binary := []byte(l.Frame), false
		if len(l.FrameB64) > 0 {
			frame, binary = l.FrameB64, true
		}
		switch {
		case l.Conn != conn || l.FrameLen > 0:
		case l.HTTP != "":
			if strings.Contains(l.HTTP, "vsn=2.0.0") {
				r.version = phoenix.V2
			}
		case len(frame) == 0:
		case l.Dir == "out":
			r.addJoin(t, binary, frame)
		case l.Dir == "in":
			m, err := phoenix.DecodeServer(binary, frame)
			require.NoError(t, err)
			r.frames = append(r.frames, recordedFrame{binary, frame, m})
		}
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, r.frames)
	return r
}

func (r *recorded) addJoin(t *testing.T, binary bool, frame []byte) {
	m, err := phoenix.DecodeClient(r.version, binary, frame)
	require.NoError(t, err)
	if m.Event != phoenix.EventJoin || !strings.HasPrefix(m.Topic, "realtime:") || m.Topic == "realtime:" {
		return
	}
	if _, again := r.joins[m.Topic]; again {
		if m.Ref == r.prefer {
			r.joins[m.Topic] = m.Ref
		}
		return
	}
	var p struct {
		Config struct {
			Private  bool
			Bindings []json.RawMessage `json:"postgres_changes"`
		}
	}
	_ = json.Unmarshal(m.Payload, &p) // 06 has bindings that are not a list
	spec := realtime.ChannelSpec{Topic: m.Topic, Private: p.Config.Private}
	for _, raw := range p.Config.Bindings {
		var b realtime.Binding
		require.NoError(t, json.Unmarshal(raw, &b))
		spec.Bindings = append(spec.Bindings, b)
	}
	r.joins[m.Topic] = m.Ref
	r.specs = append(r.specs, spec)
}

// outcome is what a client made of a recording.
type outcome struct {
	states  map[string][]string // per topic, without dialing and closed
	errs    map[string]error    // first error of a topic
	changes []realtime.Change
	casts   []broadcast
}

// replay plays a recorded socket to a client with the same channels. Refs of the chosen joins are exchanged for the
// client's; all others are made foreign to it and have to be ignored.
func replay(t *testing.T, r recorded) outcome {
	t.Helper()
	out := outcome{states: map[string][]string{}, errs: map[string]error{}}
	bubble(t, func(o *realtime.Options) { o.Version, o.Channels = r.version, r.specs }, func(f *fixture) {
		p := f.srv.accept()
		refs := map[phoenix.Ref]phoenix.Ref{}
		for _, spec := range r.specs {
			refs[r.joins[spec.Topic]] = p.expect(phoenix.EventJoin, spec.Topic).Ref
		}
		for _, frame := range r.frames {
			p.replay(frame, refs)
		}
		synctest.Wait()
		out.collect(f)
	})
	return out
}

func (p *peer) replay(frame recordedFrame, refs map[phoenix.Ref]phoenix.Ref) {
	swap := func(r phoenix.Ref) phoenix.Ref {
		if now, ok := refs[r]; ok {
			return now
		}
		if r.IsNull() {
			return r
		}
		return phoenix.StringRef("recorded-" + r.String())
	}
	m := frame.m
	if m.Ref.IsNull() && m.JoinRef.IsNull() {
		p.write(frame.binary, frame.bytes)
		return
	}
	m.Ref, m.JoinRef = swap(m.Ref), swap(m.JoinRef)
	p.send(m)
}

func (out *outcome) collect(f *fixture) {
	for len(f.statuses) > 0 {
		s := <-f.statuses
		if s.State == realtime.StateDialing {
			continue
		}
		out.states[s.Topic] = append(out.states[s.Topic], s.State.String())
		if s.Err != nil && out.errs[s.Topic] == nil {
			out.errs[s.Topic] = s.Err
		}
	}
	for len(f.changes) > 0 {
		out.changes = append(out.changes, <-f.changes)
	}
	for len(f.broadcasts) > 0 {
		out.casts = append(out.casts, <-f.broadcasts)
	}
}

// wantChanges decodes the recorded changes with encoding/json.
func (r recorded) wantChanges(t *testing.T) (want []realtime.Change) {
	t.Helper()
	for _, frame := range r.frames {
		if frame.m.Event != phoenix.EventPostgresChanges {
			continue
		}
		var p struct {
			IDs  []int64
			Data struct {
				Type, Schema, Table string
				CommitTimestamp     string          `json:"commit_timestamp"`
				Columns             json.RawMessage `json:"columns"`
				Record              json.RawMessage `json:"record"`
				OldRecord           json.RawMessage `json:"old_record"`
				Errors              []string
			}
		}
		require.NoError(t, json.Unmarshal(frame.m.Payload, &p))
		d := p.Data
		want = append(want, realtime.Change{
			Topic: frame.m.Topic, Type: d.Type, Schema: d.Schema, Table: d.Table, CommitTimestamp: d.CommitTimestamp, IDs: p.IDs,
			Columns: d.Columns, Record: d.Record, OldRecord: d.OldRecord, Errors: d.Errors,
		})
	}
	return want
}

var (
	brought = []string{"joining", "joined", "live"}
	ended   = []string{"joining", "joined", "live", "errored"}
	failed  = []string{"joining", "joined", "errored"}
)

func TestReplayOfRecordingsGivesTheirChangesAndStates(t *testing.T) {
	control := map[string][]string{"realtime:ctl-sessions": brought, "realtime:ctl-links": brought}
	filters := map[string][]string{
		"realtime:eqA": brought, "realtime:inBC": brought, "realtime:multi": brought, "realtime:twice": brought, "realtime:and": brought,
	}
	for _, tc := range []struct {
		file, conn string
		changes    int
		states     map[string][]string
	}{
		{"01-basic-v1", "", 1, map[string][]string{"realtime:chat": ended}},
		{"01-basic-v2", "", 1, map[string][]string{"realtime:chat": ended}},
		{"02-types-v1", "", 20, nil},
		{"02-types-v2", "", 20, nil},
		{"04-filters-bindings-v1", "", 25, filters},
		{"04-filters-bindings-v2", "", 25, filters},
		{"22-mixed-vsn-same-topic", "v1-0", 2, map[string][]string{"realtime:mixed": ended, "realtime:own0": brought}},
		{"22-mixed-vsn-same-topic", "v1-6", 2, map[string][]string{"realtime:mixed": ended, "realtime:own6": brought}}, // got an array
		{"22-mixed-vsn-same-topic", "v2-1", 2, map[string][]string{"realtime:mixed": ended, "realtime:own1": brought}},
		{"22-mixed-vsn-same-topic", "v2-9", 2, map[string][]string{"realtime:mixed": ended, "realtime:own9": brought}}, // got an object
		{"36-control-bindings-v1", "", 4, control},
		{"36-control-bindings-v2", "", 4, control},
	} {
		t.Run(tc.file+tc.conn, func(t *testing.T) {
			r := load(t, tc.file, tc.conn, "")
			out := replay(t, r)
			assert.Equal(t, r.wantChanges(t), out.changes)
			assert.Equal(t, tc.changes, len(out.changes))
			if tc.states != nil {
				assert.Equal(t, tc.states, out.states)
			}
		})
	}
}

func TestReplayOfADuplicateJoinIgnoresTheEndOfTheOldOne(t *testing.T) {
	for _, file := range []string{"08-duplicate-join-leave-v1", "08-duplicate-join-leave-v2"} {
		t.Run(file, func(t *testing.T) {
			r := load(t, file, "", "2") // the client's join is the second one; the first is foreign to it
			out := replay(t, r)
			assert.Equal(t, map[string][]string{"realtime:dup": ended}, out.states)
			assert.Equal(t, r.wantChanges(t)[:1], out.changes, "the later change belongs to a later join")
			var end *realtime.ChannelError
			require.ErrorAs(t, out.errs["realtime:dup"], &end)
			assert.Equal(t, phoenix.EventClose, end.Event)
		})
	}
}

func TestReplayOfBadJoinsReportsWhatIsWrong(t *testing.T) {
	for _, file := range []string{"06-bad-joins-v1", "06-bad-joins-v2"} {
		t.Run(file, func(t *testing.T) {
			out := replay(t, load(t, file, "", ""))
			notPublished := map[string]bool{
				"table-not-existing": true, "table-exists-but-not-in-publication": true, "good-and-bad-binding-together": true,
				"filter-column-does-not-exist": false, "filter-value-of-wrong-type": false, "filter-operator-unknown": false,
				"filter-malformed": false, "filter-in-without-parentheses": false, "empty-binding-object": false,
			}
			for name, want := range notPublished {
				topic := "realtime:bad-" + name
				assert.Equal(t, failed, out.states[topic], topic)
				var e *realtime.SubscribeError
				require.ErrorAs(t, out.errs[topic], &e, topic)
				assert.True(t, realtime.IsConfiguration(e), topic)
				assert.Equal(t, want, realtime.NotPublished(e), topic)
			}
			for _, name := range []string{"event-unknown", "postgres-changes-not-a-list", "config-null"} {
				assert.Equal(t, brought, out.states["realtime:bad-"+name], name)
			}
			assert.Equal(t, ended, out.states["realtime:bad-empty-payload"], "live without bindings, then the server finds legacy ones")
		})
	}
}

func TestReplayOfDatabaseBroadcastsIsTheSameInBothVersions(t *testing.T) {
	for _, file := range []string{"34-database-broadcast-v1", "34-database-broadcast-v2"} {
		t.Run(file, func(t *testing.T) {
			out := replay(t, load(t, file, "", ""))
			assert.Equal(t, brought, out.states["realtime:proxy-feed"])
			events := make([]string, 0, len(out.casts))
			for _, c := range out.casts {
				events = append(events, c.Event)
				assert.Equal(t, "realtime:proxy-feed", c.Topic)
				assert.Regexp(t, `^\{"id":\s*"[0-9a-f-]{36}"\}$`, c.Meta)
				assert.Contains(t, c.Payload, `"id"`)
			}
			assert.Equal(t, []string{"INSERT", "UPDATE", "DELETE", "INSERT", "INSERT", "INSERT"}, events)
		})
	}
}
