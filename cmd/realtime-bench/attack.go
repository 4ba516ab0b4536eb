package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const (
	// The second bytes of the addresses in 127.0.0.0/8 from which the healthy and the hostile come.
	healthyNetwork, hostileNetwork = 1, 66
	// recoverTimeout bounds the wait for goroutines and descriptors to be given back.
	recoverTimeout = 30 * time.Second
	// watchEvery is the time between two looks at the proxy's memory.
	watchEvery = 250 * time.Millisecond
)

// errBroken says that the proxy broke a promise; the report tells which.
var errBroken = errors.New("the proxy broke a promise")

// attackOptions are the flags of attack.
type attackOptions struct {
	healthy, addresses        int
	bad, hostileAddresses     int
	seconds                   int
	authorizations, memoryMiB int
	proxy                     string
	json                      bool

	env []string // further settings of the proxy
}

func newAttackCommand() *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "Attack a proxy with default limits while healthy visitors chat, and compare with a calm phase before",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.healthy, "healthy", 500, "healthy visitors")
	f.IntVar(&o.addresses, "addresses", 20, "addresses of the healthy visitors, each good for 50 connections")
	f.IntVar(&o.bad, "bad", 2000, "requests with bad tokens a second")
	f.IntVar(&o.hostileAddresses, "hostile-addresses", 400, "addresses of the hostile visitors")
	f.IntVar(&o.seconds, "seconds", 20, "length of each phase")
	f.IntVar(&o.authorizations, "authorizations", 20, "most authorisations a second that Supabase may see")
	f.IntVar(&o.memoryMiB, "memory", 128, "most MiB of resident memory that the attack may add")
	f.StringVar(&o.proxy, "proxy", "", "path of a built realtime-proxy; by default it is built from the working directory's module")
	f.StringArrayVar(&o.env, "env", nil, "a setting of the proxy that is not the default, as PROXY_NAME=value; may be given again")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return cmd
}

func (o *attackOptions) check() error {
	for _, n := range []struct {
		flag              string
		value, least, top int
	}{
		{"healthy", o.healthy, 1, 20_000}, {"addresses", o.addresses, 1, 60_000}, {"bad", o.bad, 1, 100_000},
		{"hostile-addresses", o.hostileAddresses, 1, 60_000}, {"seconds", o.seconds, 1, 3600},
		{"authorizations", o.authorizations, 1, 1000}, {"memory", o.memoryMiB, 1, 1 << 20},
	} {
		if n.value < n.least || n.value > n.top {
			return usageError{fmt.Errorf("--%s is %d, needs to be from %d to %d", n.flag, n.value, n.least, n.top)}
		}
	}
	return nil
}

// run plays the scenario and prints the report. It returns errBroken when a promise was broken.
func (o *attackOptions) run(ctx context.Context, out, progress io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	r, err := o.play(ctx, progress)
	if err != nil {
		return err
	}
	if err := r.print(out, o.json); err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	if len(r.Broken) > 0 {
		return errBroken
	}
	return nil
}

// play starts everything, measures and stops everything.
func (o *attackOptions) play(ctx context.Context, progress io.Writer) (r *report, err error) {
	dir, err := os.MkdirTemp("", "realtime-bench")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	defer os.RemoveAll(dir)
	binary := o.proxy
	if binary == "" {
		if binary, err = buildProxy(ctx, dir); err != nil {
			return nil, err
		}
	}
	up, err := newUpstream(ctx)
	if err != nil {
		return nil, err
	}
	defer up.close()
	proxy, err := startProxy(ctx, binary, dir, up, o.env)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proxy.stop()) }()
	if r, err = o.measure(ctx, proxy, binary, dir, up, progress); err != nil {
		fmt.Fprintf(progress, "what the proxy logged above level info:\n%s\n", proxy.tail())
	}
	return r, err
}

