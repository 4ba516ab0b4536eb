package main

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/config"
)

// fill gives each number of a struct a value of its own.
func fill(to reflect.Value, from int64) {
	for i := range to.NumField() {
		to.Field(i).SetInt(from + int64(i))
	}
}

// A key that is forgotten on its way has no other witness: its default would hold.
func TestEveryLimitOfTheConfigurationReachesTheProxy(t *testing.T) {
	c := config.Default()
	for i, section := range []any{&c.Limits, &c.Session, &c.Resume, &c.Stream, &c.Drain} {
		fill(reflect.ValueOf(section).Elem(), int64(1000*(i+1)))
	}
	c.Chat.MessageMaxLength, c.Chat.HistoryMax, c.Supabase.AuthorizePerSecond = 7, 8, 9
	o, err := proxyOptions(&c, nil, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		from, to any
		more     map[string]int64 // from other sections
	}{
		"limits":  {c.Limits, o.Limits, map[string]int64{"MessageMaxLength": 7, "HistoryMax": 8}},
		"session": {c.Session, o.Session, nil},
		"resume":  {c.Resume, o.Resume, nil},
		"stream":  {c.Stream, o.Stream, nil},
		"drain":   {c.Drain, o.Drain, nil},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := tt.more, make(map[string]int64)
			if want == nil {
				want = make(map[string]int64)
			}
			for of, numbers := range map[any]map[string]int64{tt.from: want, tt.to: got} {
				v := reflect.ValueOf(of)
				for i := range v.NumField() {
					numbers[v.Type().Field(i).Name] = v.Field(i).Int()
				}
			}
			assert.Equal(t, want, got)
		})
	}
	assert.Equal(t, 9, o.Supabase.AuthorizePerSecond)
}
