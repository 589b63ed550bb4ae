package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "-1": -1, "32": 32, "32b": 32, "32B": 32, "32k": 32 << 10, "32K": 32 << 10, "32kb": 32 << 10,
		"32KiB": 32 << 10, "50MB": 50 << 20, "50 MB": 50 << 20, "1.5g": 3 << 29, ".5m": 512 << 10, "1t": 1 << 40,
		"2PiB": 2 << 50, "9223372036854775807": math.MaxInt64, "32.7": 32,
	} {
		if got, err := size(s); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", " ", "-2", "-1k", "+5", "k", "mb", "5x", "5kx", "5kib2", "5mbb", "5kbit", "0x10", "1e6",
		"inf", "nan", "1.2.3", ".", "9223372036854775808", "8589934592g", "99999999p", "5  k", "1_000"} {
		if got, err := size(s); err == nil {
			t.Errorf("%q: %d and no error", s, got)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, s := range []string{"50MB", "1.5g", "-1", "9223372036854775807", "8589934591.99g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := size(s); err == nil && n < 0 && s != "-1" {
			t.Errorf("%q: %d", s, n)
		}
	})
}

func TestFlagResources(t *testing.T) {
	for _, c := range []struct{ file, line, want, err string }{
		{"", "", `{"cpu":{},"memory":{},"pids":{},"blockIO":{}}`, ""},
		{"", "--memory 50MB --memory-swap -1 --memory-reservation=1.5g",
			`{"memory":{"limit":52428800,"reservation":1610612736,"swap":-1}}`, ""},
		{`{"cpu":{"shares":512,"quota":1000},"memory":null}`, "--cpu-quota -1 --cpuset-cpus 0-1",
			`{"cpu":{"shares":512,"quota":-1,"cpus":"0-1"}}`, ""},
		{`{"pids":{"limit":7}}`, "--pids-limit 8 --blkio-weight 1000", `{"pids":{"limit":8},"blockIO":{"weight":1000}}`, ""},
		{"", "--blkio-weight 0 --cpu-idle 1", `{"cpu":{"idle":1},"blockIO":{"weight":0}}`, ""},
		{"", "--kernel-memory 5", `{}`, ""},
		{"", "--blkio-weight 9", "", "10 to 1000 are allowed"},
		{"", "--blkio-weight 65546", "", "10 to 1000 are allowed"}, // 10 in 16 bits
		{"", "--blkio-weight -1", "", `invalid value for --blkio-weight: "-1"`},
		{"", "--memory 5x", "", `invalid value for --memory: "5x"`},
		{"", "--cpu-period -1", "", `invalid value for --cpu-period: "-1"`},
		{"", "--l3-cache-schema x", "", "Intel RDT is not supported"},
	} {
		a, _ := testApp()
		var err error
		if a.logFile, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			t.Fatal(err)
		}
		fs, r, want := newFlags("update"), new(specs.LinuxResources), new(specs.LinuxResources)
		for _, f := range resourceFlags(complete(new(specs.LinuxResources))) {
			fs.String(f.name, "", "")
		}
		if c.file != "" {
			if err := json.Unmarshal([]byte(c.file), r); err != nil {
				t.Fatal(err)
			}
		}
		err = a.parse(fs, strings.Fields(c.line), 0, 0)
		if err == nil {
			err = a.flagResources(fs, complete(r))
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.line, err, c.err)
			}
			continue
		}
		if e := json.Unmarshal([]byte(c.want), want); e != nil {
			t.Fatal(e)
		}
		got, _ := json.Marshal(r)
		if w, _ := json.Marshal(complete(want)); err != nil || !bytes.Equal(got, w) {
			t.Errorf("%q: %s, %v; want %s", c.line, got, err, w)
		}
	}
}
