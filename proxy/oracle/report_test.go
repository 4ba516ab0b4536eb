package oracle_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// saved is a run as it is kept in a file.
type saved struct {
	Scenario   *scenario
	Violations []string
	Events     []string
}

func (r *run) save(t *testing.T, all []violation) {
	dir := os.Getenv("ORACLE_LOG_DIR")
	if dir == "" {
		dir = t.ArtifactDir()
	}
	kept := saved{Scenario: r.s, Events: strings.Split(r.journal.String(), "\n")}
	for i := range all {
		kept.Violations = append(kept.Violations, all[i].String())
	}
	raw, err := json.MarshalIndent(kept, "", " ")
	require.NoError(t, err)
	file := filepath.Join(dir, fmt.Sprintf("seed-%d.json", r.s.Seed))
	require.NoError(t, os.WriteFile(file, raw, 0o600))
	t.Logf("saved as %s", file)
}

func load(t *testing.T, file string) *scenario {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var kept saved
	require.NoError(t, json.Unmarshal(raw, &kept))
	return kept.Scenario
}

func (b *violation) String() string {
	return fmt.Sprintf("%s: %s: row %s: %s", b.visitor.name, b.what, b.row, b.detail)
}

const (
	explained = 6                // violations that are explained
	around    = 12 * time.Second // of the time line around one
)

// explain tells the seed and, for the first violations, what happened around them.
func (r *run) explain(all []violation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d violations\n", r.s.Seed, len(all))
	for i := range all {
		if i == explained {
			fmt.Fprintf(&b, "... and %d more\n", len(all)-i)
			break
		}
		fmt.Fprintf(&b, "%s\n", &all[i])
		for _, line := range r.timeline(&all[i]) {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String()
}

type moment struct {
	at   time.Duration
	text string
}

// timeline tells a row's story at one visitor.
func (r *run) timeline(b *violation) (lines []string) {
	var story []moment
	add := func(at time.Duration, format string, args ...any) {
		story = append(story, moment{at, fmt.Sprintf("%12.6f ", at.Seconds()) + fmt.Sprintf(format, args...)})
	}
	t := newTrial(r, b.visitor)
	for _, ver := range r.ledger.rows[b.row] {
		created := ver.created.Add(-r.s.Upstream.Skew).Sub(r.journal.began)
		add(ver.at, "%s committed: row %d, %s of session %d, created %.6f, commit %d", ver.st.Op, ver.st.Row, ver.st.Kind, ver.st.Session, created.Seconds(), ver.seq)
	}
	for i := range t.log {
		if e := &t.log[i]; e.message.ID == b.row && b.row != "" {
			add(e.at, "%s received, connection %d, recovered %t, replayed %t", e.what, e.conn, e.message.Recovered, e.message.Replayed)
		}
	}
	near := func(from, to time.Duration) bool {
		return slices.ContainsFunc(story, func(m moment) bool { return from-around <= m.at && m.at <= to+around })
	}
	var context []moment
	swap := func() { story, context = context, story }
	for i := range r.s.Steps {
		st := &r.s.Steps[i]
		mine := st.upstream() || st.Visitor == b.visitor.index && (st.Do == cutVisitor || st.Do == closeVisitor || st.Do == stallVisitor)
		if mine && near(st.At, st.over()) {
			swap()
			add(st.At, "%s %s %s for %v, delay %v", st.Do, st.Kind, st.Match, st.For, st.Delay)
			swap()
		}
	}
	for i := range t.conns {
		c := &t.conns[i]
		if near(c.begun, max(c.closed, c.opened)) && (c.transport != "poll" || len(context) < 40) {
			swap()
			add(c.opened, "connection %d, %s to %s, begun %.6f, closed %.6f: %s", i, c.transport, c.node, c.begun.Seconds(), c.closed.Seconds(), c.end)
			swap()
		}
	}
	story = append(story, context...)
	slices.SortStableFunc(story, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for _, m := range story {
		lines = append(lines, m.text)
	}
	return lines
}
