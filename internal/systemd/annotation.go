package systemd

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// PropertyPrefix begins the names of annotations that are properties of the container's unit (runc's
// docs/systemd.md, crun has the same).
const PropertyPrefix = "org.systemd.property."

// FromAnnotations reads the properties that a configuration asks for, in the order of their names. They can do whatever
// a unit can: who hands them on from strangers gives these the machine (CVE-2022-0811's family). skiff's own pods have
// none: only the command line with --systemd-cgroup comes here.
func FromAnnotations(annotations map[string]string) ([]Property, error) {
	var out []Property
	for key, text := range annotations {
		name, ok := strings.CutPrefix(key, PropertyPrefix)
		if !ok {
			continue
		}
		p, err := parseProperty(name, text)
		if err != nil {
			return nil, fmt.Errorf("annotations[%q]: %w", key, err)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func parseProperty(name, text string) (Property, error) {
	if len(name) < 3 || strings.ContainsFunc(name, func(r rune) bool { return (r|0x20) < 'a' || (r|0x20) > 'z' }) {
		return Property{}, fmt.Errorf("%q is not the name of a property: letters are allowed, three or more", name)
	}
	p := parser{s: text}
	v, err := p.value()
	if p.skip(); err == nil && p.s != "" {
		err = fmt.Errorf("%q follows the value", p.s)
	}
	if err != nil {
		return Property{}, fmt.Errorf("the value %q: %w", text, err)
	}
	// On the bus times are in microseconds, in unit files and annotations they may be in seconds.
	if stem, ok := strings.CutSuffix(name, "Sec"); ok && stem != "" && stem[len(stem)-1] >= 'a' {
		if !v.number || v.float < 0 || v.float*1e6 >= math.MaxUint64 {
			return Property{}, fmt.Errorf("the value %q is not a number of seconds", text)
		}
		return Property{stem + "USec", Uint64(uint64(v.float * 1e6))}, nil
	}
	return Property{name, v.Value}, nil
}

// parser reads the text form of values (GLib's "GVariant Text Format"), as far as properties of units need it: strings,
// booleans, numbers with or without a type, lists of strings.
type parser struct{ s string }

type parsed struct {
	Value
	number bool
	float  float64
	text   string
}

func (p *parser) skip() { p.s = strings.TrimLeft(p.s, " \t\n") }

// take skips space and then prefix, if it is there.
func (p *parser) take(prefix string) bool {
	p.skip()
	rest, ok := strings.CutPrefix(p.s, prefix)
	if ok {
		p.s = rest
	}
	return ok
}

func (p *parser) value() (parsed, error) {
	p.skip()
	switch {
	case p.s == "":
		return parsed{}, errors.New("is empty")
	case p.s[0] == '\'' || p.s[0] == '"':
		s, err := p.quoted()
		return parsed{Value: String(s), text: s}, err
	case p.s[0] == '[' || p.take("@as"):
		return p.list()
	}
	word := p.word()
	switch word {
	case "true", "false":
		return parsed{Value: Bool(word == "true")}, nil
	case "byte", "uint16", "int16", "int32", "uint32", "int64", "uint64", "double", "string", "boolean":
		p.skip()
		return typed(word, p)
	}
	return number("", word)
}

// word is what goes on without a space or a sign that means something.
func (p *parser) word() string {
	n := strings.IndexAny(p.s, " \t\n,[]'\"")
	if n < 0 {
		n = len(p.s)
	}
	w := p.s[:n]
	p.s = p.s[n:]
	return w
}

func typed(word string, p *parser) (parsed, error) {
	switch word {
	case "string", "boolean":
		v, err := p.value()
		if err == nil && (v.signature == "s") != (word == "string") || err == nil && word == "boolean" && v.signature != "b" {
			err = fmt.Errorf("is not a %s", word)
		}
		return v, err
	}
	return number(word, p.word())
}

// number reads one of the type named; without a name it is an int32, or with a point or an exponent a double.
func number(typ, word string) (parsed, error) {
	out := parsed{number: true}
	var err error
	switch typ {
	case "", "int32":
		var n int64
		if n, err = strconv.ParseInt(word, 0, 32); err == nil {
			out.Value, out.float = Int32(int32(n)), float64(n)
			break
		}
		if typ != "" || strings.HasPrefix(word, "0x") || !strings.ContainsAny(word, ".eE") {
			break
		}
		typ = "double"
		fallthrough
	case "double":
		out.float, err = strconv.ParseFloat(word, 64)
		out.Value = Double(out.float)
	case "byte", "uint16", "uint32", "uint64":
		bits := map[string]int{"byte": 8, "uint16": 16, "uint32": 32, "uint64": 64}[typ]
		var n uint64
		n, err = strconv.ParseUint(word, 0, bits)
		out.Value, out.float = unsigned(bits, n), float64(n)
	default: // int16, int64
		bits := map[string]int{"int16": 16, "int64": 64}[typ]
		var n int64
		n, err = strconv.ParseInt(word, 0, bits)
		out.Value, out.float = Int64(n), float64(n)
		if bits == 16 {
			out.Value = Int16(int16(n))
		}
	}
	if err != nil {
		return out, fmt.Errorf("%q is not a value of type %q: %w", word, typ, errors.Unwrap(err))
	}
	return out, nil
}

// quoted reads a string with its escapes.
func (p *parser) quoted() (string, error) {
	quote := p.s[0]
	var out strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == quote:
			p.s = p.s[i+1:]
			return out.String(), nil
		case c == 0:
			return "", errors.New("holds a zero byte")
		case c == '\\' && i+1 < len(p.s):
			i++
			n := strings.IndexByte("abfnrtv", p.s[i])
			if p.s[i] == 'u' || p.s[i] == 'U' {
				return "", errors.New("has an escape for a character by its number, which is not supported: write the character")
			}
			if n >= 0 {
				out.WriteByte("\a\b\f\n\r\t\v"[n])
				continue
			}
			out.WriteByte(p.s[i])
		default:
			out.WriteByte(c)
		}
	}
	return "", errors.New("is a string without an end")
}

// list reads strings in brackets.
func (p *parser) list() (parsed, error) {
	if !p.take("[") {
		return parsed{}, errors.New("is not a list")
	}
	var all []string
	for !p.take("]") {
		if len(all) > 0 && !p.take(",") {
			return parsed{}, errors.New("is a list without an end or a comma")
		}
		v, err := p.value()
		if err != nil {
			return v, err
		}
		if v.signature != "s" {
			return v, errors.New("is a list of other things than strings, which is not supported")
		}
		all = append(all, v.text)
	}
	return parsed{Value: Strings(all...)}, nil
}
