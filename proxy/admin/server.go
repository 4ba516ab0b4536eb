package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	shutdownWithin = 5 * time.Second
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 16 << 10

	writeTimeout      = 15 * time.Second
	pprofWriteTimeout = 150 * time.Second // a profile is written only after it has been taken
)

// Options configure a Server. Listen or Listener, and Registry, are required.
type Options struct {
	Listen   string       // host:port
	Listener net.Listener // used instead of Listen if set; Run closes it
	Registry *prometheus.Registry
	Ready    func() error // nil error or nil func: ready; the error's text is shown to the caller
	Status   func() any   // marshalled as /status; nil: no such path
	PProf    bool         // serve /debug/pprof/
	Logger   *slog.Logger // nil: log nothing
}

// Server serves the operator's port.
type Server struct {
	opts    Options
	log     *slog.Logger
	handler http.Handler
}

// New checks the options.
func New(opts Options) (*Server, error) {
	if opts.Registry == nil {
		return nil, errors.New("admin: no metrics registry")
	}
	if opts.Listener == nil {
		if _, _, err := net.SplitHostPort(opts.Listen); err != nil {
			return nil, fmt.Errorf("admin: listen address: %w", err)
		}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opts: opts, log: opts.Logger.With("component", "admin")}
	s.handler = s.routes()
	return s, nil
}

// Handler returns the routes.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves until ctx ends, which gives nil; any other end gives an error. Requests under way at the end see their
// context cancelled and have 5 s to finish.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return err
	}
	server := s.server(ctx, listener)
	s.log.Info("admin port open", "address", listener.Addr().String())

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve admin port: %w", err)
	case <-ctx.Done():
	}
	err = shutdown(server)
	<-served // http.ErrServerClosed
	return err
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if s.opts.Listener != nil {
		return s.opts.Listener, nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", s.opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("open admin port: %w", err)
	}
	return listener, nil
}

func (s *Server) server(ctx context.Context, listener net.Listener) *http.Server {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	if s.opts.PProf {
		server.WriteTimeout = pprofWriteTimeout
	}
	if isLoopback(listener.Addr()) {
		server.Handler = localOnly(s.handler)
	}
	return server
}

// shutdown waits for requests under way and cuts those that take too long.
func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut admin port: %w", err), server.Close())
	}
	return nil
}
