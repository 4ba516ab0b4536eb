package transport_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

const rigServiceKey = "the-service-key-of-the-project"

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// closedFor reads the end of a refused or ended channel and returns the system message's text.
func (c *client) closedFor(topic string) string {
	c.t.Helper()
	system := c.expect(topic, phoenix.EventSystem)
	c.expect(topic, phoenix.EventClose)
	_, rest, _ := strings.Cut(system, `{"message":"`)
	text, rest, _ := strings.Cut(rest, `"`)
	require.True(c.t, strings.HasPrefix(rest, `,"status":"error","extension":"system"`), system)
	return text
}

func frontRig(t *testing.T, change func(*transport.Options)) (*rig, string) {
	g := newRig(t, func(o *transport.Options) {
		o.RefusalDelay, o.ServiceKey, o.AnonKey, o.ConnectionsPerSession = soon, rigServiceKey, "the-anon-key", 50
		if change != nil {
			change(o)
		}
	})
	return g, g.serve()
}

func TestJoinsAreAuthorisedByAnyOfTheirKeys(t *testing.T) {
	service, anon := jwt(`{"role":"service_role"}`), jwt(`{"role":"anon"}`)
	tests := []struct {
		name, key, payload string
		reason             string // "" is joined
	}{
		{"token in the URL", rigToken, `{}`, ""},
		{"token with blanks", "%20" + rigToken + "%0A", `{}`, ""},
		{"token of the join", "the-anon-key", `{"access_token":"` + rigToken + `"}`, ""},
		{"user token", "the-anon-key", `{"user_token":"` + rigToken + `","access_token":"wrong"}`, ""},
		{"stale token of the join", rigToken, `{"access_token":"stale-token"}`, ""},
		{"project's key in the join", rigToken, `{"access_token":"` + anon + `"}`, ""},
		{"publishable key in the join", rigToken, `{"access_token":"sb_publishable_x"}`, ""},
		{"no string", rigToken, `{"access_token":7}`, ""},
		{"no key", "", `{}`, refusedWithoutKey},
		{"project's key", "the-anon-key", `{}`, refusedWithoutKey},
		{"anon JWT", anon, `{"access_token":"` + anon + `"}`, refusedWithoutKey},
		{"publishable key", "sb_publishable_x", `{}`, refusedWithoutKey},
		{"unknown token", "wrong", `{}`, "Unauthorized: Invalid or expired session"},
		{"service key", rigServiceKey, `{}`, refusedServiceKey},
		{"service JWT", service, `{}`, refusedServiceKey},
		{"secret key", "sb_secret_x", `{}`, refusedServiceKey},
		{"service key beside a token", rigToken, `{"access_token":"` + rigServiceKey + `"}`, refusedServiceKey},
	}
	both(t, func(t *testing.T, v phoenix.Version) {
		g, base := frontRig(t, nil)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c := g.realtimeWith(base, v, tt.key)
				c.t = t
				payload := strings.Replace(tt.payload, "{", `{"config":{"postgres_changes":[`+frontBinding+`]},`, 1)
				c.joinWith(frontTopic, strings.Replace(payload, ",}", "}", 1))
				if tt.reason == "" {
					c.answered(frontTopic)
					return
				}
				assert.Equal(t, `{"status":"error","response":{"reason":"`+tt.reason+`"}}`, c.expect(frontTopic, phoenix.EventReply))
				_, text, _ := strings.Cut(tt.reason, ": ")
				assert.Equal(t, text, c.closedFor(frontTopic))
				c.quiet()
				require.NoError(t, c.conn.Close())
			})
		}
		g.stop()
		logs := g.logs.String()
		assert.Equal(t, 1, strings.Count(logs, "presented a service key"), "said once a minute")
		for _, secret := range []string{rigServiceKey, service, "sb_secret", rigToken, anon} {
			assert.NotContains(t, logs, secret)
		}
	})
}

const (
	refusedWithoutKey = "Unauthorized: A session token or ticket is needed, as the key of createClient or through setAuth; " +
		"the project's own key proves no session"
	refusedServiceKey = "Unauthorized: A service key may not be used here"
)

