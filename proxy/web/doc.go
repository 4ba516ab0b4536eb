// Package web holds what browsers load from the proxy: the client module, its React binding and the chat page.
//
// Everything is embedded and immutable, so handlers may be shared and called concurrently; the package starts nothing
// and keeps no state. There is no build step: what is served is what stands in assets/.
//
// assets/client.js is one file although it is long, because a page may keep a copy of it without a bundler.
package web
