package phoenix

import (
	"fmt"
	"unicode/utf8"
)

// maxDepth is the nesting that encoding/json accepts; whatever passes here passes there.
const maxDepth = 10000

// scanner walks over JSON text once, validating what it passes.
type scanner struct {
	b []byte
	i int // next byte
}

func newScanner(b []byte) (*scanner, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	return &scanner{b: b}, nil
}

// peek skips white space and returns the next byte without taking it, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) error {
	if s.peek() != c {
		return s.bad()
	}
	s.i++
	return nil
}

// end checks that nothing but white space is left.
func (s *scanner) end() error {
	if s.peek(); s.i < len(s.b) {
		return s.bad()
	}
	return nil
}

func (s *scanner) bad() error {
	return fmt.Errorf("%w: bad JSON at byte %d", ErrMalformed, s.i)
}

// next returns the bytes of the next value. Frames wrap it in one array or object, hence depth 1.
func (s *scanner) next() ([]byte, error) {
	s.peek()
	start := s.i
	if err := s.value(1); err != nil {
		return nil, err
	}
	return s.b[start:s.i:s.i], nil
}

// member returns the next key and value of an object.
func (s *scanner) member() (key string, value []byte, err error) {
	s.peek()
	start := s.i
	if err := s.str(); err != nil {
		return "", nil, err
	}
	if key, err = unquote(s.b[start:s.i]); err != nil {
		return "", nil, err
	}
	if err := s.expect(':'); err != nil {
		return "", nil, err
	}
	value, err = s.next()
	return key, value, err
}

// value passes one value inside depth arrays and objects.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.container(depth+1, '}')
	case c == '[':
		return s.container(depth+1, ']')
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || isDigit(c):
		return s.number()
	default:
		return s.bad()
	}
}

// container passes an array or object whose first byte is next and whose last is closer.
func (s *scanner) container(depth int, closer byte) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested deeper than %d", ErrMalformed, maxDepth)
	}
	s.i++
	if s.peek() == closer {
		s.i++
		return nil
	}
	for {
		if closer == '}' {
			s.peek()
			if err := s.str(); err != nil {
				return err
			}
			if err := s.expect(':'); err != nil {
				return err
			}
		}
		if err := s.value(depth); err != nil {
			return err
		}
		switch s.peek() {
		case closer:
			s.i++
			return nil
		case ',':
			s.i++
		default:
			return s.bad()
		}
	}
}

func (s *scanner) str() error {
	if s.i >= len(s.b) || s.b[s.i] != '"' {
		return s.bad()
	}
	for i := s.i + 1; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.i = i + 1
			return nil
		case c == '\\':
			n := escapeLen(s.b[i:])
			if n == 0 {
				s.i = i
				return s.bad()
			}
			i += n - 1
		case c < 0x20:
			s.i = i
			return s.bad()
		}
	}
	s.i = len(s.b)
	return s.bad()
}

// escapeLen returns the length of the escape sequence that b begins with, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && isHex(b[2]) && isHex(b[3]) && isHex(b[4]) && isHex(b[5]) {
			return 6
		}
	}
	return 0
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.bad()
	}
	s.i += len(w)
	return nil
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		return s.bad()
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.bad()
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.bad()
		}
	}
	return nil
}

// digits passes one or more digits.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && isDigit(s.b[s.i]) {
		s.i++
	}
	return s.i > start
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
