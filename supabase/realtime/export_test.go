package realtime

// Internals under test.
var (
	ParseChange  = parseChange
	NewJoinError = newJoinError
)
