// Package config loads the settings of the proxy: built-in defaults, an optional YAML file, environment variables and
// command-line flags, later sources winning over earlier ones. Load is strict: an unknown key, an unknown variable
// with the PROXY_ prefix, a duration without a unit or a value outside its range refuses the whole configuration, and
// every problem is reported at once.
//
// # Names
//
// A key is written section.key in messages, as nested YAML in the file, and as PROXY_SECTION_KEY in the environment
// (chat.visibility is PROXY_CHAT_VISIBILITY). Lists are comma-separated in the environment; an entry of names.columns
// is written table.column=name there. An empty variable counts as unset, and one pair of quotes around a value is
// dropped because env files read by containers keep them. The variables SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY,
// SUPABASE_SECRET_KEY, SUPABASE_ANON_KEY and SUPABASE_PUBLISHABLE_KEY are read too. Where none of them is set and
// API_URL is a loopback address, the names that `supabase status -o env` prints fill in what is left open.
// PROXY_CONFIG names the file where the flag does not.
//
// Durations need a unit ("2s", "150ms", "1h30m"). Sizes are plain whole numbers of the unit in the key's name.
//
// # Life cycle
//
// Load returns a plain struct. Nothing is watched or re-read and the package has no state, so a Config may be read
// from any number of goroutines as long as nobody writes to it.
package config
