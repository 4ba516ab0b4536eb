//go:build planted

package feed

// planted names the bug that a run of the simulation is to find.
var planted string

// Plant makes the package behave as if it had the bug. Nothing may run meanwhile.
func Plant(bug string) { planted = bug }
