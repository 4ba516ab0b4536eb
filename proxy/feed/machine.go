package feed

import "time"

// wayState is what the feed takes the messages channel for.
type wayState uint8

const (
	wayDialing wayState = iota // no channel: the socket is opened or waited for, or its join was refused
	wayJoined                  // accepted but not subscribed: nothing comes yet
	wayLive                    // subscribed and believed
	waySuspect                 // subscribed, not believed
)

// event is what happens to the messages channel.
type event uint8

const (
	evAccepted   event = iota // the server accepted the join
	evConfirmed               // the server says that the subscription stands; it may say so again
	evLost                    // the channel or its socket ended
	evLate                    // the heartbeat is late
	evMissing                 // rows are missing and the channel brings nothing
	evSkipped                 // rows are missing while later ones come
	evReturned                // the database reads again after an outage
	evCanaryLate              // what the canary wrote does not come
	evAged                    // the socket is old
	evBrought                 // a row came soon after its commit
	evDue                     // a replacement may be tried
	evFreshLive               // the fresh socket is live
)

// action is what follows from a transition.
type action uint8

const (
	actReplace   action = iota // open a fresh socket, unless one is under way or the back-off runs
	actSwap                    // the fresh socket takes over, the old one goes
	actDropFresh               // give up the fresh socket, if there is one
	actCatchUp                 // owe a catch-up
	actRead                    // read now as a poll does
	actTrust                   // the socket has proved itself: the back-off starts anew
	actDistrust                // replacing did not help: the back-off goes on
)

// condition narrows a transition.
type condition uint8

const (
	whenever      condition = iota
	whenNoFresh             // no fresh socket is under way
	whenBackedOff           // the back-off between replacements is over, whatever the socket brought
)

type transition struct {
	when condition
	to   wayState
	do   []action
}

type situation struct {
	state wayState
	event event
}

// transitions is the table of the package comment. What is not in it changes nothing.
var transitions = map[situation]transition{
	{wayDialing, evAccepted}:  {to: wayJoined},
	{wayDialing, evConfirmed}: {to: wayLive, do: []action{actDropFresh, actCatchUp}},
	{wayDialing, evFreshLive}: {to: wayLive, do: []action{actSwap, actCatchUp}},

	{wayJoined, evConfirmed}: {to: wayLive, do: []action{actDropFresh, actCatchUp}},
	{wayJoined, evLost}:      {to: wayDialing},
	{wayJoined, evFreshLive}: {to: wayLive, do: []action{actSwap, actCatchUp}},

	{wayLive, evConfirmed}:  {to: wayLive, do: []action{actCatchUp}},
	{wayLive, evLost}:       {to: wayDialing},
	{wayLive, evLate}:       {to: waySuspect, do: []action{actRead, actReplace}},
	{wayLive, evMissing}:    {to: waySuspect, do: []action{actRead, actReplace}},
	{wayLive, evSkipped}:    {when: whenBackedOff, to: waySuspect, do: []action{actDistrust, actRead, actReplace}},
	{wayLive, evReturned}:   {to: waySuspect, do: []action{actRead, actReplace}},
	{wayLive, evCanaryLate}: {to: waySuspect, do: []action{actRead, actReplace}},
	{wayLive, evAged}:       {to: wayLive, do: []action{actReplace}},
	{wayLive, evBrought}:    {to: wayLive, do: []action{actTrust}},
	{wayLive, evFreshLive}:  {to: wayLive, do: []action{actSwap, actCatchUp}},

	{waySuspect, evConfirmed}: {to: waySuspect, do: []action{actRead}},
	{waySuspect, evLost}:      {to: wayDialing},
	{waySuspect, evReturned}:  {to: waySuspect, do: []action{actRead, actReplace}},
	{waySuspect, evBrought}:   {when: whenNoFresh, to: wayLive, do: []action{actCatchUp, actTrust}},
	{waySuspect, evDue}:       {when: whenNoFresh, to: waySuspect, do: []action{actReplace}},
	{waySuspect, evFreshLive}: {to: wayLive, do: []action{actSwap, actCatchUp}},
}

// timing is fixed.
type timing struct {
	pollAfter, pollInterval, reconcileInterval time.Duration
	maxAge                                     time.Duration // of a socket; 0 = no end
	rand                                       func() float64
}

