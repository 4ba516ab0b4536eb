// Package phoenix reads and writes the frames of the Phoenix channel protocol as Supabase Realtime speaks it: vsn 1.0.0
// (JSON objects) and vsn 2.0.0 (JSON arrays and binary frames), for both ends of a connection.
//
// The package knows no network and starts no goroutine. All functions are pure and safe for concurrent use. A decoded
// Message refers to the bytes of its frame: keep the frame unchanged as long as the Message is used.
//
// Payloads are carried as the bytes that arrived. Decoding proves that a text frame is one well-formed JSON value in valid
// UTF-8, so a payload needs no second validation; encoding copies payloads as they are.
package phoenix
