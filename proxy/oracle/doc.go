// Package oracle holds the simulation of the whole proxy: tests only, nothing imports it.
//
// A run takes place in a bubble of testing/synctest: the stand-in for Supabase, one or two proxies and a handful of visitors, joined by
// a network in memory. A scenario, made from one seed, fixes everything that the run does: the writes with the length of their
// transactions, the faults, what each visitor does and when. The scheduling of goroutines is left to the runtime, so a seed does not
// give the same run twice; a run that fails therefore saves its scenario with what happened, and TestReplay plays a saved one again.
//
// Afterwards each visitor's log is compared with the ledger of what was committed. Which rows a visitor may have is decided by a
// statement of the rule that shares nothing with package chat.
//
// What the simulation is worth is shown by bugs: with the build tag planted, packages chat and feed can be told to have one, and
// TestPlantedBugsAreFound finds each within 200 seeds. No program is built with that tag.
//
// Environment: ORACLE_SEEDS (how many seeds; 200 by default, fewer under the race detector), ORACLE_FIRST (the first one, 1 by
// default), ORACLE_LOG_DIR (where failing runs are saved; by default the test's artifact directory), ORACLE_REPLAY (the file that
// TestReplay plays), ORACLE_REPEAT (how often it does).
package oracle
