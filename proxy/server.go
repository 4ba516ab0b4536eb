package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentopia/realtime-proxy/proxy/admin"
	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/proxy/session"
	"github.com/agentopia/realtime-proxy/proxy/transport"
	"github.com/agentopia/realtime-proxy/supabase/functions"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

// Server is the whole proxy.
type Server struct {
	opts Options
	log  *slog.Logger

	rest      *rest.Client
	functions *functions.Client
	feed      *feed.Feed
	sessions  *session.Authorizer
	transport *transport.Server
	admin     *admin.Server
	http      *http.Server
	dialed    *http.Transport // over Supabase.Dial; nil without one

	draining atomic.Bool
}

// New checks the options and builds the parts. Nothing runs before Run; the listeners stay the caller's until then.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Server{opts: o, log: o.Logger.With("component", "proxy")}
	for _, build := range []func() error{s.newClients, s.newSessions, s.newFeed, s.newTransport, s.newPorts} {
		if err := build(); err != nil {
			return nil, fmt.Errorf("new proxy: %w", err)
		}
	}
	return s, nil
}

func (s *Server) newClients() (err error) {
	up := s.opts.Supabase
	var over http.RoundTripper // nil: each client's own
	if up.Dial != nil {
		s.dialed = &http.Transport{DialContext: up.Dial, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
		over = s.dialed
	}
	s.rest, err = rest.New(rest.Options{
		URL: up.URL, Key: up.ServiceRoleKey, Names: s.opts.Names, Timeout: up.RequestTimeout, Transport: over, Logger: s.opts.Logger,
	})
	if err != nil {
		return err
	}
	s.functions, err = functions.New(functions.Options{
		URL: up.URL, Key: up.AnonKey, Timeout: up.FunctionTimeout, Transport: over, Logger: s.opts.Logger,
	})
	return err
}

func (s *Server) newSessions() (err error) {
	s.sessions, err = session.New(s.sessionOptions())
	return err
}

func (s *Server) sessionOptions() session.Options {
	t := s.opts.Session
	return session.Options{
		Store: s.rest,
		Keys:  s.opts.SigningKeys,
		// The hub exists before anybody asks: New ends before Run begins.
		VerifyCursor:       func(v *chat.Visitor, cursor string) bool { return s.feed.Hub().Vouches(v, cursor) },
		CachePositive:      t.CachePositive,
		CacheNegative:      t.CacheNegative,
		AuthorizePerSecond: float64(s.opts.Supabase.AuthorizePerSecond),
		Concurrency:        t.AuthorizeConcurrency,
		TicketLife:         t.TicketLife,
		StreamMaxAge:       s.opts.Stream.MaxAge,
		ConfirmWithin:      t.ConfirmWithin,
		RecheckInterval:    t.RecheckInterval,
		OnEnd:              s.endSession,
		OnChange: func(v *chat.Visitor) {
			s.feed.Hub().UpdateVisitor(v)
			s.transport.LinkChanged(v)
		},
		Metrics: session.NewMetrics(s.opts.Registry),
		Logger:  s.opts.Logger,
	}
}

// endSession closes the streams of a session that is over, could not be confirmed for too long, or has changed.
func (s *Server) endSession(v *chat.Visitor, e session.Ending) {
	last := &chat.Control{Type: "session_ended", At: s.rest.Now(), Data: sessionEnded{
		SessionID: e.SessionID, Status: e.Status, EndReason: e.EndReason, EndedAt: timeOrNil(e.EndedAt),
	}}
	switch {
	case e.Why == chat.SessionChanged:
		last = nil // the stream's own hint to come back
	case e.Why.Reconnect:
		last = &chat.Control{Type: "error", At: s.rest.Now(), Flat: true, Data: streamError{e.Why.Code, e.Why.Message}}
	}
	n := s.feed.Hub().EndSession(v.ConversationID, v.SessionID, e.Why, last)
	if n == 0 {
		return
	}
	s.log.Info("session ended", "session_id", v.SessionID, "reason", e.Why.Code, "status", e.Status,
		"end_reason", e.EndReason, "streams", n)
}

type sessionEnded struct {
	SessionID string     `json:"session_id"`
	Status    string     `json:"status"`
	EndReason string     `json:"end_reason"`
	EndedAt   *time.Time `json:"ended_at"`
}

type streamError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (s *Server) newFeed() (err error) {
	signer, err := chat.NewSigner(s.opts.SigningKeys...)
	if err != nil {
		return err
	}
	t, r := s.opts.Feed, s.opts.Resume
	s.feed, err = feed.New(feed.Options{
		Store: s.rest,
		Hub: chat.Options{
			Rule: s.opts.Rule, Signer: signer, Table: s.messagesTable(), Epoch: rand.Uint64(), Overlap: t.Overlap,
			ResumeWindow: r.Window, WindowEvents: r.WindowEvents, WindowBytes: r.WindowBytes,
			OnVisitorMessage: func(sessionID, clientMessageID, messageID string) {
				s.transport.Observed(sessionID, clientMessageID, messageID)
			},
			Metrics: chat.NewMetrics(s.opts.Registry), Logger: s.opts.Logger,
		},
		Realtime:          s.realtimeOptions(),
		Tables:            s.tables(),
		Control:           s.sessions,
		Beats:             s.rest,
		OnState:           func(state string) { s.transport.SetState(state) },
		PollAfter:         t.PollAfter,
		PollInterval:      t.PollInterval,
		ReconcileInterval: t.ReconcileInterval,
		CatchUpOverlap:    t.CatchUpOverlap,
		Registerer:        s.opts.Registry,
		Logger:            s.opts.Logger,
	})
	return err
}

func (s *Server) newTransport() (err error) {
	s.transport, err = transport.New(s.transportOptions())
	return err
}

func (s *Server) transportOptions() transport.Options {
	l := s.opts.Limits
	return transport.Options{
		Authorizer: s.sessions, Backfiller: s.feed, Functions: functionCaller{s.functions}, Store: messageStore{s.rest},
		Hub: s.feed.Hub(), Track: s.sessions.Track, Now: s.rest.Now, Reached: s.rest.Reached, Links: s.sessions, LinkTurns: s.sessions,
		Endings:        sessionEndings{s.rest, s.sessions, s.log},
		AllowedOrigins: s.opts.AllowedOrigins, OwnPages: s.opts.Pages, TrustedProxies: s.opts.TrustedProxies,
		Table: s.messagesTable(), AnonKey: chat.Token(s.opts.Supabase.AnonKey), ServiceKey: chat.Token(s.opts.Supabase.ServiceRoleKey),
		SendVia: s.opts.SendVia, MaxMessageLength: l.MessageMaxLength, HistoryMax: l.HistoryMax,
		FrameBytes: l.FrameBytes, RealtimeBytes: l.RealtimeFrameBytes, BodyBytes: l.BodyBytes,
		QueueBytes: l.QueueBytes, QueueEvents: l.QueueEvents,
		FramesPerSecond: l.FramesPerSecond, BroadcastsPerSecond: l.BroadcastsPerSecond, CallsPerSecond: l.CallsPerSecond, ResumeWindow: s.opts.Resume.Window,
		AuthenticateTimeout: l.AuthenticateTimeout, WriteTimeout: l.WriteTimeout,
		KeepAlive: s.opts.Stream.KeepAlive, Retry: s.opts.Stream.Retry, MaxAge: s.opts.Stream.MaxAge,
		DrainPeriod: s.opts.Drain.Period, DrainMax: s.opts.Drain.Max, FunctionTimeout: s.opts.Supabase.FunctionTimeout,
		ConnectionsPerSession: l.ConnectionsPerSession, ConnectionsPerAddress: l.ConnectionsPerAddress,
		Connections: l.Connections, NewConnectionsPerSecond: l.NewConnectionsPerSecond, MessagesPerMinute: l.MessagesPerMinute, FailedTokensPerMinute: l.FailedTokensPerMinute,
		Registerer: s.opts.Registry, Logger: s.opts.Logger,
	}
}

func (s *Server) newPorts() (err error) {
	s.admin, err = admin.New(admin.Options{
		Listener: s.opts.AdminListener, Registry: s.opts.Registry, Ready: s.ready, PProf: s.opts.PProf, Logger: s.opts.Logger,
	})
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: s.opts.Limits.HeaderTimeout,
		IdleTimeout:       2 * time.Minute,
		// OPTIONS * goes through the handler as everything does: the server's own answer would wait for a body without a deadline.
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               s.opts.Limits.HeaderBytes,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	newWaiting(s.opts.Limits.WaitingConnections, s.opts.Registry).watch(s.http)
	return err
}

// ready says whether visitors can be served; the text is safe to show.
func (s *Server) ready() error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	return s.feed.Ready()
}

