// Package functions calls Supabase Edge Functions.
//
// A call that brought back an answer succeeds, whatever its status: the bodies of failed calls are part of the functions'
// contract. An Error means that there is no answer to pass on.
//
// Of a visitor's address, given as X-Real-Ip, the functions get a copy in Cf-Connecting-Ip, which they read first, unless the answers
// come through the CDN that sets this header itself.
//
// Life cycle: New checks the options and allocates, no call is made. Client.Close drops idle connections. The package
// starts no goroutine; those of net/http end with the connections.
//
// Concurrency: all methods of Client may be called concurrently. Nothing is retried, for a function may have acted before
// its answer was lost.
package functions