func TestWhatPassesMakesClientsJoinAgain(t *testing.T) {
	tests := []struct {
		name, reason string
		err          error
	}{
		{"unavailable", "UnableToConnectToProject: The service is temporarily unavailable", chat.RefuseUnavailable(time.Second, io.ErrUnexpectedEOF)},
		{"internal", "UnableToConnectToProject: Internal server error", io.ErrUnexpectedEOF},
		{"limit", "ConnectionRateLimitReached: Too fast", chat.RefuseLimit("rate", "Too fast", time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, base := frontRig(t, nil)
			g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, tt.err }
			c := g.realtime(base, phoenix.V2)
			ref := c.join(frontTopic, frontBinding)
			assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), tt.reason)
			m := c.receive()
			assert.Equal(t, phoenix.EventError, m.Event)
			assert.Equal(t, ref, m.Ref.String())
			c.quiet()
		})
	}
}

func TestEndedSessionIsRefusedForGood(t *testing.T) {
	g, base := frontRig(t, nil)
	g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) { return nil, chat.RefuseEnded(nil) }
	c := g.realtime(base, phoenix.V1)
	c.join(frontTopic, frontBinding)
	assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), "Unauthorized: The session has ended")
	assert.Equal(t, "The session has ended", c.closedFor(frontTopic))
}

func TestRefusalsWait(t *testing.T) {
	g, base := frontRig(t, func(o *transport.Options) { o.RefusalDelay = time.Hour })
	c := g.realtimeWith(base, phoenix.V2, "wrong")
	ref := c.join(frontTopic, frontBinding)
	c.quiet()
	c.push(ref, frontTopic, phoenix.EventLeave, "{}")
	assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), `"ok"`)
	c.expect(frontTopic, phoenix.EventClose)
	c.join(frontTopic, frontBinding)
	c.quiet()
	c.drop() // the refusal that waits goes with it
	g.stop()
}

func TestFailedTokensCountAgainstTheAddress(t *testing.T) {
	g, base := frontRig(t, func(o *transport.Options) { o.FailedTokensPerMinute = 2 })
	c := g.realtimeWith(base, phoenix.V2, "wrong")
	for _, reason := range []string{"Invalid or expired session", "Invalid or expired session", "Too many failed attempts"} {
		c.join(frontTopic, frontBinding)
		assert.Contains(t, c.expect(frontTopic, phoenix.EventReply), reason)
		if reason != "Too many failed attempts" {
			c.closedFor(frontTopic)
		}
	}
	c.expect(frontTopic, phoenix.EventError)
}

func TestChannelsOfASocketCountAsOneConnection(t *testing.T) {
	g := newRig(t, func(o *transport.Options) { o.ConnectionsPerSession, o.RefusalDelay = 1, soon })
	base := g.serve()
	c := g.realtime(base, phoenix.V2)
	c.live(frontTopic, frontBinding)
	c.live("realtime:second", frontBinding)
	other := g.realtime(base, phoenix.V2)
	other.join(frontTopic, frontBinding)
	assert.Contains(t, other.expect(frontTopic, phoenix.EventReply), "ConnectionRateLimitReached: Too many connections for this session")
	c.drop()
	g.tracked.Wait()
	require.Eventually(t, func() bool {
		again := g.realtime(base, phoenix.V2)
		defer func() { _ = again.conn.Close() }()
		again.join(frontTopic, frontBinding)
		return strings.Contains(again.expect(frontTopic, phoenix.EventReply), `"ok"`)
	}, 5*time.Second, time.Millisecond, "the place is given back")
}

