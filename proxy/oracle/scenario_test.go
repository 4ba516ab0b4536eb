package oracle_test

import "time"

// scenario is everything that a run does, and when. Times count from the start of the run. It is saved as JSON.
type scenario struct {
	Seed     uint64
	Length   time.Duration // of the disturbed part; the final drain follows
	Upstream upstreamPlan
	Nodes    []nodePlan
	Sessions []sessionPlan
	Visitors []visitorPlan
	Writes   []writePlan
	Steps    []step
}

// upstreamPlan configures the stand-in and the network.
type upstreamPlan struct {
	Skew           time.Duration // of the database's clock
	PollInterval   time.Duration // commit to change frame
	SubscribeDelay time.Duration
	JoinBackoff    time.Duration
	Latency        time.Duration // the greatest, one way
}

// nodePlan configures one proxy.
type nodePlan struct {
	Version      int // of the Realtime protocol, 1 or 2
	StreamMaxAge time.Duration
	SocketMaxAge time.Duration
	WindowEvents int
	Heartbeat    time.Duration
	Overlap      time.Duration // of catch-up reads
}

// sessionPlan is a visitor's session: on one of the links of the world, isolated or shared.
type sessionPlan struct {
	Link int
}

// visitorPlan is one page of a session. Lists are gone through in turns, one entry for each connection.
type visitorPlan struct {
	Session    int
	Start      time.Duration
	Transports []string // sse, envelope, websocket, poll
	Nodes      []int
	Waits      []time.Duration // before coming back
	PollWait   int             // seconds of a long poll
	PollEvery  time.Duration
}

// writePlan is one transaction.
type writePlan struct {
	Begin      time.Duration
	Commit     time.Duration
	Rollback   bool `json:",omitempty"`
	Statements []statement
}

// statement is one row's change. Rows are named by number; the number gives the id.
type statement struct {
	Op      string // insert, update, delete
	Row     int
	Version int
	Session int // whose conversation; -1 is the n-th other conversation, n = Other
	Other   int `json:",omitempty"`
	Kind    kind
	Blank   bool `json:",omitempty"` // the text is blank, which hides the row
	Padding int  `json:",omitempty"` // bytes of text
	// Created shifts created_at against the start of the transaction, as the clock of another machine does.
	Created time.Duration `json:",omitempty"`
}

// kind says what a row is to the session it is made for.
type kind string

const (
	visitorRow    kind = "visitor"      // a visitor's message, tagged
	visitorRowOld kind = "visitor_old"  // tagged as older writers do
	greeting      kind = "greeting"     // the agent's, tagged
	replyInCS     kind = "reply_in_cs"  // the agent's, untagged, under the session's conversation session
	replyOutside  kind = "reply"        // the agent's, untagged, under some other id
	parts         kind = "parts"        // the agent's, tagged, several parts
	large         kind = "large"        // tagged, with a private column over 1 MiB
	otherTag      kind = "other_tag"    // tagged for a session that does not exist, under this one's conversation session
	ownerRow      kind = "owner"        // of the owner
	ownerAgent    kind = "owner_agent"  // the agent's answer to the owner
	forged        kind = "forged"       // a signed-in stranger's, tagged
	otherAgent    kind = "other_agent"  // another agent's, tagged
	toolRow       kind = "tool"         // tagged
	instructions  kind = "instructions" // a system row that is nobody's message, tagged
)

var shownKinds = []kind{visitorRow, visitorRow, visitorRow, visitorRowOld, greeting, replyInCS, replyInCS, replyOutside, parts}

var hiddenKinds = []kind{otherTag, ownerRow, ownerAgent, forged, otherAgent, toolRow, instructions}

// step is something that happens to the world.
type step struct {
	At   time.Duration
	Do   action
	For  time.Duration `json:",omitempty"`
	Kind string        `json:",omitempty"` // of a fault
	// Match, Delay, Status, Reason and Count are those of the fault.
	Match  string        `json:",omitempty"`
	Delay  time.Duration `json:",omitempty"`
	Status int           `json:",omitempty"`
	Reason string        `json:",omitempty"`
	Count  int           `json:",omitempty"`

	Node    int `json:",omitempty"`
	Visitor int `json:",omitempty"`
	Session int `json:",omitempty"`
	Link    int `json:",omitempty"`
}

type action string

const (
	setFault     action = "fault"
	dropSockets  action = "drop_sockets"
	closeSockets action = "close_sockets" // with Status
	killNode     action = "kill_node"     // back after For
	drainNode    action = "drain_node"    // back after For
	partition    action = "partition"     // between a node and Supabase
	freeze       action = "freeze"        // between a node and Supabase, in silence
	cutVisitor   action = "cut_visitor"   // comes back after For
	closeVisitor action = "close_visitor" // comes back after For
	stallVisitor action = "stall_visitor" // reads nothing For
	endSession   action = "end_session"   // Reason is the status
	dropSession  action = "drop_session"  // the row is deleted
	disableLink  action = "disable_link"
	dropLink     action = "drop_link" // the row is deleted, and those of its sessions with it
)