// measure has three phases with the same visitors: nobody is attacked, then another proxy on the machine, then theirs. The second shows what
// the load of an attack does to the machine, whoever it is aimed at.
func (o *attackOptions) measure(ctx context.Context, proxy *child, binary, dir string, up *upstream, progress io.Writer) (*report, error) {
	say := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	healthy := newSources(healthyNetwork, o.addresses)
	defer closeIdle(healthy)
	say("%d visitors come from %d addresses", o.healthy, o.addresses)
	c, err := newCrowd(ctx, up, proxy.visitors, healthy, o.healthy)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	length := time.Duration(o.seconds) * time.Second
	r := &report{options: o}
	say("calm phase, %s", length)
	if r.calm, _, err = watched(ctx, proxy, up, c, length); err != nil {
		return nil, err
	}
	say("neighbour attacked, %s", length)
	if r.neighbour, err = o.besideAttack(ctx, proxy, binary, dir, up, c, length); err != nil {
		return nil, err
	}
	closeIdle(healthy)
	if r.Before, err = up.footprint(ctx, proxy.admin); err != nil {
		return nil, err
	}
	say("attacked phase, %s", length)
	from := time.Now()
	if r.attacked, r.Peak, r.Outcomes, err = o.underAttack(ctx, proxy.visitors, proxy, up, c, length); err != nil {
		return nil, err
	}
	r.Authorizations.Mean, r.Authorizations.Most = up.authorizations(from, from.Add(length))
	say("the attack is over")
	closeIdle(healthy)
	if r.After, err = recovered(ctx, up, proxy.admin, r.Before); err != nil {
		return nil, err
	}
	r.judge()
	return r, ctx.Err()
}

// besideAttack has the crowd chat while another proxy, with an upstream of its own, is attacked.
func (o *attackOptions) besideAttack(
	ctx context.Context, proxy *child, binary, dir string, up *upstream, c *crowd, length time.Duration,
) (p *phase, err error) {
	elsewhere, err := newUpstream(ctx)
	if err != nil {
		return nil, err
	}
	defer elsewhere.close()
	neighbour, err := startProxy(ctx, binary, dir, elsewhere, o.env)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, neighbour.stop()) }()
	p, _, _, err = o.underAttack(ctx, neighbour.visitors, proxy, up, c, length)
	return p, err
}

// underAttack has the crowd chat while the attacks are played against a target.
func (o *attackOptions) underAttack(
	ctx context.Context, target string, proxy *child, up *upstream, c *crowd, length time.Duration,
) (p *phase, most footprint, all []*outcomes, err error) {
	var g errgroup.Group
	g.Go(func() (err error) { all, err = o.assaultFrom(ctx, target); return err })
	p, most, err = watched(ctx, proxy, up, c, length)
	return p, most, all, errors.Join(err, g.Wait())
}

// watched has the crowd chat and tells the most that the proxy used meanwhile. Looking costs both phases the same.
func watched(ctx context.Context, proxy *child, up *upstream, c *crowd, length time.Duration) (p *phase, most footprint, err error) {
	watching, end := context.WithCancel(ctx)
	defer end()
	var g errgroup.Group
	g.Go(func() (err error) { most, err = peak(watching, up, proxy.admin); return err })
	p, err = c.chat(ctx, length)
	end()
	return p, most, errors.Join(err, g.Wait())
}

// peak is the most that the proxy used until ctx ended.
func peak(ctx context.Context, up *upstream, admin string) (most footprint, err error) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		f, err := up.footprint(ctx, admin)
		if ctx.Err() != nil {
			return most, nil
		}
		if err != nil {
			return most, err
		}
		most = most.orMore(f)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return most, nil
		}
	}
}

// recovered waits until goroutines and descriptors are as few as before, and returns the last look.
func recovered(ctx context.Context, up *upstream, admin string, before footprint) (f footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		last, err := up.footprint(ctx, admin)
		if err != nil && ctx.Err() == nil {
			return f, err
		}
		if err == nil {
			f = last
		}
		if ctx.Err() != nil || f.within(before) {
			return f, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return f, nil
		}
	}
}
