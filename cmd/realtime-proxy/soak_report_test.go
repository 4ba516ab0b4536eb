package main_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// late is when a row counts as one that the channel did not bring in time: it takes 0.1 to 0.3 s.
const late = time.Second

// sample is a set of durations in milliseconds.
type sample []float64

func (s *sample) add(d time.Duration) { *s = append(*s, float64(d.Microseconds())/1000) }

// quantile is the value by nearest rank; p from 0 to 1.
func (s sample) quantile(p float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(1, int(math.Ceil(p*float64(len(sorted)))))-1]
}

// MarshalJSON shows the figures, in milliseconds.
func (s sample) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]float64{"n": float64(len(s)), "p50": s.quantile(0.5), "p99": s.quantile(0.99), "max": s.quantile(1)})
}

func (s sample) String() string {
	if len(s) == 0 {
		return "-\t-\t-"
	}
	return fmt.Sprintf("%d\t%.2f\t%.2f", len(s), s.quantile(0.5)/1000, s.quantile(0.99)/1000)
}

// soakRow is a line of the report.
type soakRow struct {
	Fault   string `json:"fault"`
	Times   int    `json:"times"`
	Lasted  sample `json:"lasted_ms"`
	Noticed sample `json:"noticed_ms"` // by a node
	Told    sample `json:"told_ms"`    // to a visitor, by a state or by the end of the stream
	Healed  sample `json:"healed_ms"`  // commit of a row that the channel did not bring to its arrival at a visitor
}

// soakReport is what the run measured.
type soakReport struct {
	Seed     uint64    `json:"seed"`
	Seconds  float64   `json:"seconds"`
	Visitors int       `json:"visitors"`
	Rows     int       `json:"rows"`
	Messages int       `json:"messages"`
	Replayed int       `json:"replayed"`
	Faults   []soakRow `json:"faults"`
	// Live is commit to arrival of what the channel brought; Ended is the end of a session to the end of its streams, by what was wrong.
	Live  sample            `json:"live_ms"`
	Ended map[string]sample `json:"ended_ms"`
}

func (d *soakDriver) report(seed uint64, took time.Duration) *soakReport {
	r := &soakReport{Seed: seed, Seconds: took.Seconds(), Visitors: len(d.w.visitors), Rows: len(d.w.ledger.list()), Ended: make(map[string]sample)}
	rows := make(map[string]*soakRow)
	for i := range d.phases {
		p := &d.phases[i]
		row := rows[p.fault.kind]
		if row == nil {
			row = &soakRow{Fault: p.fault.kind}
			rows[p.fault.kind] = row
		}
		row.Times++
		row.Lasted.add(p.ended.Sub(p.began))
		d.detection(p, row)
	}
	for _, v := range d.w.visitors {
		d.delivery(v, r, rows)
	}
	for _, row := range rows {
		r.Faults = append(r.Faults, *row)
	}
	slices.SortFunc(r.Faults, func(a, b soakRow) int { return strings.Compare(a.Fault, b.Fault) })
	return r
}

// detection measures when a fault was noticed, from its beginning or, where nothing else shows it, from the first row that it hid.
func (d *soakDriver) detection(p *phase, row *soakRow) {
	from := p.began
	if p.fault.silent {
		for _, c := range d.w.ledger.list() {
			if c.session != nobody && c.at.After(p.began) {
				from = c.at
				break
			}
		}
	}
	for _, n := range d.w.nodes {
		if at, ok := n.noticed(from, p.until, p.fault.sign); ok && p.hits(n.index) {
			row.Noticed.add(at.Sub(from))
		}
	}
	for _, v := range d.w.visitors {
		v.mu.Lock()
		for _, s := range v.states {
			if p.hits(s.node) && s.at.After(from) && s.at.Before(p.until) && !v.leftAt(s.at) {
				row.Told.add(s.at.Sub(from))
				break
			}
		}
		v.mu.Unlock()
	}
}

// leftAt reports whether a stream was closed then by the visitor's own will. mu is held.
func (v *soakVisitor) leftAt(at time.Time) bool {
	for i := range v.visits {
		if v.visits[i].closed.Equal(at) {
			return !v.over.IsZero() || i+1 == len(v.visits) || !v.visits[i+1].missed
		}
	}
	return false
}

// delivery measures how long rows took. A row that came live and soon says nothing about healing, nor does one that was committed while
// the visitor was away by its own will.
func (d *soakDriver) delivery(v *soakVisitor, r *soakReport, rows map[string]*soakRow) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.log {
		e := &v.log[i]
		row, c := d.w.ledger.find(e.message.ID), &v.visits[e.visit]
		r.Messages++
		if e.message.Replayed {
			r.Replayed++
		}
		if row == nil || e.history || e.message.Replayed {
			continue
		}
		took, away := e.at.Sub(row.at), c.begun.After(row.at)
		switch p := d.during(row.at.Add(soakPollInterval)); { // when the channel would bring it
		case p == nil, away && !c.missed && !c.poll:
		case e.message.Recovered, away && c.missed, took > late:
			rows[p.fault.kind].Healed.add(took)
		case !c.poll:
			r.Live.add(took)
		}
	}
	if end, ended := d.w.ending(v.session); ended && !v.over.IsZero() {
		s := r.Ended[end.cause]
		s.add(v.over.Sub(end.at))
		r.Ended[end.cause] = s
	}
}

// during is the phase of a time.
func (d *soakDriver) during(at time.Time) *phase {
	for i := range d.phases {
		if p := &d.phases[i]; !at.Before(p.began) && at.Before(p.until) {
			return p
		}
	}
	return nil
}

// show logs the table and writes the file that SOAK_REPORT names.
func (r *soakReport) show(t *testing.T) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "fault\ttimes\tlasted s\tnoticed: n\tp50 s\tp99 s\ttold: n\tp50 s\tp99 s\thealed: n\tp50 s\tp99 s\n")
	for _, row := range r.Faults {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%v\t%v\t%v\n", row.Fault, row.Times, row.Lasted.quantile(0.5)/1000, row.Noticed, row.Told, row.Healed)
	}
	fmt.Fprintf(w, "\nlive rows\t\t\t\t\t\t\t\t\t%v\n", r.Live)
	for cause, s := range r.Ended {
		fmt.Fprintf(w, "session ended (%s)\t\t\t\t\t\t\t\t\t%v\n", cause, s)
	}
	require.NoError(t, w.Flush())
	t.Logf("%.0f s, %d visitors, %d rows, %d messages, %d of them replayed\n%s", r.Seconds, r.Visitors, r.Rows, r.Messages, r.Replayed, b.String())
	if file := os.Getenv("SOAK_REPORT"); file != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, append(text, '\n'), 0o600))
	}
}
