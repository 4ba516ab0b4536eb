package standin_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// line is one line of a recording.
type line struct {
	At      float64 `json:"t_ms"`
	Dir     string  `json:"dir"`
	Conn    string  `json:"conn"`
	Note    string  `json:"note"`
	HTTP    string  `json:"http"`
	Frame   string  `json:"frame"`
	Base64  string  `json:"frame_b64"`
	Length  int     `json:"frame_len"`
	Control string  `json:"control"`
	Code    int     `json:"code"`
}

func (l line) at() time.Duration { return time.Duration(l.At * float64(time.Millisecond)) }

func (l line) bytes(t *testing.T) []byte {
	if l.Base64 == "" {
		return []byte(l.Frame)
	}
	b, err := base64.StdEncoding.DecodeString(l.Base64)
	require.NoError(t, err)
	return b
}

func readRecording(t *testing.T, name string) []line {
	f, err := os.Open(filepath.Join("..", "..", "testdata", "realtime", name+".jsonl"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	var lines []line
	for s := bufio.NewReader(f); ; {
		text, err := s.ReadString('\n')
		if text == "" && err != nil {
			return lines
		}
		var l line
		require.NoError(t, json.Unmarshal([]byte(text), &l))
		lines = append(lines, l)
	}
}

// scenario says how the SQL of a recording is done here.
type scenario struct {
	notes     map[string]func(*replay) // by note; nil does nothing
	onLive    map[string]func(*replay) // by topic, behind its system message: SQL that the recording does not note
	until     string                   // note at which the replay stops
	unordered bool                     // the real server's own order varies from run to run
	byTopic   bool                     // the order of frames of different topics is the real server's own
	noChanges bool                     // change frames come from another recording that ran at the same time
	options   func(*standin.Options)
	key       func(*replay) string // key in the URL; nil is the service key
}

// covered lists the recordings that the stand-in is driven through, by name without version.
var covered = map[string]scenario{
	"01-basic":                         {notes: basicNotes},
	"02-types":                         {notes: typesNotes},
	"03-large-rows":                    {notes: largeNotes},
	"04-filters-bindings":              {notes: filterNotes, byTopic: true, onLive: filterInserts},
	"05-filters-replica-identity-full": {notes: fullIdentityNotes, onLive: map[string]func(*replay){"fullA": func(r *replay) { r.row = r.insert("chat_full", a, "A") }}},
	"06-bad-joins":                     {},
	"07-malformed-frames":              {until: "text frame of 6 MB (server limit 5 MB)"},
	"08-duplicate-join-leave":          {notes: duplicateNotes},
	"10-broadcast-presence":            {unordered: true, until: "a tracks 6 times quickly (client presence limit 5 per 30 s)"},
	"12-join-tokens":                   {noChanges: true},
	"14-token-refresh":                 {notes: refreshNotes, options: func(o *standin.Options) { o.RefreshDelay = 1100 * time.Millisecond }},
	"15-token-expiry": {notes: expiryNotes, key: func(r *replay) string {
		key, err := r.server.SignToken("service_role", r.now().Add(14*time.Second))
		require.NoError(r.t, err)
		return key
	}},
	"16-no-heartbeat":                 {notes: idleNotes, options: func(o *standin.Options) { o.IdleTimeout = 66 * time.Second }},
	"17-ws-ping-instead-of-heartbeat": {},
	"19-channel-limit":                {},
	"26-realtime-sigterm": {notes: map[string]func(*replay){"SIGTERM of the Realtime server": func(r *replay) {
		r.server.Faults().CloseSockets(websocket.CloseServiceRestart)
	}}},
	"34-database-broadcast":        {notes: sendNotes},
	"35-database-broadcast-replay": {notes: replayNotes},
	"36-control-bindings":          {notes: controlNotes},
}

// uncovered lists the recordings that are not replayed, and why.
var uncovered = map[string]string{
	"09-insert-before-subscribed":                  "the race of commits with the join is the poller's; here only rows delivered after the system message come",
	"11-connect-auth":                              "TestHandshakeAnswersAsRecorded reads it",
	"13-rls":                                       "its policy compares a claim; TestRowLevelSecurityHidesRowsFromAnon covers the rules",
	"18-events-but-no-heartbeat":                   "the same as 16",
	"20-concurrent-users-limit":                    "no limit of users",
	"21-joins-per-second-limit":                    "no limit of joins",
	"22-mixed-vsn-same-topic":                      "frames of the wrong version are a fault, WrongFrameShape",
	"23-postgres-stopped-20s":                      "outages are faults, DatabaseDown",
	"23b-postgres-stopped-90s":                     "outages are faults, DatabaseDown and DeafChannels",
	"24-replication-backend-terminated":            "lost changes are a fault, DropChanges",
	"25-realtime-killed":                           "a killed server is a fault, DropSockets with RefuseDial",
	"27-tenant-changed-by-api":                     "no management API",
	"28-latency":                                   "measurements only",
	"29-join-to-subscribed":                        "measurements only",
	"30-order-2000-rows-20-writers-default-limits": "measurements only",
	"31-change-rate-limit":                         "measurements only; the fault is RateLimit",
	"32-official-js-client-default":                "driven by a client library whose refs and timing are its own",
	"33-official-js-client-vsn-1":                  "driven by a client library whose refs and timing are its own",
}

var versionSuffix = regexp.MustCompile(`-v[12]$`)

func TestEveryRecordingIsCoveredOrExcused(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "realtime", "*.jsonl"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := versionSuffix.ReplaceAllString(strings.TrimSuffix(filepath.Base(file), ".jsonl"), "")
		_, replayed := covered[name]
		_, excused := uncovered[name]
		assert.True(t, replayed != excused, "%s is covered and excused, or neither", name)
	}
}

func TestServerFramesEqualTheRecordings(t *testing.T) {
	for name, s := range covered {
		for _, version := range []string{"v1", "v2"} {
			file := name + "-" + version
			if _, err := os.Stat(filepath.Join("..", "..", "testdata", "realtime", file+".jsonl")); err != nil {
				continue // recorded at the other version only
			}
			t.Run(file, func(t *testing.T) {
				lines := readRecording(t, file)
				synctest.Test(t, func(t *testing.T) { runReplay(t, lines, s) })
			})
		}
	}
}

// replay drives the stand-in through one recording, in a bubble, at the recorded times.
type replay struct {
	*harness
	db       recordedDB
	scenario scenario
	began    time.Time
	base     time.Time // database clock at began
	conns    map[string]*client
	order    []string
	expected map[string][]string // by connection
	received map[string][]string
	row      string // id of the row that the recording works on
	bubble   bool   // time is that of a synctest bubble
}

func newReplay(s scenario, base time.Time) *replay {
	return &replay{scenario: s, began: time.Now(), base: base, conns: map[string]*client{},
		expected: map[string][]string{}, received: map[string][]string{}}
}

func runReplay(t *testing.T, lines []line, s scenario) {
	r := newReplay(s, recordedDate(t, lines))
	r.bubble = true
	opts := standin.Options{Now: r.now, PollInterval: 15 * time.Millisecond, SubscribeDelay: 500 * time.Microsecond,
		HandshakeBackoff: 2 * time.Second, JoinBackoff: 5 * time.Second}
	if s.options != nil {
		s.options(&opts)
	}
	var stop func()
	r.harness, stop = start(t, opts)
	defer stop()
	r.server.DB().Define(recordedTables()...)
	r.db = memoryDB{r.server.DB()}
	r.server.DB().SetPublication("chat_messages_v2", "chat_full", "conversations", "nopk", "temporary_chat_sessions", "temporary_chat_links")
	for _, l := range lines {
		if l.Dir == "note" && l.Note == s.until && s.until != "" {
			break
		}
		r.step(l)
	}
	time.Sleep(time.Second)
	r.compare()
}

// pause lets time pass inside the bubble; a recording replayed against a real database waits for frames instead.
func (r *replay) pause(d time.Duration) {
	if r.bubble {
		time.Sleep(d)
	}
}

func (r *replay) now() time.Time { return r.base.Add(time.Since(r.began)) }

// recordedDate is the server's clock when the recording began.
func recordedDate(t *testing.T, lines []line) time.Time {
	for _, l := range lines {
		if at := strings.Index(l.HTTP, `"date":"`); at >= 0 {
			text, _, _ := strings.Cut(l.HTTP[at+len(`"date":"`):], `"`)
			date, err := http.ParseTime(text)
			require.NoError(t, err)
			return date.Add(999*time.Millisecond - l.at()) // the header has whole seconds
		}
	}
	return time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
}

func (r *replay) step(l line) {
	if l.Dir != "in" {
		time.Sleep(time.Until(r.began.Add(l.at())))
		synctest.Wait()
	}
	switch {
	case l.Dir == "note":
		if action := r.scenario.notes[l.Note]; action != nil {
			action(r)
		}
	case l.HTTP != "" && l.Dir == "out":
		r.connect(l)
	case l.HTTP != "":
	case l.Dir == "out":
		r.sendRecorded(l)
	case l.Control == "close":
		r.expected[l.Conn] = append(r.expected[l.Conn], fmt.Sprint("close ", l.Code))
	case l.Control != "":
	default:
		r.expect(l)
	}
}

func (r *replay) connect(l line) {
	version := "1.0.0"
	if strings.Contains(l.HTTP, "vsn=2") {
		version = "2.0.0"
	}
	key := r.server.ServiceKey()
	if r.scenario.key != nil {
		key = r.scenario.key(r)
	}
	r.conns[l.Conn] = r.dialAs(key, version)
	r.order = append(r.order, l.Conn)
}

func (r *replay) sendRecorded(l line) {
	conn := r.conns[l.Conn].conn
	switch {
	case l.Control == "close":
		deadline := time.Now().Add(time.Second)
		require.NoError(r.t, conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""), deadline))
	case l.Control == "ping":
		require.NoError(r.t, conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(time.Second)))
	case l.Base64 != "":
		require.NoError(r.t, conn.WriteMessage(websocket.BinaryMessage, l.bytes(r.t)))
	default:
		require.NoError(r.t, conn.WriteMessage(websocket.TextMessage, l.bytes(r.t)))
	}
}

