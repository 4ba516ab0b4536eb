package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// hostileNice is the niceness of the hostile crowd. In the world attackers bring their own processors; here they get what the proxy and
// those who measure it leave over, and never more than one; the report tells how many requests that was enough for.
const hostileNice = "19"

// newHostileCommand is the hostile crowd as a process, which attack starts: it plays all attacks for a while and prints the outcomes as
// JSON.
func newHostileCommand() *cobra.Command {
	var target string
	var bad, addresses, seconds int
	cmd := &cobra.Command{
		Use:    "hostile",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := inRange([]numberFlag{{"bad", bad, 100_000}, {"hostile-addresses", addresses, 60_000}, {"seconds", seconds, 3600}}); err != nil {
				return err
			}
			sources := newSources(hostileNetwork, addresses)
			defer closeIdle(sources)
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Duration(seconds)*time.Second)
			defer cancel()
			return json.NewEncoder(cmd.OutOrStdout()).Encode(assault(ctx, target, sources, attacks(bad)))
		},
	}
	f := cmd.Flags()
	f.StringVar(&target, "target", "", "host:port of the proxy")
	f.IntVar(&bad, "bad", 1, "requests with bad tokens a second")
	f.IntVar(&addresses, "hostile-addresses", 1, "addresses")
	f.IntVar(&seconds, "seconds", 1, "how long attacks begin")
	return cmd
}

// assaultFrom plays the attacks from a process of its own and returns when the last has been answered.
func (o *attackOptions) assaultFrom(ctx context.Context, target string) (all []*outcomes, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	args := []string{
		self, "hostile", "--target=" + target, "--bad=" + strconv.Itoa(o.bad),
		"--hostile-addresses=" + strconv.Itoa(o.hostileAddresses), "--seconds=" + strconv.Itoa(o.seconds),
	}
	if nice, err := exec.LookPath("nice"); err == nil {
		args = append([]string{nice, "-n", hostileNice}, args...)
	}
	var complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = &complaints
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attack from a process: %w: %s", err, complaints.Bytes()), ctx.Err())
	}
	return all, nil
}

// rate is how many answers an attack had a second.
func (o *outcomes) rate(seconds int) float64 {
	n := 0
	for _, seen := range o.Seen {
		n += seen
	}
	return float64(n) / float64(seconds)
}
