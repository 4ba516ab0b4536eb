package proxy

import (
	"context"
	"time"

	"github.com/agentopia/realtime-proxy/proxy/chat"
	"github.com/agentopia/realtime-proxy/proxy/feed"
	"github.com/agentopia/realtime-proxy/supabase/realtime"
	"github.com/agentopia/realtime-proxy/supabase/rest"
)

func (s *Server) realtimeOptions() realtime.Options {
	t, up := s.opts.Feed, s.opts.Supabase
	return realtime.Options{
		URL: up.URL, Key: up.ServiceRoleKey, Version: up.RealtimeVersion,
		Heartbeat: t.Heartbeat, MaxAge: t.SocketMaxAge, UnpublishedRetry: t.UnpublishedRetry, NetDial: up.Dial,
	}
}

func (s *Server) tables() feed.Tables {
	n := s.opts.Names
	def := rest.DefaultNames()
	pick := func(t, d rest.Table) (string, chat.Columns) {
		if t.Name == "" {
			return d.Name, chat.Columns(t.Columns)
		}
		return t.Name, chat.Columns(t.Columns)
	}
	tables := feed.Tables{Schema: n.Schema, Canary: n.Canary}
	if tables.Schema == "" {
		tables.Schema = def.Schema
	}
	tables.Messages, tables.MessageColumns = pick(n.Messages, def.Messages)
	tables.Sessions, tables.SessionColumns = pick(n.Sessions, def.Sessions)
	tables.Links, tables.LinkColumns = pick(n.Links, def.Links)
	return tables
}

// messagesTable is the messages table as visitors with a Realtime client know it.
func (s *Server) messagesTable() chat.Table {
	t := s.tables()
	return chat.Table{Schema: t.Schema, Name: t.Messages, Columns: t.MessageColumns}
}

// probeInterval is how often an unreachable or unusable database is tried while nobody reads it.
const probeInterval = 15 * time.Second

// probe asks at the start whether the messages table can be read with the given key, and again until it can: started before its
// Supabase, the proxy says so and recovers by itself.
func (s *Server) probe(ctx context.Context) {
	said := ""
	for {
		_, err := s.rest.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if said != "" {
				s.log.Info("the database answers now")
			}
			return
		}
		if text := explainProbe(err); text != said {
			said = text
			s.log.Error(text, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(probeInterval):
		}
	}
}

// explainProbe says what a person must do about a failing read of the messages table.
func explainProbe(err error) string {
	switch {
	case rest.MissingTable(err):
		return "the messages table is not there: check names.schema and names.messages, and that PostgREST exposes the schema"
	case rest.MissingColumn(err):
		return "the messages table lacks a column: check names.columns"
	case rest.Forbidden(err):
		return "Supabase refuses the service role key: check supabase.service_role_key and the grants of service_role"
	default:
		return "Supabase cannot be reached: visitors get 503 until it can"
	}
}
