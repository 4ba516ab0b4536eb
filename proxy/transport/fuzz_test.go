package transport_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/agentopia/realtime-proxy/proxy/transport"
)

func FuzzPongIsJSONWhateverWasSent(f *testing.F) {
	for _, seed := range []string{
		authenticate, `{"type":"ping","t":12}`, `{"type":"ping","t":"a<b"}`, `{"type":"ping","t":{"a":[1,2]}}`,
		`{"type":"ping","t": 1e999 }`, `{"T":"x","TYPE":"ping"}`, "{\"type\":\"ping\",\"t\":\"\xff\"}", `[[[[`, ``,
		`{"type":"ping","t":"` + strings.Repeat("x", 300) + `"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pong, ok := transport.Pong([]byte(text))
		if !ok {
			return
		}
		assert.True(t, utf8.ValidString(text))
		assert.True(t, json.Valid([]byte(text)))
		assert.True(t, json.Valid(pong), "%q", pong)
		assert.Less(t, len(pong), 300)
	})
}

func FuzzClientAddressIsOneAddress(f *testing.F) {
	f.Add("10.0.0.1:80", "198.51.100.1, 10.0.0.2", "1.1.1.1")
	f.Add("[fe80::1%eth0]:80", "[2001:db8::1]:443,unknown", "")
	f.Add("pipe", ",,,", "::ffff:1.2.3.4")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
	f.Fuzz(func(t *testing.T, remote, forwarded, cloudflare string) {
		req := httptest.NewRequest("GET", "/", nil)
		req.RemoteAddr = remote
		req.Header.Set("X-Forwarded-For", forwarded)
		req.Header.Set("CF-Connecting-IP", cloudflare)
		addr := transport.ClientAddr(req, trusted)
		if !addr.IsValid() {
			return
		}
		assert.Empty(t, addr.Zone())
		assert.False(t, addr.Is4In6())
		again, err := netip.ParseAddr(addr.String())
		assert.NoError(t, err)
		assert.Equal(t, addr, again)
	})
}
