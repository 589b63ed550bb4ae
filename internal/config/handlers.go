package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// handlerName is what a RuntimeClass can name: a DNS label.
var handlerName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// parseHandlers reads HANDLER=PROGRAM,HANDLER=PROGRAM.
func parseHandlers(text string) (map[string]string, error) {
	out := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, program, _ := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case !handlerName.MatchString(name):
			return nil, fmt.Errorf("%q is no name of a handler: lower case letters, digits and '-', such as crun=/usr/bin/crun", name)
		case name == "skiff":
			return nil, fmt.Errorf("the handler %q is built in", name)
		case !filepath.IsAbs(program):
			return nil, fmt.Errorf("the program of handler %q must be an absolute path, not %q", name, program)
		case out[name] != "":
			return nil, fmt.Errorf("the handler %q is there twice", name)
		}
		out[name] = filepath.Clean(program)
	}
	return out, nil
}

func writeHandlers(all map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, name+"="+all[name])
	}
	return strings.Join(pairs, ",")
}

// sizeUnits are the units of sizes, the largest first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}}

// minSize keeps a file of a log from holding only a few lines.
const minSize = 4 << 10

// parseSize reads bytes, or a whole number of Ki, Mi or Gi.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = rest, u.bytes
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > 1<<40/unit || n*unit < minSize {
		return 0, fmt.Errorf("%q is no size from 4Ki to 1024Gi, such as 10Mi", text)
	}
	return n * unit, nil
}

func writeSize(n int64) string {
	for _, u := range sizeUnits {
		if n%u.bytes == 0 && n > 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
