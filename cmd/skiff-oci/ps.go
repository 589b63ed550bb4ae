package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// psTable prints what `ps -ef` would, read from /proc: no program of the host is run unless options of it are asked for.
func psTable(w io.Writer, pids []int) error {
	tw := tabwriter.NewWriter(w, 8, 1, 3, ' ', 0)
	fmt.Fprint(tw, "UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD\n")
	for _, pid := range pids {
		if line, ok := psLine(pid); ok {
			fmt.Fprintln(tw, line)
		}
	}
	return tw.Flush()
}

// psWith runs the host's ps with options of the caller's and keeps the lines of the container's processes. Options that
// leave the pids out leave nothing to know the processes by.
func psWith(w io.Writer, pids []int, options []string) error {
	out, err := exec.Command("ps", options...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("running ps: %w: %s", err, out)
	}
	table, err := psFilter(string(out), pids)
	if err == nil {
		_, err = io.WriteString(w, table)
	}
	return err
}

func psFilter(table string, pids []int) (string, error) {
	head, rows, _ := strings.Cut(table, "\n")
	column := slices.Index(strings.Fields(head), "PID")
	if column < 0 {
		return "", errors.New("couldn't find PID field in ps output")
	}
	var b strings.Builder
	b.WriteString(head + "\n")
	for line := range strings.Lines(rows) {
		f := strings.Fields(line)
		if len(f) <= column {
			continue
		}
		if pid, err := strconv.Atoi(f[column]); err == nil && slices.Contains(pids, pid) {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}

const ticks = 100 // USER_HZ, fixed in the kernel's interface

func psLine(pid int) (string, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat := readFile(dir + "/stat")
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return "", false
	}
	f := strings.Fields(stat[end+1:])
	if len(f) < 20 {
		return "", false
	}
	num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	cmd := strings.TrimSpace(strings.ReplaceAll(readFile(dir+"/cmdline"), "\x00", " "))
	if cmd == "" {
		cmd = "[" + stat[strings.IndexByte(stat, '(')+1:end] + "]"
	}
	cpu := (num(11) + num(12)) / ticks
	tty := "?"
	if dev := uint64(num(4)); dev != 0 {
		if unix.Major(dev) == 136 {
			tty = fmt.Sprintf("pts/%d", unix.Minor(dev))
		}
	}
	return fmt.Sprintf("%s\t%d\t%s\t0\t%s\t%s\t%02d:%02d:%02d\t%s", owner(dir), pid, f[1], startedAt(num(19)), tty,
		cpu/3600, cpu/60%60, cpu%60, cmd), true
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