// The least and the greatest time between replacements that do not help.
const (
	minReplaceWait = 10 * time.Second
	maxReplaceWait = 2 * time.Minute
)

// machine decides what to do about the messages way. It does no I/O and looks at no clock: times are passed in, and never go back.
// Owned by the loop.
type machine struct {
	timing
	schedule
	state wayState
	since time.Time // when live was left; the start before the first
	fresh bool      // a fresh socket is under way

	// socketSince is when the current socket was first joined, zero before.
	socketSince time.Time
	replacedAt  time.Time // zero: never
	wait        time.Duration
	trusted     bool // the current socket brought rows soon after their commits
}

func newMachine(t timing, now time.Time) *machine {
	m := &machine{timing: t, since: now}
	m.schedule = newSchedule(t.rand)
	m.nextRead = now.Add(t.pollAfter)
	return m
}

// on takes an event and returns what the sockets must do for it: actReplace, actSwap and actDropFresh, where they apply.
func (m *machine) on(e event, now time.Time) (do []action) {
	t, ok := transitions[situation{m.state, e}]
	if !ok || !m.holds(t.when, now) {
		return nil
	}
	m.enter(t.to, now)
	for _, a := range t.do {
		if m.act(a, now) {
			do = append(do, a)
		}
	}
	return do
}

func (m *machine) holds(c condition, now time.Time) bool {
	switch c {
	case whenNoFresh:
		return !m.fresh
	case whenBackedOff:
		return m.replacedAt.IsZero() || !now.Before(m.replacedAt.Add(m.wait))
	default:
		return true
	}
}

func (m *machine) enter(to wayState, now time.Time) {
	switch {
	case to == wayDialing:
		m.socketSince = time.Time{}
	case m.socketSince.IsZero():
		m.socketSince = now
	}
	if m.state == wayLive && to != wayLive {
		m.since = now
		m.readAt(now.Add(m.pollAfter))
	}
	m.state = to
}

// act does the machine's part of an action and reports whether the sockets have one.
func (m *machine) act(a action, now time.Time) bool {
	switch a {
	case actReplace:
		if m.fresh || !m.backedOff(now) {
			return false
		}
		m.backOff(now)
		m.fresh = true
	case actSwap:
		m.fresh, m.trusted, m.socketSince = false, false, now
	case actDropFresh:
		dropped := m.fresh
		m.fresh, m.trusted = false, false
		return dropped
	case actCatchUp:
		m.owed++
		m.retryAt = time.Time{}
		return false
	case actRead:
		m.readAt(now)
		m.retryAt = time.Time{}
		return false
	case actTrust:
		m.trusted = true
		return false
	case actDistrust:
		m.trusted = false
		return false
	}
	return true
}

// backedOff reports whether the back-off allows a replacement.
func (m *machine) backedOff(now time.Time) bool { return !now.Before(m.replaceAt()) }

// replaceAt is when the next replacement is allowed. A socket that brought rows was worth its while.
func (m *machine) replaceAt() time.Time {
	if m.replacedAt.IsZero() {
		return time.Time{}
	}
	if m.trusted {
		return m.replacedAt.Add(minReplaceWait)
	}
	return m.replacedAt.Add(m.wait)
}

func (m *machine) backOff(now time.Time) {
	another := m.replacedAt.IsZero() || m.trusted || now.Sub(m.replacedAt) > 2*maxReplaceWait
	if another {
		m.wait = minReplaceWait
	} else {
		m.wait = min(2*m.wait, maxReplaceWait)
	}
	m.replacedAt = now
}

// overdue are the events that time alone brings.
func (m *machine) overdue(now time.Time) []event {
	switch {
	case m.fresh || !m.backedOff(now):
		return nil
	case m.state == waySuspect:
		return []event{evDue}
	case m.state == wayLive && m.maxAge > 0 && now.Sub(m.socketSince) >= m.maxAge:
		return []event{evAged}
	}
	return nil
}

// told is what visitors are told.
func (m *machine) told(now time.Time) string {
	switch {
	case m.state == wayLive && !m.owes():
		return StateLive
	case m.state == wayLive || now.Sub(m.since) < m.pollAfter:
		return StateCatchingUp
	default:
		return StatePolling
	}
}
