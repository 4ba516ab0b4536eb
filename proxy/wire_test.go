package proxy_test

import (
	"net"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy"
)

// elsewhere are the limits of the HTTP server, and by other names those that have them.
var elsewhere = map[string]string{
	"HeaderBytes": "", "HeaderTimeout": "", "WaitingConnections": "",
	"MessageMaxLength": "MaxMessageLength", "RealtimeFrameBytes": "RealtimeBytes", "AuthorizeConcurrency": "Concurrency",
}

// fill gives each number of a struct a value of its own.
func fill(to reflect.Value, from int64) {
	for i := range to.NumField() {
		to.Field(i).SetInt(from + int64(i))
	}
}

// A field that is forgotten where the parts are made has no other witness: its default would hold.
func TestEveryLimitReachesThePartThatKeepsIt(t *testing.T) {
	o := proxy.Options{Supabase: proxy.Supabase{URL: "http://127.0.0.1:1", ServiceRoleKey: "a-key", AuthorizePerSecond: 7}}
	for _, listener := range []*net.Listener{&o.Listener, &o.AdminListener} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		*listener = l
	}
	fill(reflect.ValueOf(&o.Limits).Elem(), 1000)
	fill(reflect.ValueOf(&o.Session).Elem(), 2000)
	fill(reflect.ValueOf(&o.Stream).Elem(), 3000)
	fill(reflect.ValueOf(&o.Drain).Elem(), 4000)
	o.Session.ConfirmWithin = 1 + 2*o.Session.RecheckInterval
	parts, err := proxy.PartsOf(o)
	require.NoError(t, err)
	for _, tt := range []struct{ from, to any }{
		{o.Limits, parts.Transport}, {o.Stream, parts.Transport}, {o.Session, parts.Sessions},
	} {
		from, to := reflect.ValueOf(tt.from), reflect.ValueOf(tt.to)
		for i := range from.NumField() {
			name := from.Type().Field(i).Name
			other, known := elsewhere[name]
			if known && other == "" {
				continue
			}
			if known {
				name = other
			}
			if field := to.FieldByName(name); assert.True(t, field.IsValid(), name) {
				assert.Equal(t, from.Field(i).Int(), field.Int(), name)
			}
		}
	}
	assert.InEpsilon(t, 7, parts.Sessions.AuthorizePerSecond, 1e-9)
	assert.Equal(t, o.Stream.MaxAge, parts.Sessions.StreamMaxAge)
	assert.Equal(t, []any{o.Drain.Period, o.Drain.Max}, []any{parts.Transport.DrainPeriod, parts.Transport.DrainMax})
	assert.Equal(t, []any{o.Limits.HeaderBytes, o.Limits.HeaderTimeout}, []any{parts.HTTP.MaxHeaderBytes, parts.HTTP.ReadHeaderTimeout})
}
