package feed

import (
	"context"

	"github.com/agentopia/realtime-proxy/supabase/realtime"
)

// RunReads runs the feed without its sockets, which the tests play.
func (f *Feed) RunReads(ctx context.Context) { f.runReads(ctx) }

// MessagesHandler is the feed as its messages socket sees it.
func (f *Feed) MessagesHandler() realtime.Handler { return (*messagesHandler)(f) }

// QuoteIdent is quoteIdent.
var QuoteIdent = quoteIdent
