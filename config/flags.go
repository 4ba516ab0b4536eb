package config

import "github.com/spf13/pflag"

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "config.yaml"

// configFlag names the file; it is no setting itself.
const configFlag = "config"

// flagKeys maps each flag to its key. Keys of the Supabase project have no flag: the process list shows flags.
var flagKeys = map[string]string{
	"listen":       "listen",
	"admin-listen": "admin.listen",
	"supabase-url": "supabase.url",
	"log-level":    "log.level",
	"log-format":   "log.format",
}

// Flags registers --config, --listen, --admin-listen, --supabase-url, --log-level and --log-format on fs. Hand the
// parsed set to Load.
func Flags(fs *pflag.FlagSet) {
	d := Default()
	fs.String(configFlag, DefaultFile, "configuration `file`; the default may be missing")
	fs.String("listen", d.Listen, "`address` of the visitor port")
	fs.String("admin-listen", d.Admin.Listen, "`address` of the admin port")
	fs.String("supabase-url", d.Supabase.URL, "base `URL` of the Supabase project")
	fs.String("log-level", d.Log.Level, "debug, info, warn or error")
	fs.String("log-format", d.Log.Format, "auto, text or json")
}
