package transport

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/agentopia/realtime-proxy/proxy/chat"
)

// caller is where a request comes from.
type caller struct {
	addr   netip.Addr
	origin string // of the page; "" outside a browser
	host   string
	own    bool // the page is one of the proxy's own
}

// callerOf takes the page from Origin or, as browsers leave that out of what they ask of a page's own host, from Referer.
func (s *Server) callerOf(r *http.Request) caller {
	c := caller{addr: clientAddr(r, s.opts.TrustedProxies), origin: r.Header.Get("Origin"), host: r.Host}
	if c.origin == "" {
		if page, err := url.Parse(r.Referer()); err == nil && page.Host != "" {
			c.origin = page.Scheme + "://" + page.Host
		}
	}
	c.own = s.isOwn(r, c.origin)
	return c
}

// authorize turns what a caller brought into a session, if the caller has not failed too often and the session's link may be used
// from there. What is known to be good is never refused for what others of the same address try. Its errors are *chat.Refusal, or the
// context's.
func (s *Server) authorize(ctx context.Context, from caller, c chat.Credential) (*chat.Grant, error) {
	try := s.tries.of(from.addr)
	c.Address, c.Try = from.addr, try
	g, err := s.opts.Authorizer.Authorize(ctx, c)
	if err != nil {
		ref, ok := errors.AsType[*chat.Refusal](err)
		if ok && ref.Status == http.StatusUnauthorized && !try.begun {
			if over := s.tries.fail(from.addr); over != nil {
				return nil, over
			}
		}
		s.countTurn(err)
		return nil, err
	}
	if err := checkLink(from, g.Visitor); err != nil {
		return nil, err
	}
	return g, nil
}

// checkLink applies the link's own restrictions. A caller without Origin is no browser page, so domains do not concern it; a page
// of the proxy's own is the operator's.
func checkLink(from caller, v *chat.Visitor) error {
	if ref := checkLists(from, v.AllowedDomains, v.AllowedIPs); ref != nil {
		return ref
	}
	return nil
}

// checkLists applies a link's lists of domains and addresses; an empty one allows all.
func checkLists(from caller, domains, addresses []string) *chat.Refusal {
	if len(addresses) > 0 && !inNetworks(from.addr, addresses) {
		return &chat.Refusal{
			Status: http.StatusForbidden, Code: "address_not_allowed", Message: "This link may not be used from here",
			Disconnect: chat.InvalidSession,
		}
	}
	if len(domains) > 0 && from.origin != "" && !from.own && !ofDomains(from.origin, domains) {
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
		if p, err := netip.ParsePrefix(text); err == nil && addr.IsValid() && unmapped(p).Contains(addr) {
			return true
		}
	}
	return false
}

// unmapped is the IPv4 network that an IPv4-mapped IPv6 network stands for, or p.
func unmapped(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4In6() || p.Bits() < 96 {
		return p
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
}
