package config

import "reflect"

// Keys returns every key of the configuration.
func Keys() []string { return schema.leaves("") }

// Variable returns the environment's name of a key.
var Variable = variable

// NumberKeys returns how many keys hold a duration or a whole number.
func NumberKeys() int { return numbersIn(reflect.TypeFor[Config]()) }

func numbersIn(t reflect.Type) int {
	count := 0
	for field := range t.Fields() {
		switch field.Type.Kind() {
		case reflect.Struct:
			count += numbersIn(field.Type)
		case reflect.Int, reflect.Int64:
			count++
		}
	}
	return count
}
