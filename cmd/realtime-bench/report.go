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
	options        *attackOptions
	calm, attacked *phase // all rounds together

	Authorizations asked     `json:"authorizations"` // of sessions
	Links          asked     `json:"link_authorizations"`
	Before         footprint `json:"before"`
	Peak           footprint `json:"peak"`
	After          footprint `json:"after"`
	// AddedBytes is the most resident memory that an attacked phase added: what healthy visitors say is kept for a while, so that memory
	// also grows from round to round.
	AddedBytes int64 `json:"added_bytes"`

	Outcomes []*outcomes `json:"attacks"`
	Broken   []string    `json:"broken"`
}

// asked is how often Supabase was asked about tokens in the attacked phases.
type asked struct {
	Mean float64 `json:"mean"` // a second
	Most int     `json:"most"` // in any second
}

// add takes in one phase of so many.
func (a *asked) add(q questions, from time.Time, length time.Duration, phases int) {
	mean, most := q.between(from, from.Add(length))
	a.Mean += mean / float64(phases)
	a.Most = max(a.Most, most)
}

// phaseReport is a phase in numbers. What else happens to the machine makes the p99 of one round or another much larger: their median is
// less moved by it than the p99 of all.
type phaseReport struct {
	P50       float64  `json:"p50_ms"`
	P99       float64  `json:"p99_ms"`
	MedianP99 float64  `json:"median_p99_ms"` // of the rounds
	Busy      float64  `json:"busy"`          // share of the machine's processors, from 0 to 1
	Stolen    float64  `json:"stolen"`        // share that the host took
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
	busy, stolen := p.used.shares()
	return phaseReport{
		P50: milliseconds(p50), P99: milliseconds(p99), MedianP99: milliseconds(median(p.p99s)), Busy: busy, Stolen: stolen, Committed: p.committed, Arrived: len(p.latencies),
		Sent: p.sent, Joined: p.joined, Refused: len(p.refusals), Reasons: p.refusals[:min(len(p.refusals), keptReasons)],
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// median is the middle one, of an even number the greater of the two.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// judge compares with the promises. Latencies are none.
func (r *report) judge() {
	r.Broken = []string{}
	broken := func(format string, args ...any) { r.Broken = append(r.Broken, fmt.Sprintf(format, args...)) }
	for i, p := range []phaseReport{r.calm.report(), r.attacked.report()} {
		name := [...]string{"calm", "attacked"}[i]
		if p.Refused > 0 {
			broken("%d healthy visitors were refused in the %s phases: %s", p.Refused, name, strings.Join(p.Reasons, "; "))
		}
		if p.Arrived != p.Committed {
			broken("%d rows were committed in the %s phases and %d arrived", p.Committed, name, p.Arrived)
		}
	}
	// A phase may begin with the turns of the second before it.
	seconds := float64(r.options.seconds)
	for i, q := range []asked{r.Authorizations, r.Links} {
		if most := float64(r.options.authorizations); q.Mean*seconds > most*(seconds+1) {
			broken("Supabase saw %.1f authorisations of %s a second, of %g", q.Mean, [...]string{"sessions", "links"}[i], most)
		}
	}
	for _, o := range r.Outcomes {
		if len(o.Seen) == 0 {
			broken("%s: not played", o.Attack)
		}
		for _, seen := range o.unexpected() {
			broken("%s: %q was answered %d times", o.Attack, seen, o.Seen[seen])
		}
	}
	if added := r.AddedBytes >> 20; added > int64(r.options.memoryMiB) {
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
	calm, attacked := r.calm.report(), r.attacked.report()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	latency := func(name string, calm, attacked float64) {
		row("%s, commit to visitor, ms\t%.2f\t%.2f\t%.2f", name, calm, attacked, ratio(attacked, calm))
	}
	row("healthy visitors\tcalm\tattacked\tattacked / calm")
	latency("p50", calm.P50, attacked.P50)
	latency("p99", calm.P99, attacked.P99)
	latency("p99, median of the rounds", calm.MedianP99, attacked.MedianP99)
	row("rows committed / arrived\t%d / %d\t%d / %d", calm.Committed, calm.Arrived, attacked.Committed, attacked.Arrived)
	row("messages sent\t%d\t%d", calm.Sent, attacked.Sent)
	row("new and returning visitors\t%d\t%d", calm.Joined, attacked.Joined)
	row("refused\t%d\t%d", calm.Refused, attacked.Refused)
	row("processors busy\t%.0f %%\t%.0f %%", 100*calm.Busy, 100*attacked.Busy)
	row("processors taken by the host\t%.0f %%\t%.0f %%", 100*calm.Stolen, 100*attacked.Stolen)
	row("")
	row("proxy\tbefore\tpeak\tafter")
	row("resident memory, MiB\t%d\t%d\t%d", r.Before.ResidentBytes>>20, r.Peak.ResidentBytes>>20, r.After.ResidentBytes>>20)
	row("added by an attack, MiB\t\t%d", r.AddedBytes>>20)
	row("goroutines\t%d\t%d\t%d", r.Before.Goroutines, r.Peak.Goroutines, r.After.Goroutines)
	row("descriptors\t%d\t%d\t%d", r.Before.Descriptors, r.Peak.Descriptors, r.After.Descriptors)
	row("authorisations of sessions a second\t%.1f on average, %d in the worst", r.Authorizations.Mean, r.Authorizations.Most)
	row("authorisations of links a second\t%.1f on average, %d in the worst", r.Links.Mean, r.Links.Most)
	row("")
	row("attack\tanswers")
	for _, o := range r.Outcomes {
		row("%s\t%s\t%.0f a second", o.Attack, o, o.rate(r.options.rounds*r.options.seconds))
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
	calm, attacked := r.calm.report(), r.attacked.report()
	return json.NewEncoder(out).Encode(struct {
		Healthy        int         `json:"healthy"`
		Bad            int         `json:"bad_per_second"`
		Rounds         int         `json:"rounds"`
		Seconds        int         `json:"seconds"`
		Calm           phaseReport `json:"calm"`
		Attacked       phaseReport `json:"attacked"`
		P50Ratio       float64     `json:"p50_ratio"`
		P99Ratio       float64     `json:"p99_ratio"`
		MedianP99Ratio float64     `json:"median_p99_ratio"`
		*report
	}{
		r.options.healthy, r.options.bad, r.options.rounds, r.options.seconds, calm, attacked, ratio(attacked.P50, calm.P50),
		ratio(attacked.P99, calm.P99), ratio(attacked.MedianP99, calm.MedianP99), r,
	})
}
