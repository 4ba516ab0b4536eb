// Package proxy puts the parts together: the Supabase clients, the feed with its hub, the authoriser, the visitors' port and the
// operator's port. It owns their life: everything starts in Run and has ended when Run returns.
//
// Two contexts: when Run's ends, the server drains (new streams are refused, visitors are told to come back and are closed spread
// over the drain period, sends under way finish); only then is the work in flight given up.
package proxy
