package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/agentopia/realtime-proxy/config"
	"github.com/agentopia/realtime-proxy/proxy"
)

func newServeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve visitors of a Supabase project",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(config.LoadOptions{Flags: cmd.Flags()})
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, newLogger(cmd.ErrOrStderr(), c.Log))
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q; see realtime-proxy --help", args[0])}
	}
	return nil
}

// serve runs the proxy with a configuration until ctx ends and the drain is over.
func serve(ctx context.Context, c *config.Config, log *slog.Logger) error {
	var lc net.ListenConfig
	visitors, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen for visitors: %w", err)
	}
	defer visitors.Close()
	operator, err := lc.Listen(ctx, "tcp", c.Admin.Listen)
	if err != nil {
		return fmt.Errorf("listen for the operator: %w", err)
	}
	defer operator.Close()
	o, err := proxyOptions(c, visitors, operator, log)
	if err != nil {
		return err
	}
	p, err := proxy.New(o)
	if err != nil {
		return err
	}
	log.Info("serving", "version", version(), "listen", visitors.Addr().String(), "admin", operator.Addr().String(),
		"supabase", c.Supabase.URL, "visibility", c.Chat.Visibility, "send_via", c.Chat.SendVia)
	return p.Run(ctx)
}
