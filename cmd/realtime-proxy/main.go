// Command realtime-proxy serves temporary chat links: it holds service-role Realtime channels to Supabase and forwards to each
// anonymous visitor the messages that their session may see.
//
// Exit status: 0 after a clean stop, 1 when something failed, 2 when the configuration or the command line is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agentopia/realtime-proxy/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal kills at once: the first has already started the drain.
	context.AfterFunc(ctx, stop)
	reserve := newReserve()
	defer runtime.KeepAlive(reserve)
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "realtime-proxy:", err)
		os.Exit(exitStatus(err))
	}
}

// usageError marks a wrong command line.
type usageError struct{ error }

func exitStatus(err error) int {
	var usage usageError
	var conf *config.Error
	if errors.As(err, &usage) || errors.As(err, &conf) {
		return 2
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "realtime-proxy",
		Short:         "Supabase Realtime for visitors without an account",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newServeCommand(), newDevCommand(), newHealthCommand())
	return root
}
