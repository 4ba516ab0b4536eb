//go:build race

package oracle_test

// standardSeeds is fewer under the race detector, which makes everything slow.
const standardSeeds = 40
