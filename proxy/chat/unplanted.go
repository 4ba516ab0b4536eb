//go:build !planted

package chat

// planted names the bug that a run of the simulation is to find; without the build tag planted there is none, and the compiler
// leaves out what depends on it.
const planted = ""
