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
	watchEvery = time.Second
)

// errBroken says that the proxy broke a promise; the report tells which.
var errBroken = errors.New("the proxy broke a promise")

// attackOptions are the flags of attack.
type attackOptions struct {
	healthy, addresses        int
	bad, hostileAddresses     int
	rounds, seconds           int
	authorizations, memoryMiB int
	proxy                     string
	json                      bool

	env []string // further settings of the proxy
}

func newAttackCommand() *cobra.Command {
	var o attackOptions
	cmd := &cobra.Command{
		Use:   "attack",
		Short: "Attack a proxy with default limits while healthy visitors chat, and compare with calm phases between",
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
	f.IntVar(&o.rounds, "rounds", 6, "rounds of a calm and an attacked phase")
	f.IntVar(&o.seconds, "seconds", 10, "length of each phase")
	f.IntVar(&o.authorizations, "authorizations", 20, "most authorisations a second that Supabase may see")
	f.IntVar(&o.memoryMiB, "memory", 128, "most MiB of resident memory that the attack may add")
	f.StringVar(&o.proxy, "proxy", "", "path of a built realtime-proxy; by default it is built from the working directory's module")
	f.StringArrayVar(&o.env, "env", nil, "a setting of the proxy that is not the default, as PROXY_NAME=value; may be given again")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return cmd
}

func (o *attackOptions) check() error {
	return inRange([]numberFlag{
		{"healthy", o.healthy, 20_000}, {"addresses", o.addresses, 60_000}, {"bad", o.bad, 100_000},
		{"hostile-addresses", o.hostileAddresses, 60_000}, {"rounds", o.rounds, 1000}, {"seconds", o.seconds, 3600},
		{"authorizations", o.authorizations, 1000}, {"memory", o.memoryMiB, 1 << 20},
	})
}

// numberFlag is a flag that takes from 1 to most.
type numberFlag struct {
	name        string
	value, most int
}

func inRange(flags []numberFlag) error {
	for _, f := range flags {
		if f.value < 1 || f.value > f.most {
			return usageError{fmt.Errorf("--%s is %d, needs to be from 1 to %d", f.name, f.value, f.most)}
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
	if r, err = o.measure(ctx, proxy, up, progress); err != nil {
		fmt.Fprintf(progress, "what the proxy logged above level info:\n%s\n", proxy.tail())
	}
	return r, err
}

// measure has the same visitors chat in peace and under attack, turn by turn, so that what else happens to the machine meets both alike.
func (o *attackOptions) measure(ctx context.Context, proxy *child, up *upstream, progress io.Writer) (*report, error) {
	say := func(format string, args ...any) { fmt.Fprintf(progress, format+"\n", args...) }
	healthy := newSources(healthyNetwork, o.addresses)
	defer closeIdle(healthy)
	say("%d visitors come from %d addresses", o.healthy, o.addresses)
	c, err := newCrowd(ctx, up, proxy.visitors, healthy, o.healthy)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	r := &report{options: o, calm: &phase{}, attacked: &phase{}}
	for n := range o.rounds {
		say("round %d of %d", n+1, o.rounds)
		if err := o.round(ctx, proxy, up, c, r); err != nil {
			return nil, err
		}
	}
	closeIdle(healthy)
	if r.After, err = recovered(ctx, up, proxy.admin, r.Before); err != nil {
		return nil, err
	}
	r.judge()
	return r, ctx.Err()
}

// round adds a calm and an attacked phase to the report.
func (o *attackOptions) round(ctx context.Context, proxy *child, up *upstream, c *crowd, r *report) error {
	length := time.Duration(o.seconds) * time.Second
	calm, _, err := watched(ctx, proxy, up, c, length)
	if err != nil {
		return err
	}
	r.calm.add(calm)
	closeIdle(c.sources)
	before, err := up.footprint(ctx, proxy.admin)
	if err != nil {
		return err
	}
	if r.Before == (footprint{}) {
		r.Before = before
	}
	from := time.Now()
	attacked, most, all, err := o.underAttack(ctx, proxy, up, c, length)
	if err != nil {
		return err
	}
	r.attacked.add(attacked)
	r.Peak = r.Peak.orMore(most)
	r.AddedBytes = max(r.AddedBytes, most.ResidentBytes-before.ResidentBytes)
	r.Outcomes = merged(r.Outcomes, all)
	sessions, links := up.asked()
	r.Authorizations.add(sessions, from, length, o.rounds)
	r.Links.add(links, from, length, o.rounds)
	return nil
}

// underAttack has the crowd chat while the attacks are played.
func (o *attackOptions) underAttack(
	ctx context.Context, proxy *child, up *upstream, c *crowd, length time.Duration,
) (p *phase, most footprint, all []*outcomes, err error) {
	var g errgroup.Group
	g.Go(func() (err error) { all, err = o.assaultFrom(ctx, proxy.visitors); return err })
	p, most, err = watched(ctx, proxy, up, c, length)
	return p, most, all, errors.Join(err, g.Wait())
}

// watched has the crowd chat and tells the most that the proxy used meanwhile. Looking costs both kinds of phases the same.
func watched(ctx context.Context, proxy *child, up *upstream, c *crowd, length time.Duration) (p *phase, most footprint, err error) {
	watching, end := context.WithCancel(ctx)
	defer end()
	var g errgroup.Group
	g.Go(func() (err error) { most, err = peak(watching, up, proxy.admin); return err })
	before := processors()
	p, err = c.chat(ctx, length)
	end()
	if p != nil {
		p.used = processors().since(before)
	}
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
