package oracle_test

import (
	"time"

	"github.com/agentopia/realtime-proxy/supabase/standin"
)

// upstream says whether a step disturbs what lies between the database and the visitors' ports.
func (st *step) upstream() bool {
	switch st.Do {
	case setFault, dropSockets, closeSockets, killNode, drainNode, partition, freeze:
		return true
	}
	return false
}

// lasting says whether the disturbance outlives its time in silence: a deaf channel is only found by what it does not bring.
func (st *step) lasting() bool {
	return st.Do == setFault && (st.Kind == string(standin.DeafChannels) || st.Kind == string(standin.DatabaseDown))
}

// over is when the effects of a step that can be foreseen have passed.
func (st *step) over() time.Duration {
	end := st.At + st.For + st.Delay
	switch {
	case st.Do == drainNode, st.Do == killNode:
		end += 10 * time.Second // of draining
	case st.Do == freeze || st.Kind == string(standin.StallSockets) || st.Kind == string(standin.SlowHTTP) ||
		st.Kind == string(standin.MuteHeartbeats):
		end += 15 * time.Second // of time-outs
	}
	return end
}

// disturbed reports whether anything upstream was disturbed between two times, or in the time before that a recovery may take.
func (s *scenario) disturbed(from, to, recovery time.Duration) bool {
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.upstream() && st.At <= to && st.over()+recovery >= from {
			return true
		}
	}
	return false
}

// deafened reports whether a lasting disturbance came before.
func (s *scenario) deafened(before time.Duration) bool {
	for i := range s.Steps {
		if st := &s.Steps[i]; st.lasting() && st.At <= before {
			return true
		}
	}
	return false
}
