package realtime

import (
	"encoding/json"
	"fmt"
	"time"
)

// State is the state of a channel. The names follow the ChannelState of the realtime-go library where both have the state.
type State uint8

// The states of a channel, in the order of a successful start.
const (
	StateClosed  State = iota // Run has not begun or has ended
	StateDialing              // the socket is being opened
	StateJoining              // phx_join is sent
	StateJoined               // phx_reply was ok; the bindings are not subscribed yet
	StateLive                 // changes flow; of a channel without bindings, joined
	StateErrored              // failed; a new attempt follows by itself
)

var stateNames = [...]string{"closed", "dialing", "joining", "joined", "live", "errored"}

// String returns the name of the state in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Status reports what became of a channel.
type Status struct {
	Topic string
	State State
	Err   error // why the state is StateErrored, nil otherwise; the client has logged it
	At    time.Time
}

// Handler receives what a Client reads. Calls come from the goroutine of Run, never two at once, in wire order. A call that
// blocks holds up the whole socket, heartbeats included, so it must not block long. It may call Reconnect.
type Handler interface {
	// OnStatus is called for every transition of every channel. StateLive is reported for every confirmation of the
	// server, also when the channel is live already: the server subscribed again and changes in between may be lost.
	OnStatus(Status)
	// OnChange is called for every change of a channel that is joined or live.
	OnChange(Change)
	// OnBroadcast is called for every broadcast with a JSON payload; meta is nil where the server sent none. The bytes
	// must not be changed.
	OnBroadcast(topic, event string, meta, payload json.RawMessage)
}
