package feed

import (
	"slices"
	"testing"
	"time"
)

// StateNames, EventNames and actionNames are the words of the package comment's table.
var (
	StateNames = []string{"dialing", "joined", "live", "suspect"}
	EventNames = []string{
		"accepted", "confirmed", "lost", "late", "missing", "skipped", "returned", "canary late", "aged", "brought", "due", "fresh live",
	}
	actionNames = []string{"replace", "swap", "drop fresh", "catch up", "read", "trust", "distrust"}
)

// Machine is a machine whose time the test moves.
type Machine struct {
	m   *machine
	now time.Time
}

func NewMachine() *Machine {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	t := timing{pollAfter: 2 * time.Second, pollInterval: 2 * time.Second, reconcileInterval: 2500 * time.Millisecond}
	t.rand = func() float64 { return 1 }
	return &Machine{newMachine(t, now), now}
}

func (m *Machine) Now() time.Time          { return m.now }
func (m *Machine) Advance(d time.Duration) { m.now = m.now.Add(d) }
func (m *Machine) MaxAge(d time.Duration)  { m.m.maxAge = d }
func (m *Machine) Told() string            { return m.m.told(m.now) }

var readNames = []string{"none", "catch up", "poll", "reconcile"}

func (m *Machine) Due() string { return readNames[m.m.due(m.now)] }

// Begin begins the read that is due, which must be this one.
func (m *Machine) Begin(t testing.TB, name string) {
	t.Helper()
	if due := m.Due(); due != name {
		t.Fatalf("due: %s, want %s", due, name)
	}
	m.m.begin(readKind(slices.Index(readNames, name)), m.now)
}

func (m *Machine) End(ok bool) { m.m.end(ok, m.now) }

// Reach takes a new machine to a state.
func (m *Machine) Reach(state string) {
	for _, e := range map[string][]event{
		"joined": {evAccepted}, "live": {evAccepted, evConfirmed}, "suspect": {evAccepted, evConfirmed, evLate},
	}[state] {
		m.m.on(e, m.now)
	}
}

// On takes an event and returns the state that follows and the actions that had an effect.
func (m *Machine) On(name string) (state string, actions []string) {
	return m.take(event(slices.Index(EventNames, name)))
}

// Overdue lets the events of time happen and returns what followed.
func (m *Machine) Overdue() (actions []string) {
	for _, e := range m.m.overdue(m.now) {
		_, did := m.take(e)
		actions = append(actions, did...)
	}
	return actions
}

func (m *Machine) take(e event) (state string, actions []string) {
	actions = []string{}
	before := *m.m
	for _, a := range m.m.on(e, m.now) {
		actions = append(actions, actionNames[a])
	}
	after := m.m
	note := func(happened bool, a action) {
		if happened {
			actions = append(actions, actionNames[a])
		}
	}
	note(after.owed != before.owed, actCatchUp)
	note(after.nextRead.Equal(m.now) && !before.nextRead.Equal(m.now), actRead)
	note(after.trusted && !before.trusted, actTrust)
	note(!after.trusted && before.trusted && after.state == waySuspect, actDistrust)
	return StateNames[after.state], actions
}

// Walk puts a machine into a situation, takes an event to it and returns what follows, the actions in the table's order.
func Walk(state, name string, fresh, backedOff bool) (next string, actions []string) {
	m := NewMachine()
	m.Reach(state)
	m.m.replacedAt, m.m.wait, m.m.fresh = m.now, minReplaceWait, fresh
	e := event(slices.Index(EventNames, name))
	m.m.trusted = e == evSkipped
	m.Advance(minReplaceWait)
	if !backedOff {
		m.m.replacedAt = m.now
	}
	next, actions = m.take(e)
	order := transitions[situation{wayState(slices.Index(StateNames, state)), e}].do
	slices.SortStableFunc(actions, func(a, b string) int {
		return slices.Index(order, action(slices.Index(actionNames, a))) - slices.Index(order, action(slices.Index(actionNames, b)))
	})
	return next, actions
}

// Table are the rows of the machine's table, unordered, as the package comment writes them.
func Table() (rows [][5]string) {
	whenNames := []string{"-", "no fresh", "backed off"}
	for at, tr := range transitions {
		do := "-"
		for i, a := range tr.do {
			if i == 0 {
				do = actionNames[a]
			} else {
				do += ", " + actionNames[a]
			}
		}
		rows = append(rows, [5]string{StateNames[at.state], EventNames[at.event], whenNames[tr.when], StateNames[tr.to], do})
	}
	return rows
}
