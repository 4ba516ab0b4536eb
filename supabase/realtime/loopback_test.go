package realtime_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

func TestClientWorksOnRealSockets(t *testing.T) {
	var f *fixture
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.srv.serve(w, r) }))
	f = newFixture(t, func(o *realtime.Options) { o.URL, o.NetDial = front.URL, nil })
	f.start()
	p, _ := f.live()
	p.send(change(topicA, "one"))
	assert.JSONEq(t, `{"id":"one"}`, string(receive(t, f.changes).Record))
	front.Close()
	p.close(1012)
	f.expect(topicA, realtime.StateErrored, realtime.StateDialing)
	err := f.expect(topicA, realtime.StateErrored).Err
	assert.ErrorContains(t, err, "open socket:")
	assert.NotContains(t, err.Error(), secret)
	assert.NotContains(t, err.Error(), "apikey")
	f.stop()
}