// Run serves until ctx ends, drains, and returns when everything has ended.
func (s *Server) Run(ctx context.Context) error {
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(base)
	for _, run := range []func(context.Context) error{s.feed.Run, s.sessions.Run, s.transport.Run, s.admin.Run, s.serveHTTP} {
		g.Go(func() error { return run(gctx) })
	}
	g.Go(func() error { s.probe(gctx); return nil })
	select {
	case <-ctx.Done():
		s.drain(base)
		stop()
	case <-gctx.Done():
	}
	err := g.Wait()
	s.rest.Close()
	s.functions.Close()
	if s.dialed != nil {
		s.dialed.CloseIdleConnections()
	}
	return err
}

// drain tells visitors to come back and lets sends finish.
func (s *Server) drain(base context.Context) {
	s.draining.Store(true)
	s.log.Info("draining")
	ctx, cancel := context.WithTimeout(base, s.opts.Drain.Period+s.opts.Drain.Max)
	defer cancel()
	s.transport.Drain(ctx)
	s.log.Info("drained")
}

// serveHTTP serves the visitors' port. Hijacked streams are transport's, whose Run ends them.
func (s *Server) serveHTTP(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.opts.Listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve visitors: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.http.Shutdown(stop); err != nil {
		_ = s.http.Close() // what did not finish in time is cut
	}
	<-served // http.ErrServerClosed
	return nil
}
