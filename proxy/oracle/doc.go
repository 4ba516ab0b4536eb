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
// The tests are built with the tag oracle: a few seeds in a thousand still fail, and until those are explained it is no part of the
// ordinary run.
//
// Environment: ORACLE_SEEDS (how many seeds), ORACLE_FIRST (the first one, 1 by default), ORACLE_LOG_DIR (where failing runs are saved;
// by default the test's artifact directory), ORACLE_REPLAY (the file that TestReplay plays), ORACLE_REPEAT (how often it does).
package oracle
