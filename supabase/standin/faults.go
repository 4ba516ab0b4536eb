package standin

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind names a fault.
type Kind string

// Faults of Realtime. Match is the beginning of a topic unless said otherwise.
const (
	RefuseHandshake  Kind = "refuse_handshake"  // answers upgrades with Status and {"error": Reason}; Status 0 is 429
	RefuseDial       Kind = "refuse_dial"       // answers upgrades with 500 and an HTML page
	RefuseJoin       Kind = "refuse_join"       // answers joins with an error; Reason is "Code: text"
	DelayJoinReply   Kind = "delay_join_reply"  // freezes the socket for Delay before a join is answered
	NoSystemOK       Kind = "no_system_ok"      // a joined channel never becomes live
	DelaySystemOK    Kind = "delay_system_ok"   // a joined channel becomes live after Delay
	UnpublishedTable Kind = "unpublished_table" // joins fail as if the tables that Match begins were not published
	DeafChannels     Kind = "deaf_channels"     // Set makes all channels live at that moment deaf; only a new phx_join heals one
	MuteHeartbeats   Kind = "mute_heartbeats"   // heartbeats are not answered
	StallSockets     Kind = "stall_sockets"     // sockets stay open, nothing is read or written
	DuplicateChanges Kind = "duplicate_changes" // each change is sent twice; Match begins a table's name
	DropChanges      Kind = "drop_changes"      // changes are lost; Match begins a table's name
	DelayChanges     Kind = "delay_changes"     // changes committed while it is set come Delay later, in order; Match begins a table's name
	RateLimit        Kind = "rate_limit"        // the tenant's event limit has tripped: all changes are dropped in silence
	WrongFrameShape  Kind = "wrong_frame_shape" // change frames have the shape of the other protocol version
)

// Faults of HTTP. Match is a path prefix such as /rest/v1/chat_messages_v2; sockets are not concerned.
const (
	AbortHTTP Kind = "abort_http" // the connection is cut without an answer
	SlowHTTP  Kind = "slow_http"  // the answer comes Delay later
	FailHTTP  Kind = "fail_http"  // Status (0 is 503) and Body (empty is an HTML page); RetryAfter is sent when not 0
)

// Faults of temporary-chat-handler. Match is not used.
const (
	AgentFails     Kind = "agent_fails"      // the visitor's row is stored, then 500
	ObjectResponse Kind = "object_response"  // response is the whole message, not its text
	RowBeforeReply Kind = "row_before_reply" // the agent's row is committed Delay before the reply
	ReplyBeforeRow Kind = "reply_before_row" // the agent's row is committed Delay after the reply
	RowNotStored   Kind = "row_not_stored"   // the agent's row is never committed
)

// DatabaseDown stands for a database restart: REST answers 503, dials 500, and changes committed meanwhile are lost to channels
// that stay joined and are told nothing. Writes through DB still succeed: they are the ones that raced with the restart.
const DatabaseDown Kind = "database_down"

// Fault is one scripted misbehaviour.
type Fault struct {
	Kind  Kind
	Match string        // see the kind; empty matches all
	Count int           // strikes before it clears itself; 0 means until cleared
	For   time.Duration // clears itself after this time; 0 means until cleared

	Delay      time.Duration
	Status     int
	Reason     string
	Body       string
	RetryAfter time.Duration
}

// Faults holds the faults in force. Safe for concurrent use; a change takes effect at the next frame or request.
type Faults struct {
	deafen       func(prefix string)
	dropSockets  func() int
	closeSockets func(code int) int

	mu      sync.Mutex
	armed   []*armedFault
	fired   map[Kind]int
	changed chan struct{} // closed and replaced on every change
}

type armedFault struct {
	Fault
	until time.Time // zero = no end
}

func newFaults() *Faults {
	return &Faults{fired: make(map[Kind]int), changed: make(chan struct{})}
}

// Set puts a fault in force. It replaces one of the same kind and match.
func (f *Faults) Set(fault Fault) {
	a := &armedFault{Fault: fault}
	if fault.For > 0 {
		a.until = time.Now().Add(fault.For)
	}
	f.mu.Lock()
	f.remove(func(other *armedFault) bool { return other.Kind == fault.Kind && other.Match == fault.Match })
	f.armed = append(f.armed, a)
	f.notifyLocked()
	f.mu.Unlock()
	if fault.Kind == DeafChannels {
		f.deafen(fault.Match)
	}
}

// Clear ends all faults of these kinds. Channels made deaf stay deaf.
func (f *Faults) Clear(kinds ...Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.remove(func(a *armedFault) bool { return slices.Contains(kinds, a.Kind) })
	f.notifyLocked()
}

// ClearAll ends all faults.
func (f *Faults) ClearAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = nil
	f.notifyLocked()
}

// Fired counts the strikes of a kind since the server was made: refused dials, lost changes, withheld frames and so on.
func (f *Faults) Fired(kind Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired[kind]
}

// DropSockets cuts all sockets without a close frame (1006 at the client) and returns how many.
func (f *Faults) DropSockets() int { return f.dropSockets() }

// CloseSockets closes all sockets with a code, such as 1012 for a restart or 1000, and returns how many.
func (f *Faults) CloseSockets(code int) int { return f.closeSockets(code) }

func (f *Faults) notifyLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Faults) remove(match func(*armedFault) bool) {
	f.armed = slices.DeleteFunc(f.armed, match)
}

// fire strikes with the fault of this kind that matches subject, and counts it.
func (f *Faults) fire(kind Kind, subject string) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.findLocked(kind, subject)
	if a == nil {
		return Fault{}, false
	}
	f.fired[kind]++
	if a.Count > 0 {
		if a.Count--; a.Count == 0 {
			f.remove(func(other *armedFault) bool { return other == a })
			f.notifyLocked()
		}
	}
	return a.Fault, true
}

// strike counts an effect of a fault that is not asked for by fire.
func (f *Faults) strike(kind Kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fired[kind]++
}

func (f *Faults) findLocked(kind Kind, subject string) *armedFault {
	now := time.Now()
	for _, a := range f.armed {
		if a.Kind == kind && strings.HasPrefix(subject, a.Match) && (a.until.IsZero() || now.Before(a.until)) {
			return a
		}
	}
	return nil
}

// hold blocks while a fault of this kind is in force, until done is closed at the latest.
func (f *Faults) hold(kind Kind, done <-chan struct{}) {
	for counted := false; ; {
		f.mu.Lock()
		a := f.findLocked(kind, "")
		changed := f.changed
		if a != nil && !counted {
			f.fired[kind]++
			counted = true
		}
		f.mu.Unlock()
		if a == nil {
			return
		}
		var expired <-chan time.Time
		stop := func() bool { return true }
		if !a.until.IsZero() {
			t := time.NewTimer(time.Until(a.until))
			expired, stop = t.C, t.Stop
		}
		select {
		case <-changed:
		case <-expired:
		case <-done:
			stop()
			return
		}
		stop()
	}
}