func (r *replay) expect(l line) {
	text := string(l.bytes(r.t))
	if r.scenario.noChanges && strings.Contains(text, `"postgres_changes",{"data"`) ||
		r.scenario.noChanges && strings.Contains(text, `"event":"postgres_changes"`) {
		return
	}
	if l.Base64 != "" {
		l.Length = l.Length / 4 * 3
	}
	if l.Length > 0 {
		text = fmt.Sprint("frame of ", l.Length, " bytes")
	}
	r.expected[l.Conn] = append(r.expected[l.Conn], text)
	for topic, action := range r.scenario.onLive {
		if strings.Contains(text, "Subscribed to PostgreSQL") && strings.Contains(text, `"channel":"`+topic+`"`) {
			if r.bubble {
				time.Sleep(time.Until(r.began.Add(l.at() + time.Millisecond)))
			}
			action(r)
		}
	}
}

// drain takes what the server has sent so far.
func (r *replay) drain(name string) {
	c := r.conns[name]
	for {
		select {
		case f, ok := <-c.frames:
			if !ok && c.over {
				return
			}
			r.received[name] = append(r.received[name], c.text(f, ok))
		default:
			return
		}
	}
}

// text is a frame, or the end of the socket, as recordings are compared.
func (c *client) text(f frame, ok bool) string {
	if ok {
		return string(f.data)
	}
	c.over = true
	return fmt.Sprint("close ", c.code)
}

