package feed_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/feed"
)

// row of the table in the package comment.
type tableRow struct{ state, event, when, next, actions string }

var columns = regexp.MustCompile(` {2,}`)

// readTable reads the state table of the package comment.
func readTable(t *testing.T) (rows []tableRow) {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(source), "//\tstate    event")
	require.True(t, ok, "doc.go has no table")
	for _, line := range strings.Split(table, "\n")[1:] {
		text, ok := strings.CutPrefix(line, "//\t")
		if !ok {
			break
		}
		c := columns.Split(text, -1)
		require.Len(t, c, 5, line)
		rows = append(rows, tableRow{c[0], c[1], c[2], c[3], c[4]})
	}
	return rows
}

// The conditions of the table, and the others that a machine may be in, as whether a fresh socket is under way and the back-off is over.
var conditions = []struct {
	fresh, backedOff bool
}{{false, true}, {false, false}, {true, true}, {true, false}}

func (r tableRow) holds(fresh, backedOff bool) bool {
	switch r.when {
	case "-":
		return true
	case "no fresh":
		return !fresh
	case "backed off":
		return backedOff
	}
	panic("unknown condition " + r.when)
}

func TestTheMachineFollowsTheTableOfThePackageComment(t *testing.T) {
	table := readTable(t)
	require.Greater(t, len(table), 15)
	for _, r := range table {
		assert.Contains(t, feed.StateNames, r.state)
		assert.Contains(t, feed.EventNames, r.event)
	}
	for _, state := range feed.StateNames {
		for _, event := range feed.EventNames {
			for _, c := range conditions {
				t.Run(fmt.Sprint(state, "/", event, "/fresh=", c.fresh, "/backedoff=", c.backedOff), func(t *testing.T) {
					want := tableRow{next: state, actions: "-"}
					for _, r := range table {
						if r.state == state && r.event == event && r.holds(c.fresh, c.backedOff) {
							want = r
						}
					}
					next, actions := feed.Walk(state, event, c.fresh, c.backedOff)
					assert.Equal(t, want.next, next)
					assert.Equal(t, effective(want.actions, c.fresh, c.backedOff), actions)
				})
			}
		}
	}
}

// effective leaves out what the definitions of the actions except: replacing while a fresh socket is under way or the back-off runs, and
// dropping a fresh socket where there is none.
func effective(actions string, fresh, backedOff bool) []string {
	out := []string{}
	for _, a := range strings.Split(actions, ", ") {
		switch {
		case a == "-", a == "replace" && (fresh || !backedOff), a == "drop fresh" && !fresh:
		default:
			out = append(out, a)
		}
	}
	return out
}

func TestThePackageCommentHoldsEveryRowOfTheMachinesTable(t *testing.T) {
	var written [][5]string
	for _, r := range readTable(t) {
		written = append(written, [5]string{r.state, r.event, r.when, r.next, r.actions})
	}
	assert.ElementsMatch(t, feed.Table(), written)
}

func TestReplacementsThatDoNotHelpComeAtDoublingIntervals(t *testing.T) {
	m := feed.NewMachine()
	m.Reach("live")
	var waits []time.Duration
	last := m.Now()
	for range 7 {
		for tried := false; !tried; {
			_, actions := m.On("missing")
			m.Advance(100 * time.Millisecond)
			for _, a := range append(actions, m.Overdue()...) {
				tried = tried || a == "replace"
			}
		}
		waits = append(waits, m.Now().Sub(last).Round(time.Second))
		last = m.Now()
		m.On("fresh live")
	}
	assert.Equal(t, []time.Duration{0, 10e9, 20e9, 40e9, 80e9, 120e9, 120e9}, waits)
}

func TestASocketThatBringsRowsEndsTheBackOff(t *testing.T) {
	m := feed.NewMachine()
	m.Reach("live")
	for range 3 {
		m.Advance(2 * time.Minute)
		_, actions := m.On("missing")
		require.Contains(t, actions, "replace")
		m.On("fresh live")
	}
	m.On("brought")
	m.Advance(10*time.Second - time.Millisecond)
	_, actions := m.On("missing")
	assert.NotContains(t, actions, "replace", "never sooner than 10 s")
	m.Advance(time.Millisecond)
	assert.Contains(t, m.Overdue(), "replace")
	m.On("fresh live")
	m.On("missing")
	m.Advance(10 * time.Second)
	assert.Contains(t, m.Overdue(), "replace", "the doubling began anew")
}

func TestSkippedRowsDoNotEndTheBackOffThoughLaterOnesCome(t *testing.T) {
	m := feed.NewMachine()
	m.Reach("live")
	replaced := 0
	for range 600 { // ten minutes
		m.Advance(time.Second)
		m.On("brought")
		if _, actions := m.On("skipped"); len(actions) > 0 {
			replaced++
			m.On("fresh live")
		}
	}
	assert.InDelta(t, 8, replaced, 1)
}

func TestOldSocketsAreReplacedWhileTheyServe(t *testing.T) {
	m := feed.NewMachine()
	m.MaxAge(time.Hour)
	m.Reach("live")
	m.Advance(time.Hour - time.Second)
	assert.Empty(t, m.Overdue())
	m.Advance(time.Second)
	assert.Equal(t, []string{"replace"}, m.Overdue())
	m.Advance(time.Hour)
	assert.Empty(t, m.Overdue(), "one at a time")
	state, _ := m.On("fresh live")
	assert.Equal(t, "live", state)
	m.Advance(time.Hour - time.Second)
	assert.Empty(t, m.Overdue(), "the age is that of the new one")
	m.Advance(time.Second)
	assert.Equal(t, []string{"replace"}, m.Overdue())
}

func TestAReadThatIsAskedForDuringAnotherFollowsAtOnce(t *testing.T) {
	m := feed.NewMachine()
	m.Reach("live")
	m.Begin(t, "catch up")
	m.End(true)
	assert.Equal(t, "none", m.Due())
	m.Advance(2500 * time.Millisecond)
	m.Begin(t, "reconcile")
	m.Advance(time.Second)
	m.On("late")
	assert.Equal(t, "none", m.Due(), "one at a time")
	m.Advance(time.Second)
	m.End(true)
	m.Begin(t, "poll")
	m.End(true)
	assert.Equal(t, "none", m.Due())
	m.Advance(2 * time.Second)
	m.Begin(t, "poll")
	m.On("fresh live")
	m.End(false)
	assert.Equal(t, "none", m.Due(), "a failing database gets a pause")
	m.Advance(200 * time.Millisecond)
	m.Begin(t, "catch up")
	m.On("confirmed")
	m.End(true)
	assert.Equal(t, feed.StateCatchingUp, m.Told())
	m.Begin(t, "catch up")
	m.End(true)
	assert.Equal(t, feed.StateLive, m.Told())
}
