package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what was seen. Broken names the promises that were not kept.
type report struct {
	options                   *attackOptions
	calm, neighbour, attacked *phase

	Authorizations struct {
		Mean float64 `json:"mean"` // a second
		Most int     `json:"most"` // in any second
	} `json:"authorizations"`
	Before   footprint   `json:"before"`
	Peak     footprint   `json:"peak"`
	After    footprint   `json:"after"`
	Outcomes []*outcomes `json:"attacks"`
	Broken   []string    `json:"broken"`
}

// phaseReport is a phase in numbers.
type phaseReport struct {
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	Committed int      `json:"rows"`
	Arrived   int      `json:"arrived"`
	Sent      int      `json:"sent"`
	Joined    int      `json:"joined"`
	Refused   int      `json:"refused"`
	Reasons   []string `json:"reasons,omitempty"` // the first few
}

const keptReasons = 5

func (p *phase) report() phaseReport {
	p50, p99 := p.quantile(0.5), p.quantile(0.99)
	p.mu.Lock()
	defer p.mu.Unlock()
	return phaseReport{
		P50: milliseconds(p50), P99: milliseconds(p99), Committed: p.committed, Arrived: len(p.latencies),
		Sent: p.sent, Joined: p.joined, Refused: len(p.refusals), Reasons: p.refusals[:min(len(p.refusals), keptReasons)],
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// judge compares with the promises. Latencies are none.
func (r *report) judge() {
	r.Broken = []string{}
	broken := func(format string, args ...any) { r.Broken = append(r.Broken, fmt.Sprintf(format, args...)) }
	for i, p := range []phaseReport{r.calm.report(), r.neighbour.report(), r.attacked.report()} {
		name := [...]string{"calm", "neighbour's", "attacked"}[i]
		if p.Refused > 0 {
			broken("%d healthy visitors were refused in the %s phase: %s", p.Refused, name, strings.Join(p.Reasons, "; "))
		}
		if p.Arrived != p.Committed {
			broken("%d rows were committed in the %s phase and %d arrived", p.Committed, name, p.Arrived)
		}
	}
	// A phase may begin with the turns of the second before it.
	seconds := float64(r.options.seconds)
	if most := float64(r.options.authorizations); r.Authorizations.Mean*seconds > most*(seconds+1) {
		broken("Supabase saw %.1f authorisations a second, of %g", r.Authorizations.Mean, most)
	}
	for _, o := range r.Outcomes {
		if len(o.Seen) == 0 {
			broken("%s: not played", o.Attack)
		}
		for _, seen := range o.unexpected() {
			broken("%s: %q was answered %d times", o.Attack, seen, o.Seen[seen])
		}
	}
	if added := (r.Peak.ResidentBytes - r.Before.ResidentBytes) >> 20; added > int64(r.options.memoryMiB) {
		broken("the attack added %d MiB of memory", added)
	}
	if !r.After.within(r.Before) {
		broken("%d goroutines and %d descriptors are left of %d and %d", r.After.Goroutines, r.After.Descriptors,
			r.Before.Goroutines, r.Before.Descriptors)
	}
}

// print writes the report as a table or as one JSON object.
func (r *report) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return r.printJSON(out)
	}
	calm, beside, attacked := r.calm.report(), r.neighbour.report(), r.attacked.report()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	row("healthy visitors\tcalm\tneighbour attacked\tattacked\tto calm\tto neighbour's")
	row("p50, commit to visitor, ms\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f", calm.P50, beside.P50, attacked.P50, ratio(attacked.P50, calm.P50), ratio(attacked.P50, beside.P50))
	row("p99, commit to visitor, ms\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f", calm.P99, beside.P99, attacked.P99, ratio(attacked.P99, calm.P99), ratio(attacked.P99, beside.P99))
	row("rows committed / arrived\t%d / %d\t%d / %d\t%d / %d", calm.Committed, calm.Arrived, beside.Committed, beside.Arrived, attacked.Committed, attacked.Arrived)
	row("messages sent\t%d\t%d\t%d", calm.Sent, beside.Sent, attacked.Sent)
	row("new and returning visitors\t%d\t%d\t%d", calm.Joined, beside.Joined, attacked.Joined)
	row("refused\t%d\t%d\t%d", calm.Refused, beside.Refused, attacked.Refused)
	row("")
	row("proxy\tbefore\tpeak\tafter")
	row("resident memory, MiB\t%d\t%d\t%d", r.Before.ResidentBytes>>20, r.Peak.ResidentBytes>>20, r.After.ResidentBytes>>20)
	row("goroutines\t%d\t%d\t%d", r.Before.Goroutines, r.Peak.Goroutines, r.After.Goroutines)
	row("descriptors\t%d\t%d\t%d", r.Before.Descriptors, r.Peak.Descriptors, r.After.Descriptors)
	row("authorisations a second\t%.1f on average, %d in the worst", r.Authorizations.Mean, r.Authorizations.Most)
	row("")
	row("attack\tanswers")
	for _, o := range r.Outcomes {
		row("%s\t%s\t%.0f a second", o.Attack, o, o.rate(r.options.seconds))
	}
	row("")
	for _, b := range r.Broken {
		row("BROKEN: %s", b)
	}
	if len(r.Broken) == 0 {
		row("every promise was kept")
	}
	return w.Flush()
}

// String lists the answers and how often each was given.
func (o *outcomes) String() string {
	var parts []string
	for _, seen := range slices.Sorted(maps.Keys(o.Seen)) {
		parts = append(parts, fmt.Sprintf("%s: %d", seen, o.Seen[seen]))
	}
	return strings.Join(parts, ", ")
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func (r *report) printJSON(out io.Writer) error {
	calm, beside, attacked := r.calm.report(), r.neighbour.report(), r.attacked.report()
	enc := json.NewEncoder(out)
	return enc.Encode(struct {
		Healthy         int         `json:"healthy"`
		Bad             int         `json:"bad_per_second"`
		Seconds         int         `json:"seconds"`
		Calm            phaseReport `json:"calm"`
		Neighbour       phaseReport `json:"neighbour"`
		Attacked        phaseReport `json:"attacked"`
		P50Ratio        float64     `json:"p50_ratio"`
		P99Ratio        float64     `json:"p99_ratio"`
		P99ToNeighbours float64     `json:"p99_ratio_to_neighbours"`
		*report
	}{
		r.options.healthy, r.options.bad, r.options.seconds, calm, beside, attacked, ratio(attacked.P50, calm.P50), ratio(attacked.P99, calm.P99),
		ratio(attacked.P99, beside.P99), r,
	})
}
