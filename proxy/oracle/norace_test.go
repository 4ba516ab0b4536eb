//go:build !race

package oracle_test

const standardSeeds = 200
