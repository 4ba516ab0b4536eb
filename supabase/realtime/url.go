package realtime

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/agentopia/realtime-proxy/supabase/phoenix"
)

var webSocketSchemes = map[string]string{"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

// endpoint returns the address of the socket, key included. Its errors do not repeat the URL.
func endpoint(base, key string, v phoenix.Version) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("url: %w", err)
	}
	scheme, ok := webSocketSchemes[u.Scheme]
	switch {
	case !ok:
		return nil, errors.New("url: scheme is not http, https, ws or wss")
	case u.Host == "":
		return nil, errors.New("url: no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("url: user, query or fragment given")
	}
	u.Scheme = scheme
	u = u.JoinPath("realtime/v1/websocket")
	u.RawQuery = url.Values{"apikey": {key}, "vsn": {string(v)}}.Encode()
	return u, nil
}

// isJWT reports whether key has the form of a JSON Web Token; opaque keys are swapped for one by the gateway.
func isJWT(key string) bool {
	return strings.HasPrefix(key, "eyJ") && strings.Count(key, ".") == 2
}
