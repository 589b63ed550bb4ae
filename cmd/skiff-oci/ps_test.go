package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestPs(t *testing.T) {
	for _, c := range []struct{ options, head, err string }{
		{"", "UID PID PPID C STIME TTY TIME CMD", ""},
		{"-ef", "UID PID PPID C STIME TTY TIME CMD", ""},
		{"-e -x", "PID TTY STAT TIME COMMAND", ""},
		{"ax", "PID TTY STAT TIME COMMAND", ""},
		{"-e -o pid,comm", "PID COMMAND", ""},
		{"-eopid,ppid,args", "PID PPID COMMAND", ""},
		{"-o", "", `no column ""`},
		{"-o pid,what", "", `no column "what"`},
		{"aux", "", `ps option "aux" is not supported`},
		{"--forest", "", `ps option "--forest" is not supported`},
	} {
		cols, err := psColumns(strings.Fields(c.options))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v, want %q", c.options, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.options, err)
			continue
		}
		var out bytes.Buffer
		if err := psTable(&out, []int{os.Getpid(), 1 << 30}, cols); err != nil {
			t.Fatal(err)
		}
		head, rows, _ := strings.Cut(out.String(), "\n")
		if got := strings.Join(strings.Fields(head), " "); got != c.head {
			t.Errorf("%q: the head is %q, want %q", c.options, got, c.head)
		}
		if strings.Count(rows, "\n") != 1 || len(strings.Fields(rows)) < len(cols) {
			t.Errorf("%q: one process of two is there, and the table says\n%s", c.options, rows)
		}
	}
}
