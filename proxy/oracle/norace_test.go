//go:build oracle && !race

package oracle_test

const standardSeeds = 200
