package config

import (
	"os"
	"slices"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// LoadOptions names the sources of a configuration. The zero value reads DefaultFile, if it exists, and os.Environ.
type LoadOptions struct {
	// File is the YAML file; empty means that of the --config flag, then PROXY_CONFIG, then DefaultFile.
	File string
	// FileExplicit makes a missing File a problem. A file named by flag or variable is explicit by itself.
	FileExplicit bool
	// Environ holds NAME=value entries; nil means os.Environ().
	Environ []string
	// Flags is a parsed set that Flags registered its flags on; nil means none.
	Flags *pflag.FlagSet
	// WithoutKey is for commands that do not call Supabase: a missing service key is no problem.
	WithoutKey bool
	// Dev is for the development server, which brings its own project: as WithoutKey, and cors.allowed_origins
	// may hold "*".
	Dev bool
}

// Load reads flags over environment over file over defaults and checks every value. The error is an *Error with all
// problems found, and no Config comes with it.
func Load(args LoadOptions) (*Config, error) {
	c, p := resolve(args)
	if err := p.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// AdminListen returns the checked admin.listen alone, for a command that asks a running proxy how it is. Problems of
// other keys do not matter to it: a file edited since the start must not make a healthy proxy look ill.
func AdminListen(args LoadOptions) (string, error) {
	c, p := resolve(args)
	p.list = slices.DeleteFunc(p.list, func(q Problem) bool {
		return q.Key != "admin" && q.Key != "admin.listen" && !slices.Contains(p.files, q.Key)
	})
	if err := p.err(); err != nil {
		return "", err
	}
	return c.Admin.Listen, nil
}

func resolve(args LoadOptions) (*Config, *problems) {
	if args.Environ == nil {
		args.Environ = os.Environ()
	}
	env := newEnvironment(args.Environ)
	p := &problems{origins: make(map[string]string)}
	v := viper.New()

	setDefaults(v)
	file, explicit := args.file(env)
	merge(v, (&fileReader{problems: p}).read(file, explicit))
	merge(v, nest(env.settings(p)))
	bindFlags(v, args.Flags, p)
	merge(v, nest(localStack(v, env, p)))

	var c Config
	addDecodeErrors(p, v.Unmarshal(&c, strict))
	c.normalize()
	(&validator{Config: &c, problems: p, options: args}).run()
	return &c, p
}

// file returns the file to read and whether it has to exist.
func (args *LoadOptions) file(env environment) (path string, explicit bool) {
	if args.File != "" {
		return args.File, args.FileExplicit
	}
	if args.Flags != nil {
		if flag := args.Flags.Lookup(configFlag); flag != nil && flag.Changed {
			return flag.Value.String(), true
		}
	}
	if path := env[envFile]; path != "" {
		return path, true
	}
	return DefaultFile, args.FileExplicit
}

// setDefaults makes every key known to viper, which otherwise leaves keys that no source sets out of the struct.
func setDefaults(v *viper.Viper) {
	defaults := make(map[string]any)
	if err := mapstructure.Decode(Default(), &defaults); err != nil {
		panic("config: defaults cannot be decoded: " + err.Error()) // a struct into a map; only a broken tag fails
	}
	for key, value := range defaults {
		v.SetDefault(key, value)
	}
}

// merge lays settings over the file's; viper ranks flags above them. It fails for no map of known keys.
func merge(v *viper.Viper, settings map[string]any) {
	if err := v.MergeConfigMap(settings); err != nil {
		panic("config: settings cannot be merged: " + err.Error())
	}
}

// nest turns dotted keys into nested maps.
func nest(flat map[string]string) map[string]any {
	nested := make(map[string]any)
	for key, value := range flat {
		name, rest, dotted := strings.Cut(key, ".")
		if !dotted {
			nested[key] = value
			continue
		}
		sub, ok := nested[name].(map[string]any)
		if !ok {
			sub = make(map[string]any)
			nested[name] = sub
		}
		sub[rest] = value
	}
	return nested
}

func bindFlags(v *viper.Viper, flags *pflag.FlagSet, p *problems) {
	if flags == nil {
		return
	}
	for name, key := range flagKeys {
		flag := flags.Lookup(name)
		if flag == nil {
			continue
		}
		if err := v.BindPFlag(key, flag); err != nil {
			panic("config: flag cannot be bound: " + err.Error()) // only a nil flag fails
		}
		if flag.Changed {
			p.origins[key] = "set by --" + name
		}
	}
}

// localStack returns what the local stack's variables add to the settings so far. They fill gaps only, and its keys
// are used only for a project on this machine.
func localStack(v *viper.Viper, env environment, p *problems) map[string]string {
	local := env.local()
	if _, set := p.origins[keyURL]; set {
		if !isLoopback(v.GetString(keyURL)) {
			return nil
		}
		delete(local, keyURL)
	}
	for _, key := range []string{keyService, keyAnon} {
		if v.GetString(key) != "" {
			delete(local, key)
		}
	}
	for key := range local {
		p.origins[key] = "set by " + env.preferred(localAliases[key])
	}
	return local
}

// strict makes the decoder convert with convert alone and refuse unknown keys of list entries.
func strict(dc *mapstructure.DecoderConfig) {
	dc.DecodeHook = convert
	dc.WeaklyTypedInput = false
	dc.ErrorUnused = true
}

// normalize drops what makes no difference, so that users of the values need not.
func (c *Config) normalize() {
	c.Supabase.URL = strings.TrimRight(c.Supabase.URL, "/")
}
