package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// process is what /proc tells of one; no program of the host is run.
type process struct {
	pid        int
	dir        string   // in /proc
	comm, args string   // the kernel's name of it, and its command line
	stat       []string // of the file of that name, from the state on
}

func readProcess(pid int) (p process, ok bool) {
	p = process{pid: pid, dir: "/proc/" + strconv.Itoa(pid)}
	stat := readFile(p.dir + "/stat")
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return p, false
	}
	p.comm, p.stat = stat[strings.IndexByte(stat, '(')+1:end], strings.Fields(stat[end+1:])
	p.args = strings.TrimSpace(strings.ReplaceAll(readFile(p.dir+"/cmdline"), "\x00", " "))
	if p.args == "" {
		p.args = "[" + p.comm + "]"
	}
	return p, len(p.stat) >= 20
}

// number is one of proc_pid_stat(5), counted from the state, which is 0.
func (p *process) number(i int) int64 {
	n, _ := strconv.ParseInt(p.stat[i], 10, 64)
	return n
}

// column is one of ps's.
type column struct {
	name, head string
	of         func(*process) string
}

func columns() []column {
	return []column{
		{"uid", "UID", func(p *process) string { return owner(p.dir) }},
		{"user", "USER", func(p *process) string { return owner(p.dir) }},
		{"pid", "PID", func(p *process) string { return strconv.Itoa(p.pid) }},
		{"ppid", "PPID", func(p *process) string { return p.stat[1] }},
		{"pgid", "PGID", func(p *process) string { return p.stat[2] }},
		{"c", "C", func(*process) string { return "0" }},
		{"stime", "STIME", func(p *process) string { return startedAt(p.number(19)) }},
		{"tty", "TTY", (*process).tty},
		{"stat", "STAT", (*process).state},
		{"nlwp", "NLWP", func(p *process) string { return p.stat[17] }},
		{"time", "TIME", (*process).cpuTime},
		{"comm", "COMMAND", func(p *process) string { return p.comm }},
		{"args", "COMMAND", func(p *process) string { return p.args }},
		{"command", "COMMAND", func(p *process) string { return p.args }},
		{"cmd", "CMD", func(p *process) string { return p.args }},
	}
}

// psColumns reads those options of ps that choose columns; all processes of a container are shown whatever is said.
func psColumns(options []string) ([]column, error) {
	list := "uid,pid,ppid,c,stime,tty,time,cmd" // -f
	for i := 0; i < len(options); i++ {
		word := strings.TrimPrefix(options[i], "-")
		for j, letter := range word {
			switch letter {
			case 'e', 'A', 'a', 'f':
			case 'x':
				list = "pid,tty,stat,time,command"
			case 'o':
				list = word[j+1:]
				if list == "" && i+1 < len(options) {
					i++
					list = options[i]
				}
				return columnsOf(list)
			default:
				return nil, fmt.Errorf("ps option %q is not supported: -e, -f, -x and -o are", options[i])
			}
		}
	}
	return columnsOf(list)
}

func columnsOf(list string) (out []column, err error) {
	for name := range strings.SplitSeq(list, ",") {
		n := len(out)
		for _, c := range columns() {
			if c.name == name {
				out = append(out, c)
			}
		}
		if n == len(out) {
			err = errors.Join(err, fmt.Errorf("ps has no column %q", name))
		}
	}
	return out, err
}

func psTable(w io.Writer, pids []int, cols []column) error {
	tw := tabwriter.NewWriter(w, 8, 1, 3, ' ', 0)
	row := func(text func(column) string) {
		for i, c := range cols {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			if i == 0 && c.name == "pid" { // ps has numbers on the right, and callers look for the space before them
				fmt.Fprintf(tw, "%7s", text(c))
				continue
			}
			fmt.Fprint(tw, text(c))
		}
		fmt.Fprintln(tw)
	}
	row(func(c column) string { return c.head })
	for _, pid := range pids {
		if p, ok := readProcess(pid); ok {
			row(func(c column) string { return c.of(&p) })
		}
	}
	return tw.Flush()
}

const ticks = 100 // USER_HZ, fixed in the kernel's interface

func (p *process) cpuTime() string {
	cpu := (p.number(11) + p.number(12)) / ticks
	return fmt.Sprintf("%02d:%02d:%02d", cpu/3600, cpu/60%60, cpu%60)
}

func (p *process) tty() string {
	if dev := uint64(p.number(4)); unix.Major(dev) == 136 { // Documentation/admin-guide/devices.txt: ptys
		return fmt.Sprintf("pts/%d", unix.Minor(dev))
	}
	return "?"
}

// state is the kernel's letter with ps's marks: session leader, several threads, foreground.
func (p *process) state() string {
	s := p.stat[0]
	if p.number(3) == int64(p.pid) {
		s += "s"
	}
	if p.number(17) > 1 {
		s += "l"
	}
	if p.stat[2] == p.stat[5] {
		s += "+"
	}
	return s
}

func owner(dir string) string {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return "?"
	}
	id := strconv.Itoa(int(st.Uid))
	for line := range strings.Lines(readFile("/etc/passwd")) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == id {
			return f[0]
		}
	}
	return id
}

func startedAt(sinceBoot int64) string {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return "?"
	}
	ago := time.Duration(ts.Nano()) - time.Duration(sinceBoot)*(time.Second/ticks)
	at := time.Now().Add(-ago)
	if ago > 24*time.Hour {
		return at.Format("Jan02")
	}
	return at.Format("15:04")
}