func (r *replay) compare() {
	want, got := newPlaceholders(), newPlaceholders()
	for _, name := range r.order {
		r.drain(name)
		frames := r.received[name]
		expected := r.expected[name]
		if r.scenario.unordered {
			slices.SortFunc(expected, compareMasked)
			slices.SortFunc(frames, compareMasked)
		}
		if r.scenario.byTopic {
			slices.SortStableFunc(expected, compareTopics)
			slices.SortStableFunc(frames, compareTopics)
		}
		for i := range max(len(expected), len(frames)) {
			e, f := at(expected, i), at(frames, i)
			if strings.HasPrefix(e, "frame of ") {
				length, err := strconv.Atoi(strings.Fields(e)[2])
				require.NoError(r.t, err)
				assert.InDelta(r.t, length, len(f), 8, "length of a long frame; timestamps vary")
				continue
			}
			require.Equal(r.t, want.mask(e), got.mask(f), "frame %d of connection %q", i, name)
		}
		r.conns[name].close()
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(none)"
}

func compareMasked(a, b string) int {
	return strings.Compare(newPlaceholders().mask(a), newPlaceholders().mask(b))
}

var topicText = regexp.MustCompile(`"realtime:[^"]*"`)

func compareTopics(a, b string) int {
	return strings.Compare(topicText.FindString(a), topicText.FindString(b))
}
