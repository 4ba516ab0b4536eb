package standin

import (
	"context"
	"slices"
)

// Subscription is what one joined channel has asked for.
type Subscription struct {
	Topic    string // with the realtime: prefix
	Role     string
	Private  bool
	Live     bool // "Subscribed to PostgreSQL" has been sent
	Deaf     bool // joined, but changes are withheld by the fault DeafChannels
	Bindings []SubscribedBinding
}

// SubscribedBinding is one postgres_changes entry; ID is the one that the join reply gave.
type SubscribedBinding struct {
	ID                           int
	Event, Schema, Table, Filter string
	Select                       []string
}

// Sockets counts the open sockets.
func (s *Server) Sockets() int {
	s.realtime.mu.Lock()
	defer s.realtime.mu.Unlock()
	return len(s.realtime.sockets)
}

// Subscriptions lists the joined channels of all sockets in order of their joins.
func (s *Server) Subscriptions() []Subscription {
	s.realtime.mu.Lock()
	defer s.realtime.mu.Unlock()
	return s.realtime.subscriptionsLocked()
}

// WaitLive blocks until a service-role channel with a binding of the table is live and not deaf.
func (s *Server) WaitLive(ctx context.Context, table string) error {
	return s.WaitFor(ctx, func(subscriptions []Subscription, _ int) bool {
		return slices.ContainsFunc(subscriptions, func(sub Subscription) bool {
			return sub.Live && !sub.Deaf && sub.Role == roleService && sub.names(table)
		})
	})
}

func (sub Subscription) names(table string) bool {
	return slices.ContainsFunc(sub.Bindings, func(b SubscribedBinding) bool { return b.Table == table || b.Table == "*" })
}

// WaitFor blocks until done, which is called with the joined channels and the number of sockets whenever one of them changed.
// done must not call methods of the server.
func (s *Server) WaitFor(ctx context.Context, done func(subscriptions []Subscription, sockets int) bool) error {
	rt := s.realtime
	for {
		rt.mu.Lock()
		ok, changed := done(rt.subscriptionsLocked(), len(rt.sockets)), rt.changed
		rt.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

func (rt *realtime) subscriptionsLocked() []Subscription {
	list := make([]Subscription, 0, len(rt.channels))
	for _, c := range rt.channels {
		sub := Subscription{Topic: c.topic, Role: c.role, Private: c.private, Live: c.live, Deaf: c.deaf}
		for _, b := range c.bindings {
			sub.Bindings = append(sub.Bindings, SubscribedBinding{
				ID: b.id, Event: b.event, Schema: b.schema, Table: b.table, Filter: b.filter, Select: b.only,
			})
		}
		list = append(list, sub)
	}
	return list
}
