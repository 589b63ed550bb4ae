package main

import (
	"bytes"
	"context"
	"flag"
	"slices"
	"strings"
	"testing"
)

func testApp() (*app, *bytes.Buffer) {
	out := new(bytes.Buffer)
	return &app{ctx: context.Background(), name: "crate", stdout: out}, out
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line   string
		max    int
		rest   string
		force  bool
		file   string
		number int
		err    string
	}{
		{line: "id", max: 1, rest: "id"},
		{line: "--force id", max: 1, rest: "id", force: true},
		{line: "id --force", max: 1, rest: "id", force: true},
		{line: "id -f --file=x --number -1", max: 1, rest: "id", force: true, file: "x", number: -1},
		{line: "--file x id --number=3 -f", max: 1, rest: "id", force: true, file: "x", number: 3},
		{line: "id --file -", max: 1, rest: "id", file: "-"},
		{line: "id --file --", max: 1, rest: "id", file: "--"},
		{line: "-- --force", max: 1, rest: "--force"},
		{line: "id -- --force", max: 2, rest: "id --force"},
		{line: "id - x", max: 3, rest: "id - x"},
		{line: "id --force=false", max: 1, rest: "id"},
		{line: "id x", max: 1, err: "requires at most 1 argument"},
		{line: "--force", max: 1, force: true, err: "requires at least 1 argument"},
		{line: "id --what", max: 1, err: "flag provided but not defined: -what"},
		{line: "id --file", max: 1, err: "flag needs an argument: -file"},
		{line: "id --number x", max: 1, err: "invalid value"},
		// What follows the id of exec and ps is another program's.
		{line: "-f id sh --force", max: -1, rest: "id sh --force", force: true},
		{line: "id -f --file x", max: -1, rest: "id -f --file x"},
		{line: "-- id -f", max: -1, rest: "id -f"},
	} {
		a, _ := testApp()
		fs := newFlags("verb")
		force := fs.Bool("f", false, "")
		fs.BoolVar(force, "force", false, "")
		file, number := fs.String("file", "", ""), fs.Int("number", 0, "")
		err := a.parse(fs, strings.Fields(c.line), 1, c.max)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.line, err, c.err)
			}
		case err != nil || strings.Join(fs.Args(), " ") != c.rest || *force != c.force || *file != c.file ||
			*number != c.number:
			t.Errorf("%q: %q, force %v, file %q, number %d, %v", c.line, fs.Args(), *force, *file, *number, err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, c := range []struct {
		line, want string
		code       int
		err        string
	}{
		{line: "", want: "crate, with the command line of runc - Open Container Initiative runtime"},
		{line: "-h", want: "crate, with the command line of runc - Open Container Initiative runtime"},
		{line: "help", want: "crate, with the command line of runc - Open Container Initiative runtime"},
		{line: "help update", want: "crate update - "},
		{line: "delete -h", want: "crate delete - "},
		{line: "delete x --help", want: "   --force\n"},
		{line: "delete --help", want: "   -f\n"},
		{line: "checkpoint -h", want: "crate checkpoint - "},
		{line: "restore --help", want: "crate restore - "},
		{line: "foo -h", code: 3, err: "No help topic for 'foo'"},
		{line: "help foo", code: 3, err: "No help topic for 'foo'"},
		{line: "foo", code: 3, err: "No help topic for 'foo'"},
		{line: "checkpoint --image-path x id", code: 1, err: "checkpoint is not supported"},
		{line: "restore -d id", code: 1, err: "restore is not supported"},
		{line: "--log-format yaml list", code: 1, err: "invalid log-format: yaml"},
	} {
		a, out := testApp()
		code, err := a.dispatch(strings.Fields(c.line))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || code != c.code {
				t.Errorf("%q: %d, %v; want %d, %q", c.line, code, err, c.code, c.err)
			}
			continue
		}
		if err != nil || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %v, %q; want %q", c.line, err, out, c.want)
		}
	}
}

// Callers read the version line by line, and want numbers there.
func TestVersionLines(t *testing.T) {
	a, out := testApp()
	if code, err := a.dispatch([]string{"-v"}); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"crate version 0.", "commit: ", "spec: 1."} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d of %q does not begin with %q", i, lines, want)
		}
	}
}

// The words of every flag set are known to the one that takes values: a flag that is both would be read differently
// before and behind the id.
func TestTakesNext(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	fs.Bool("b", false, "")
	fs.String("s", "", "")
	fs.Var(new(repeated), "r", "")
	var next []string
	for _, arg := range []string{"-b", "--b", "-s", "--s", "--s=1", "-r", "--unknown"} {
		if takesNext(fs, arg) {
			next = append(next, arg)
		}
	}
	if want := []string{"-s", "--s", "-r"}; !slices.Equal(next, want) {
		t.Errorf("%q take the next word, want %q", next, want)
	}
}
