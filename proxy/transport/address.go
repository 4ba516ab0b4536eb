package transport

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// ticketPrefix begins every ticket, so that a bearer value can be told from a token.
const ticketPrefix = "t1."

// clientAddr returns where a request comes from: the socket's peer, or, when that is a trusted proxy, the right-most address of
// X-Forwarded-For that is not one, or else CF-Connecting-IP. It is invalid when the socket has no IP address.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer := socketAddr(r.RemoteAddr)
	if !isTrusted(peer, trusted) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := parseAddr(hops[i])
		if !hop.IsValid() {
			break // what stands further left was not written by somebody we trust
		}
		if !isTrusted(hop, trusted) {
			return hop
		}
	}
	if r.Header.Get("X-Forwarded-For") == "" {
		if addr := parseAddr(r.Header.Get("CF-Connecting-IP")); addr.IsValid() {
			return addr
		}
	}
	return peer
}

func socketAddr(text string) netip.Addr {
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// parseAddr takes an address with or without a port, as forwarding headers carry it.
func parseAddr(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return addr.Unmap().WithZone("")
	}
	return socketAddr(text)
}

func isTrusted(addr netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if addr.IsValid() && p.Contains(addr) {
			return true
		}
	}
	return false
}

// credentialFrom reads what a request brings: session_token or ticket of the query, or a bearer value; Last-Event-ID beats the
// query's cursor. Address is left to the caller. A path that gets other people's Authorization headers must not use it.
func credentialFrom(r *http.Request) chat.Credential {
	q := r.URL.Query()
	c := chat.Credential{
		Token:  chat.Token(strings.TrimSpace(q.Get("session_token"))),
		Ticket: chat.Token(strings.TrimSpace(q.Get("ticket"))),
		Cursor: q.Get("cursor"),
	}
	if c.Token == "" && c.Ticket == "" {
		c.Token, c.Ticket = bearer(r.Header.Get("Authorization"))
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		c.Cursor = id
	}
	if len(c.Cursor) > chat.MaxCursorBytes {
		c.Cursor = ""
	}
	return c
}

// bearer splits the value of an Authorization header into a token or a ticket.
func bearer(header string) (token, ticket chat.Token) {
	scheme, value, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", ""
	}
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, ticketPrefix) {
		return "", chat.Token(value)
	}
	return chat.Token(value), ""
}

// hasCredential reports whether anything was brought at all.
func hasCredential(c chat.Credential) bool { return c.Token != "" || c.Ticket != "" }
