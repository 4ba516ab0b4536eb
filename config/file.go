package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// fileReader turns a YAML file into nested settings of known keys only.
type fileReader struct {
	name     string // base name, for messages
	problems *problems
}

// read returns the settings of the file at path, or nil if it is missing and explicit is false.
func (r *fileReader) read(path string, explicit bool) map[string]any {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return nil
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if err != nil {
		r.problems.addFile(path, "cannot be read: %v", err)
		return nil
	}
	r.name = filepath.Base(path)
	return r.parse(text)
}

func (r *fileReader) parse(text []byte) map[string]any {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.problems.addFile(r.name, "is not YAML: %s", yamlMessage(err))
		return nil
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		r.problems.addFile(r.name, "holds more than one YAML document")
		return nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		r.problems.addFile(r.name, "needs keys and values at the top level")
		return nil
	}
	return r.section(root, schema, "")
}

// section reads one mapping. A key without a value counts as absent, as if its line were commented out.
func (r *fileReader) section(node *yaml.Node, shape *section, prefix string) map[string]any {
	settings := make(map[string]any)
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], target(node.Content[i+1])
		path := prefix + key.Value
		sub, known := shape.sections[key.Value]
		switch {
		case seen[key.Value]:
			r.problems.origins[path] = r.line(key)
			r.problems.add(path, "is set twice")
		case !known:
			r.problems.add(path, "is not a known key%s (%s)", didYouMean(nearest(key.Value, shape.keys)), r.line(key))
		case value.Tag == "!!null":
		case sub == nil:
			if decoded, ok := r.value(path, value); ok {
				settings[key.Value] = decoded
				r.problems.origins[path] = r.line(key)
			}
		case value.Kind == yaml.MappingNode:
			settings[key.Value] = r.section(value, sub, path+".")
		default:
			r.problems.add(path, "is a section and needs keys below it (%s)", r.line(key))
		}
		seen[key.Value] = true
	}
	return settings
}

func (r *fileReader) value(path string, node *yaml.Node) (any, bool) {
	var decoded any
	if err := node.Decode(&decoded); err != nil {
		r.problems.add(path, "is not a valid YAML value (%s)", r.line(node))
		return nil, false
	}
	return decoded, true
}

func (r *fileReader) line(node *yaml.Node) string {
	return fmt.Sprintf("%s line %d", r.name, node.Line)
}

func target(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func didYouMean(key string) string {
	if key == "" {
		return ""
	}
	return ", did you mean " + key + "?"
}

// A value that starts with an asterisk and is not quoted is an alias to YAML, and its error would quote a secret.
var unknownAnchor = regexp.MustCompile(`unknown anchor '.*' referenced`)

func yamlMessage(err error) string {
	return unknownAnchor.ReplaceAllString(err.Error(), "a value that starts with * needs quotes")
}
