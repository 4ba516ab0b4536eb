package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
)

// convert is the decode hook that turns what files, variables and flags hold into the types of Config. It refuses what
// does not fit, so the decoder's own conversions, whose errors could quote values, see only exact types.
func convert(from, to reflect.Value) (any, error) {
	if from.Type() == to.Type() {
		return from.Interface(), nil
	}
	switch to.Type() {
	case reflect.TypeFor[time.Duration]():
		return duration(from)
	case reflect.TypeFor[netip.Prefix]():
		return prefix(from)
	case reflect.TypeFor[[]Column]():
		if from.Kind() == reflect.String {
			return columns(from.String())
		}
	case reflect.TypeFor[Column]():
		if from.Kind() != reflect.Map {
			return nil, errors.New("needs the keys table, column and name")
		}
	}
	switch to.Kind() {
	case reflect.Int:
		return wholeNumber(from)
	case reflect.Bool:
		return truth(from)
	case reflect.String:
		if from.Kind() != reflect.String {
			return nil, errors.New("needs text, put it in quotes")
		}
	case reflect.Slice:
		return list(from)
	}
	return from.Interface(), nil
}

func duration(from reflect.Value) (any, error) {
	if from.Kind() != reflect.String {
		if from.CanInt() && from.Int() == 0 {
			return time.Duration(0), nil
		}
		return nil, errors.New("needs a duration with a unit, such as 250ms, 10s or 2m")
	}
	d, err := time.ParseDuration(from.String())
	if err != nil {
		return nil, errors.New("needs a duration with a unit, such as 250ms, 10s or 2m")
	}
	return d, nil
}

func prefix(from reflect.Value) (any, error) {
	text := ""
	if from.Kind() == reflect.String {
		text = from.String()
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, errors.New("needs an address or a network, such as 10.0.0.0/8")
	}
	if p != p.Masked() {
		return nil, fmt.Errorf("has bits set outside the network, did you mean %s?", p.Masked())
	}
	if p.Addr().Is4In6() { // of 96 bits at least, or it would not be masked; addresses are compared as IPv4
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

func wholeNumber(from reflect.Value) (any, error) {
	switch {
	case from.CanInt():
		return int(from.Int()), nil
	case from.Kind() == reflect.String:
		if n, err := strconv.Atoi(from.String()); err == nil {
			return n, nil
		}
	}
	return nil, errors.New("needs a whole number without a unit")
}

func truth(from reflect.Value) (any, error) {
	if from.Kind() == reflect.String {
		switch from.String() {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return nil, errors.New("needs true or false")
}

// list splits text at commas; only variables give a list as text.
func list(from reflect.Value) (any, error) {
	switch from.Kind() {
	case reflect.Slice:
		return from.Interface(), nil
	case reflect.String:
		return splitList(from.String()), nil
	}
	return nil, errors.New("needs a list")
}

func splitList(text string) []string {
	entries := []string{}
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

func columns(text string) (any, error) {
	renames := []Column{}
	for _, entry := range splitList(text) {
		left, name, ok := strings.Cut(entry, "=")
		table, column, dotted := strings.Cut(left, ".")
		if !ok || !dotted {
			return nil, errors.New("needs entries of the form table.column=name")
		}
		renames = append(renames, Column{Table: table, Column: column, Name: name})
	}
	return renames, nil
}

// addDecodeErrors reports every leaf of the decoder's error tree under its key.
func addDecodeErrors(p *problems, err error) {
	switch e := err.(type) {
	case nil:
	case *mapstructure.DecodeError:
		if inner, ok := errors.AsType[*mapstructure.DecodeError](e.Unwrap()); ok {
			addDecodeErrors(p, inner)
			return
		}
		p.add(e.Name(), "%s", decodeMessage(e.Unwrap()))
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			addDecodeErrors(p, each)
		}
	case interface{ Unwrap() error }:
		addDecodeErrors(p, e.Unwrap())
	default:
		p.add(DefaultFile, "cannot be decoded")
	}
}

// decodeMessage keeps the words of convert. The only errors of the decoder itself that convert lets through name
// unknown keys of a list entry or types, never values.
func decodeMessage(err error) string {
	if _, ok := errors.AsType[*mapstructure.UnconvertibleTypeError](err); ok {
		return "has a value of the wrong type"
	}
	return err.Error()
}
