package systemd

import (
	"slices"
	"testing"
)

// TestAnnotations are values as runc's documentation and its users write them.
func TestAnnotations(t *testing.T) {
	for text, want := range map[string]Value{
		"true":                 Bool(true),
		"'inactive-or-failed'": String("inactive-or-failed"),
		`"a \"b\"\n"`:          String("a \"b\"\n"),
		"uint64 123456789":     Uint64(123456789),
		"@as []":               Strings(),
		"['a.service', \"b\"]": Strings("a.service", "b"),
		"-7":                   Int32(-7),
		"uint32 0x10":          Uint32(16),
		"byte 255":             unsigned(8, 255),
		"uint16 7":             unsigned(16, 7),
		"int16 -1":             Int16(-1),
		"int64 -5000000000":    Int64(-5000000000),
		"1.5":                  Double(1.5),
		"string 'x'":           String("x"),
		" boolean false ":      Bool(false),
		"double 1":             Double(1),
	} {
		got, err := FromAnnotations(map[string]string{"org.systemd.property.Some": text, "other": "x"})
		if err != nil || len(got) != 1 || got[0].Name != "Some" {
			t.Errorf("%q: %v, %v", text, got, err)
			continue
		}
		if g, w := bytesOf(got[0].Value), bytesOf(want); !slices.Equal(g, w) || got[0].Value.signature != want.signature {
			t.Errorf("%q: %s %x, want %s %x", text, got[0].Value.signature, g, want.signature, w)
		}
	}
}

func bytesOf(v Value) []byte {
	var e encoder
	v.put(&e)
	return e.b
}

// TestSeconds are told in microseconds on the bus.
func TestSeconds(t *testing.T) {
	got, err := FromAnnotations(map[string]string{"org.systemd.property.TimeoutStopSec": "1.5", "org.systemd.property.RuntimeMaxSec": "uint64 2"})
	if err != nil || len(got) != 2 || got[0].Name != "RuntimeMaxUSec" || got[1].Name != "TimeoutStopUSec" {
		t.Fatalf("%v, %v", got, err)
	}
	if b := bytesOf(got[1].Value); order.Uint64(b) != 1500000 {
		t.Errorf("1.5 s are %d us", order.Uint64(b))
	}
}

func TestBadAnnotations(t *testing.T) {
	for name, text := range map[string]string{
		"A": "true", "Some.thing": "true", "": "1", "Some1": "1",
		"Empty": "", "Open": "'x", "More": "true false", "Word": "maybe", "Big": "5000000000", "Range": "byte 256", "Sign": "uint64 -1",
		"List": "['a' 'b']", "Numbers": "[1, 2]", "Left": "['a'", "Number": "uint32 x", "Type": "string 1", "Flag": "boolean 'x'",
		"Zero": "'a\x00b'", "WaitSec": "'x'", "LongSec": "-1", "FarSec": "1e30", "Char": `'\u00e4'`,
	} {
		if got, err := FromAnnotations(map[string]string{PropertyPrefix + name: text}); err == nil {
			t.Errorf("%s=%q was taken as %v", name, text, got)
		}
	}
}

func FuzzAnnotation(f *testing.F) {
	for _, text := range []string{"true", "'x'", "uint64 1", "@as ['a']", "1.5", `"\n"`} {
		f.Add("Name", text)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		got, err := FromAnnotations(map[string]string{PropertyPrefix + name: text})
		if err == nil && (len(got) != 1 || len(bytesOf(got[0].Value)) == 0 || got[0].Value.signature == "") {
			t.Errorf("%s=%q is %v", name, text, got)
		}
	})
}
