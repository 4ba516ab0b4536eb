package transport

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// caller is where a request comes from.
type caller struct {
	addr   netip.Addr
	origin string // "" outside a browser
	host   string
}

func (s *Server) callerOf(r *http.Request) caller {
	return caller{addr: clientAddr(r, s.opts.TrustedProxies), origin: r.Header.Get("Origin"), host: r.Host}
}

// authorize turns what a caller brought into a session, if the caller has not failed too often and the session's link may be used
// from there. Its errors are *chat.Refusal, or the context's.
func (s *Server) authorize(ctx context.Context, from caller, c chat.Credential) (*chat.Grant, error) {
	if ref := s.limits.mayTry(from.addr); ref != nil {
		return nil, ref
	}
	c.Address = from.addr
	g, err := s.opts.Authorizer.Authorize(ctx, c)
	if err != nil {
		if ref, ok := errors.AsType[*chat.Refusal](err); ok && ref.Status == http.StatusUnauthorized {
			s.limits.failed(from.addr)
		}
		return nil, err
	}
	if err := checkLink(from, g.Visitor); err != nil {
		return nil, err
	}
	return g, nil
}

// checkLink applies the link's own restrictions. A caller without Origin is no browser page, so domains do not concern it; a page
// of the proxy's own host is the operator's.
func checkLink(from caller, v *chat.Visitor) error {
	if len(v.AllowedIPs) > 0 && !inNetworks(from.addr, v.AllowedIPs) {
		return &chat.Refusal{
			Status: http.StatusForbidden, Code: "address_not_allowed", Message: "This link may not be used from here",
			Disconnect: chat.InvalidSession,
		}
	}
	if len(v.AllowedDomains) > 0 && from.origin != "" && !sameHost(from.origin, from.host) &&
		!ofDomains(from.origin, v.AllowedDomains) {
		return refuseOrigin()
	}
	return nil
}

// inNetworks takes the texts of PostgreSQL's inet: an address, or a network. What cannot be read matches nobody.
func inNetworks(addr netip.Addr, networks []string) bool {
	for _, text := range networks {
		text = strings.TrimSpace(text)
		if one, err := netip.ParseAddr(text); err == nil && one.Unmap() == addr {
			return true
		}
		if p, err := netip.ParsePrefix(text); err == nil && addr.IsValid() && p.Contains(addr) {
			return true
		}
	}
	return false
}
