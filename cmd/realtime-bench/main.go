// Command realtime-bench measures a built realtime-proxy on this machine: it starts a Supabase-shaped server of its own and the proxy as
// a child process, both on loopback, plays a scenario and prints what it saw. Everything that it starts ends with it.
//
// Exit status: 0 when the proxy kept its promises, 1 when it broke one or the scenario could not be played, 2 when the command line is
// wrong. Times are printed and never judged, because the machine has a part in them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// garbagePercent has this program, which allocates little that lives, collect garbage rarely: its own pauses would be measured as the proxy's.
const garbagePercent = 400

func main() {
	debug.SetGCPercent(garbagePercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "realtime-bench:", err)
		os.Exit(exitStatus(err))
	}
}

// usageError marks a wrong command line.
type usageError struct{ error }

func exitStatus(err error) int {
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "realtime-bench",
		Short:         "Measure realtime-proxy on this machine",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newAttackCommand(), newHostileCommand())
	return root
}

func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q; see realtime-bench --help", args[0])}
	}
	return nil
}
