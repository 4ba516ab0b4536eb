package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"text/template"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/config"
	"github.com/agentopia/realtime-proxy/proxy"
	"github.com/agentopia/realtime-proxy/supabase/standin"
)

const (
	devListen      = "127.0.0.1:8080"
	devAdminListen = "127.0.0.1:8081"
	devUpstream    = "127.0.0.1:54421" // not 54321, where `supabase start` listens
	devAgentDelay  = 900 * time.Millisecond
	portsTried     = 50
)

func newDevCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Show the proxy at work with a Supabase-shaped server of its own; needs nothing else",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(config.LoadOptions{Flags: cmd.Flags(), Dev: true})
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("log-level") && c.Log.Level == config.Default().Log.Level {
				c.Log.Level = "warn" // the banner is what a newcomer should read
			}
			return dev(cmd.Context(), c, cmd.OutOrStdout(), newLogger(cmd.ErrOrStderr(), c.Log))
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

// dev runs the stand-in and the proxy until ctx ends and the drain is over.
func dev(ctx context.Context, c *config.Config, out io.Writer, log *slog.Logger) error {
	upstream, fixture, err := newDevUpstream(log)
	if err != nil {
		return err
	}
	defer upstream.Close()
	l, err := devListeners(ctx, c)
	if err != nil {
		return err
	}
	defer l.close()
	c.Supabase.URL = "http://" + l.upstream.Addr().String()
	c.Supabase.ServiceRoleKey = config.Secret(upstream.ServiceKey())
	c.Supabase.AnonKey = config.Secret(upstream.AnonKey())
	c.CORS.AllowedOrigins = []string{"*"}
	c.Chat.Page = true
	o, err := proxyOptions(c, l.visitors, l.operator, log)
	if err != nil {
		return err
	}
	p, err := proxy.New(o)
	if err != nil {
		return err
	}

	// The stand-in outlives the proxy, which drains against it.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error { return serveUpstream(serving, upstream, l.upstream) })
	g.Go(func() error {
		defer stopServing()
		return p.Run(ctx)
	})
	if err := printBanner(out, l, fixture); err != nil {
		stopServing()
		return errors.Join(err, g.Wait())
	}
	return g.Wait()
}

// newDevUpstream makes the stand-in with an agent, a link, a session and a greeting.
func newDevUpstream(log *slog.Logger) (*standin.Server, *standin.Fixture, error) {
	s, err := standin.New(standin.Options{AgentDelay: devAgentDelay, Logger: log.With("component", "standin")})
	if err != nil {
		return nil, nil, err
	}
	fixture, err := s.Seed()
	if err == nil {
		greeting := fixture.Rows["m01"]
		delete(greeting, "created_at")
		_, err = s.DB().Insert(standin.TableMessages, greeting)
	}
	if err != nil {
		s.Close()
		return nil, nil, fmt.Errorf("seed the stand-in: %w", err)
	}
	return s, fixture, nil
}

func serveUpstream(ctx context.Context, s *standin.Server, l net.Listener) error {
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the stand-in: %w", err)
	case <-ctx.Done():
	}
	s.Close()
	err := server.Close()
	<-served // http.ErrServerClosed
	return err
}

// listeners are the three ports of dev.
type listeners struct{ visitors, operator, upstream net.Listener }

func (l *listeners) close() {
	for _, x := range []net.Listener{l.visitors, l.operator, l.upstream} {
		if x != nil {
			_ = x.Close() // closed already when it was served
		}
	}
}

func devListeners(ctx context.Context, c *config.Config) (l *listeners, err error) {
	l = &listeners{}
	def := config.Default()
	for _, want := range []struct {
		to        *net.Listener
		addr, std string
		own       string
	}{
		{&l.visitors, c.Listen, def.Listen, devListen},
		{&l.operator, c.Admin.Listen, def.Admin.Listen, devAdminListen},
		{&l.upstream, "", "", devUpstream},
	} {
		addr := want.addr
		if addr == want.std {
			addr = want.own // loopback only: what dev prints is no secret
		}
		if *want.to, err = listenNear(ctx, addr); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// listenNear takes the address, or the next free port when that one is taken.
func listenNear(ctx context.Context, addr string) (net.Listener, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	for i := range portsTried {
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
		if !errors.Is(err, syscall.EADDRINUSE) || port == 0 {
			return l, err
		}
	}
	return nil, fmt.Errorf("listen on %s: it and the %d ports after it are taken", addr, portsTried-1)
}

var banner = template.Must(template.New("banner").Parse(`
realtime-proxy is running with a stand-in for Supabase. Nothing leaves this machine.

  Open this in two tabs and write something:
    http://{{.Visitors}}/chat#token={{.Token}}

  Watch the same conversation as an event stream:
    curl -N "http://{{.Visitors}}/temporary-chat-events?session_token={{.Token}}"

  Say something into it:
    curl "http://{{.Visitors}}/temporary-chat-handler" -H "Content-Type: application/json" -d '{"session_token":"{{.Token}}","message":"Hello from curl"}'

  Poll it:
    curl "http://{{.Visitors}}/temporary-chat-messages?session_token={{.Token}}"

  Over a WebSocket:
    npx wscat -c "ws://{{.Visitors}}/temporary-chat-websocket?session_token={{.Token}}"
    then type {"type":"message","content":"Hello from a WebSocket"}

  Health and metrics: http://{{.Operator}}/readyz  http://{{.Operator}}/metrics
  The stand-in:       http://{{.Upstream}}

Ctrl-C stops.
`))

func printBanner(out io.Writer, l *listeners, f *standin.Fixture) error {
	return banner.Execute(out, map[string]string{
		"Visitors": l.visitors.Addr().String(), "Operator": l.operator.Addr().String(),
		"Upstream": l.upstream.Addr().String(), "Token": f.Visitor.Token,
	})
}
