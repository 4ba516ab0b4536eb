// Package rest calls PostgREST by name: one method for each call that the proxy makes, typed answers, one error type.
//
// It stands on postgrest-go as query builder and keeps that library behind a round tripper of its own, which sees the
// status, the headers and the body of every answer before the library does, limits the body, refuses redirects and
// learns the server's clock.
//
// Life cycle: New checks the options and allocates, no call is made. Client.Close drops idle connections. The package
// starts no goroutine; those of net/http end with the connections.
//
// Concurrency: all methods of Client may be called concurrently. Each call is bounded by Options.Timeout as well as by
// its context. Nothing is retried here, except what net/http repeats on a connection that the server closed while it was
// idle; every call is safe to repeat, so callers may retry when Unavailable says so.
//
// # Server
//
// PostgREST's db-max-rows must be at least 100 (usual: 1000). It cuts longer answers silently, which paging allows for.
//
// # Values
//
// An id is a UUID or a decimal integer, a client message id matches [A-Za-z0-9._:-]{1,64}, timestamps lie in the years 1
// to 9998. Anything else is refused with ErrInvalidArgument before a request is made, so no value can become query syntax.
//
// # Query forms
//
// The requests are exactly these (names as in DefaultNames, a renamed column is selected as alias:column):
//
//	POST  /rpc/validate_temp_chat_session                       {"p_session_token": ...}
//	GET   /temporary_chat_sessions   id=in.(...) limit select
//	GET   /temporary_chat_sessions   conversation_id=in.(...) [id=gt.X] order=id.asc.nullslast limit select; Prefer: count=exact
//	GET   /temporary_chat_links      id=in.(...) limit select
//	GET   /agents                    id=in.(...) limit select
//	GET   /conversation_sessions     id=in.(...) limit select
//	GET   /chat_messages_v2          conversation_id=in.(...) (eq.X for one) and=(created_at.gte."T",created_at.lt."T"[,or(created_at.gt."T",id.gt.X)])
//	                                 order=created_at.asc.nullslast,id.asc.nullslast limit select
//	GET   /chat_messages_v2          the same downwards: lte, or(created_at.lt."T",id.lt.X), order=created_at.desc.nullsfirst,id.desc.nullsfirst
//	GET   /chat_messages_v2          id=in.(...) limit select
//	GET   /chat_messages_v2          content->metadata->>client_message_id=eq.X content->metadata->>temp_session_id=eq.X
//	                                 conversation_id=eq.X sender_user_id=is.null sender_agent_id=is.null order limit=1 select
//	GET   /chat_messages_v2          or=(content->metadata->>temp_session_id.eq.X,content->metadata->>session_id.eq.X) conversation_id=eq.X
//	                                 sender_user_id=is.null sender_agent_id=is.null limit=1 select=id; Prefer: count=exact
//	POST  /chat_messages_v2          on_conflict=id select; Prefer: return=representation,resolution=ignore-duplicates
//	PATCH /temporary_chat_sessions   id=eq.X [status=eq.active] select=id; Prefer: return=representation
//	PATCH /conversation_sessions     id=eq.X status=eq.active user_id=is.null select=id; Prefer: return=representation
//	GET   /chat_messages_v2          limit=1 select=id
//	POST  /(canary table)            on_conflict=id; Prefer: resolution=merge-duplicates,return=minimal
//	DELETE /(canary table)           id=eq.X or beat=lt.T; Prefer: return=minimal
//
// Operators: eq, in, gt, gte, lt, lte, is.null, and, or, order, limit, and JSON paths with -> and ->>.
package rest
