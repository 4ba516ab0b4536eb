package stack

import (
	"fmt"
	"slices"
)

// Publication is what the publication supabase_realtime holds.
type Publication string

// The publication profiles.
const (
	PublicationAll      Publication = "all" // messages, sessions and links
	PublicationMessages Publication = "messages"
	PublicationNone     Publication = "none"
)

// Variant is a body of validate_temp_chat_session.
type Variant string

// The variants of validate_temp_chat_session that testdata/sql has.
const (
	VariantA       Variant = "a"
	VariantD       Variant = "d"
	VariantE       Variant = "e"        // repaired
	VariantEBroken Variant = "e_broken" // as deployed, fails with 42703
	VariantMissing Variant = "missing"  // no such function
)

// Profile chooses the files of testdata/sql. The zero value is a repaired database as the migrations leave it, without
// rows: content is checked, conversation ids are not unique, everything is published, validation is variant E.
type Profile struct {
	Strict      bool        // conversation_sessions.conversation_id is unique and messages refer to it
	Relaxed     bool        // content of any shape
	OpenVault   bool        // vault_decrypt without the role check
	Publication Publication // default PublicationAll
	Canary      bool        // the canary table, published beside the others
	Validate    Variant     // default VariantE
	BrokenEnd   bool        // end_temp_chat_session as deployed, fails with 42883
	Counters    bool        // check_temp_chat_rate_limit in its first form
	Seed        bool        // agent, links and sessions of the stand-in's fixture
	Rows        bool        // Seed, and the rows m01 to m13; m09 and m12 only when Relaxed
}

// Files lists the chosen files in the order in which they are applied.
func (p Profile) Files() ([]string, error) {
	if p.Publication == "" {
		p.Publication = PublicationAll
	}
	if p.Validate == "" {
		p.Validate = VariantE
	}
	if !slices.Contains([]Publication{PublicationAll, PublicationMessages, PublicationNone}, p.Publication) {
		return nil, fmt.Errorf("no publication profile %q", p.Publication)
	}
	if !slices.Contains([]Variant{VariantA, VariantD, VariantE, VariantEBroken, VariantMissing}, p.Validate) {
		return nil, fmt.Errorf("no variant %q of validate_temp_chat_session", p.Validate)
	}
	var files []string
	for _, f := range []struct {
		wanted bool
		name   string
	}{
		{true, "00_roles.sql"},
		{true, "10_stubs.sql"},
		{true, "11_vault_decrypt.sql"},
		{p.OpenVault, "12_vault_open.sql"},
		{true, "20_tables.sql"},
		{p.Strict, "21_strict.sql"},
		{p.Relaxed, "22_relaxed.sql"},
		{true, "30_triggers.sql"},
		{true, "40_rls.sql"},
		{true, "50_publication_" + string(p.Publication) + ".sql"},
		{p.Canary, "51_canary.sql"},
		{p.Validate != VariantMissing, "60_validate_" + string(p.Validate) + ".sql"},
		{true, "61_create_session.sql"},
		{!p.BrokenEnd, "62_end_session.sql"},
		{p.BrokenEnd, "62_end_session_broken.sql"},
		{!p.Counters, "63_rate_limit.sql"},
		{p.Counters, "63_rate_limit_counters.sql"},
		{true, "64_cleanup.sql"},
		{p.Seed || p.Rows, "90_seed.sql"},
		{p.Rows, "91_rows.sql"},
		{p.Rows && p.Relaxed, "92_rows_relaxed.sql"},
	} {
		if f.wanted {
			files = append(files, f.name)
		}
	}
	return files, nil
}