func TestPushedTokens(t *testing.T) {
	const joinWithToken = `{"config":{"postgres_changes":[` + frontBinding + `]},"access_token":"` + rigToken + `"}`
	push := func(c *client, joinRef, token string) {
		c.push(joinRef, frontTopic, phoenix.EventAccessToken, `{"access_token":`+token+`}`)
	}
	tests := []struct {
		name, key, token string
		then             string // event that ends the channel; "" keeps it
	}{
		{"null", "the-anon-key", `null`, ""},
		{"the same", "the-anon-key", `"` + rigToken + `"`, ""},
		{"the key of the URL", "some-token-of-the-page", `"some-token-of-the-page"`, ""},
		{"the project's key", "the-anon-key", `"the-anon-key"`, ""},
		{"a user's JWT", "the-anon-key", `"` + jwt(`{"role":"authenticated"}`) + `"`, ""},
		{"another token of the session", "the-anon-key", `"token-of-session-1-again"`, ""},
		{"another session's token", "the-anon-key", `"` + otherToken + `"`, phoenix.EventError},
		{"an unknown one", "the-anon-key", `"wrong"`, phoenix.EventSystem},
		{"a service key", "the-anon-key", `"` + rigServiceKey + `"`, phoenix.EventSystem},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, base := frontRig(t, nil)
			asked := make(chan struct{}, 10)
			authorize := g.authorizer.authorize
			g.authorizer.authorize = func(ctx context.Context, c chat.Credential) (*chat.Grant, error) {
				asked <- struct{}{}
				return authorize(ctx, c)
			}
			c := g.realtimeWith(base, phoenix.V2, tt.key)
			ref := c.joinWith(frontTopic, joinWithToken)
			c.answered(frontTopic)
			<-asked
			push(c, ref, tt.token)
			switch tt.then {
			case "":
				if tt.name == "another token of the session" {
					<-asked
				}
				g.publish(1)
				assert.Equal(t, "row-1", c.change(frontTopic))
				assert.Empty(t, asked)
			case phoenix.EventError:
				c.expect(frontTopic, phoenix.EventError)
			default:
				assert.NotEmpty(t, c.closedFor(frontTopic))
			}
			c.quiet()
		})
	}
	t.Run("a stale one beside a good key", func(t *testing.T) {
		g, base := frontRig(t, nil)
		c := g.realtime(base, phoenix.V2)
		ref := c.live(frontTopic, frontBinding)
		asked := make(chan struct{})
		g.authorizer.authorize = func(context.Context, chat.Credential) (*chat.Grant, error) {
			close(asked)
			return nil, chat.RefuseInvalid(nil)
		}
		push(c, ref, `"stale"`)
		<-asked
		g.publish(1)
		assert.Equal(t, "row-1", c.change(frontTopic))
		c.quiet()
	})
}

func TestTokenThatIsLookedAtEndsWithItsChannel(t *testing.T) {
	g, base := frontRig(t, nil)
	c := g.realtimeWith(base, phoenix.V2, "the-anon-key")
	ref := c.joinWith(frontTopic, `{"config":{"postgres_changes":[`+frontBinding+`]},"access_token":"`+rigToken+`"}`)
	c.answered(frontTopic)
	asked := make(chan struct{})
	g.authorizer.authorize = func(ctx context.Context, _ chat.Credential) (*chat.Grant, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.push(ref, frontTopic, phoenix.EventAccessToken, `{"access_token":"new"}`)
	<-asked
	c.drop()
	g.tracked.Wait()
	g.stop()
}

func TestUpgradesThatAreRefused(t *testing.T) {
	g, base := frontRig(t, func(o *transport.Options) { o.ConnectionsPerAddress = 1 })
	get := func(query string, upgrade bool) (int, http.Header) {
		req, err := http.NewRequest(http.MethodGet, base+frontPath+query, nil)
		require.NoError(t, err)
		if upgrade {
			req.Header = http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
			}
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.StatusCode, res.Header
	}
	status, _ := get("", false)
	assert.Equal(t, 400, status)
	status, _ = get("?vsn=3.0.0", true)
	assert.Equal(t, 403, status)
	c := g.realtime(base, phoenix.V2)
	status, header := get("", true)
	assert.Equal(t, 429, status)
	assert.Equal(t, "10", header.Get("Retry-After"))
	c.quiet()
	go g.server.Drain(t.Context())
	code, _, _ := c.closed()
	assert.Equal(t, 1012, code)
	status, _ = get("", true)
	assert.Equal(t, 503, status)
}
