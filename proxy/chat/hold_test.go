package chat_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

func TestUntaggedRowsWaitForOneReadingOfTheScope(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(mine("a", start), false)
	n.Publish(untaggedRow("b", idC1, start), false)
	n.Publish(untaggedRow("c", idC1, start), false)
	n.Publish(mine("d", start), false)
	assert.Equal(t, []string{"message a"}, s.log(), "a tagged row went past an untagged one")
	assert.Equal(t, []string{idC1}, n.asked)
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Equal(t, []string{"message a", "message b", "message c", "message d"}, s.log())
	assert.Equal(t, []string{idC1}, n.asked)

	n.Publish(untaggedRow("e", idC1, start), false)
	assert.Len(t, n.asked, 2, "an older reading does not judge a newer row")
}

func TestAScopeReadingDoesNotJudgeNewerRows(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(untaggedRow("a", idC1, start), false)
	stamp := n.BeginScope(idC1)
	n.Publish(untaggedRow("b", idC1, start), false)
	n.SetScope(idC1, stamp, isolatedScope())
	assert.Equal(t, []string{"message a"}, s.log())
	assert.Equal(t, []string{idC1, idC1}, n.asked, "a new reading is asked for at once")

	crowded := isolatedScope()
	crowded.Sessions = append(crowded.Sessions, chat.SessionRef{ID: idSOther, ConversationSessionID: idCS})
	n.SetScope(idC1, n.BeginScope(idC1), crowded)
	n.SetScope(idC1, stamp, isolatedScope())
	n.Publish(mine("c", start), false)
	assert.Equal(t, []string{"message a", "message c"}, s.log(), "b was granted by a reading that was made before it")
}

func TestAFailedScopeReadingKeepsTheRowsWaiting(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	n.Publish(untaggedRow("a", idC1, start), false)
	n.SetScope(idC1, n.BeginScope(idC1), nil)
	assert.Empty(t, s.log())
	assert.Len(t, n.asked, 2)
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Equal(t, []string{"message a"}, s.log())
}

func TestRecoveredRowsGoAheadOfHeldOnes(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	first := n.Hold([]string{idC1, "somebody else's"})
	second := n.Hold([]string{idC1})
	n.Publish(mine("d", start.Add(4*time.Second)), false)
	n.Publish(mine("c", start.Add(3*time.Second)), false)
	var found []string
	news := n.Recover(idC1, []*chat.Row{
		mine("c", start.Add(3*time.Second)), mine("b2", start.Add(2*time.Second)), mine("b1", start.Add(2*time.Second)), mine("a", start),
	}, nil, func(id string) { found = append(found, id) })
	assert.Equal(t, 4, news)
	assert.Equal(t, []string{"a", "b1", "b2", "c"}, found)
	second()
	recovered := []string{"message a recovered", "message b1 recovered", "message b2 recovered", "message c recovered"}
	assert.Equal(t, recovered, s.log(), "rows left while another read is under way")
	first()
	assert.Equal(t, append(recovered, "message d"), s.log())
}

func TestRecoverNeedsAScopeForUntaggedRows(t *testing.T) {
	n := newNode(t, newClock(), 1, nil)
	s := n.join(visitorS(), "", nil, nil)
	rows := []*chat.Row{untaggedRow("a", idC1, start)}
	assert.True(t, n.WantsScope(idC1, rows))
	assert.Zero(t, n.Recover(idC1, rows, nil, nil))
	assert.Equal(t, 1, n.Recover(idC1, rows, isolatedScope(), nil))
	assert.False(t, n.WantsScope(idC1, rows), "a known row is judged no more")
	assert.False(t, n.WantsScope(idC1, []*chat.Row{mine("b", start)}))
	assert.Equal(t, []string{"message a recovered"}, s.log())
}

func TestAHoldThatGrowsTooLargeIsReplacedByARead(t *testing.T) {
	m := chat.NewMetrics(prometheus.NewRegistry())
	n := newNode(t, newClock(), 1, func(o *chat.Options) { o.MaxHeld, o.Metrics = 3, m })
	s := n.join(visitorS(), "", nil, nil)
	var table []*chat.Row
	for i := range 6 {
		row := untaggedRow(name("r", i), idC1, start.Add(time.Duration(i)*time.Second))
		table = append(table, row)
		n.Publish(row, false)
	}
	assert.Equal(t, []string{idC1}, n.gaps, "asked for one read")
	held, _ := n.Waiting(idC1)
	assert.Zero(t, held)
	assert.Equal(t, 1.0, testutil.ToFloat64(m.Overflow))
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Empty(t, s.log())

	release := n.Hold([]string{idC1})
	late := untaggedRow("late", idC1, start.Add(time.Minute))
	n.Publish(late, false)
	n.Recover(idC1, table, isolatedScope(), nil)
	release()
	n.SetScope(idC1, n.BeginScope(idC1), isolatedScope())
	assert.Equal(t, []string{
		"message r0000 recovered", "message r0001 recovered", "message r0002 recovered", "message r0003 recovered",
		"message r0004 recovered", "message r0005 recovered", "message late",
	}, s.log())
}
