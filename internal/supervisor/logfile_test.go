package supervisor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openLog is a log that is open.
func openLog(opts LogOptions) (*logFile, error) {
	l := newLog(opts)
	if opts.Path == "" {
		return l, nil
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func TestLogFormat(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	const stamp = "2026-01-02T03:04:05.000000678Z stdout "
	for name, c := range map[string]struct {
		writes []string
		want   []string
	}{
		"line":       {[]string{"a\n"}, []string{"F a"}},
		"empty line": {[]string{"\n\n"}, []string{"F ", "F "}},
		"prompt":     {[]string{"name? ", "x\n"}, []string{"P name? ", "F x"}},
		"cut":        {[]string{"a", "b", "\nc\n"}, []string{"P a", "P b", "F ", "F c"}},
		"long":       {[]string{strings.Repeat("x", maxLogLine+1) + "\n"}, []string{"P " + strings.Repeat("x", maxLogLine), "F x"}},
		"carriage":   {[]string{"a\r\n"}, []string{"F a\r"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "deep", "0.log")
			l, err := openLog(LogOptions{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			var buf []byte
			for _, w := range c.writes {
				buf = l.write("stdout", []byte(w), at, buf)
			}
			got, _ := os.ReadFile(path)
			var want string
			for _, w := range c.want {
				want += stamp + w + "\n"
			}
			if string(got) != want {
				t.Errorf("got %.200q, want %.200q", got, want)
			}
		})
	}
}

// TestLogBufferStaysSmall writes a chunk of empty lines, whose entries are forty times as large.
func TestLogBufferStaysSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := openLog(LogOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	buf := l.write("stdout", []byte(strings.Repeat("\n", chunk)), time.Now(), nil)
	if cap(buf) > 2*chunk {
		t.Errorf("a buffer of %d bytes", cap(buf))
	}
	if data, err := os.ReadFile(path); err != nil || logText(t, data) != strings.Repeat("\n", chunk) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// TestLogWithoutLines rotates at twice the size when no line ends, and loses nothing.
func TestLogWithoutLines(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(LogOptions{Path: filepath.Join(dir, "0.log"), MaxSize: 1000, MaxFiles: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	at := time.Unix(1, 0)
	for i := range 100 {
		l.write("stdout", []byte(strings.Repeat(string(rune('a'+i%26)), 100)), at.Add(time.Duration(i)*time.Second), nil)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "0.log*"))
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() > 2500 {
			t.Errorf("%s: %v %v", name, info.Size(), err)
		}
	}
	if got := logLines(t, dir); len(got) != 100*100 || len(names) < 4 {
		t.Errorf("%d bytes in %d files", len(got), len(names))
	}
}

func TestLogRotationKeepsEveryLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	l, err := openLog(LogOptions{Path: path, MaxSize: 1000, MaxFiles: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	now := time.Now()
	var want strings.Builder
	for i := range 500 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		now = now.Add(time.Millisecond)
		half := len(line) / 2
		l.write("stdout", []byte(line[:half]), now, nil)
		l.write("stdout", []byte(line[half:]), now, nil)
	}
	files, _ := filepath.Glob(path + ".*")
	if len(files) < 10 {
		t.Errorf("%d rotated files", len(files))
	}
	var all strings.Builder
	for _, f := range append(files, path) {
		data, _ := os.ReadFile(f)
		all.WriteString(logText(t, data))
	}
	if all.String() != want.String() {
		t.Error("lines were lost, doubled or reordered")
	}
	l.opts.MaxFiles = 3
	parent, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	l.prune(parent, "0.log")
	if files, _ := filepath.Glob(path + ".*"); len(files) != 2 {
		t.Errorf("%d rotated files, want 2", len(files))
	}
}

// TestLogThatCannotRotateIsKept fills the disk below a log that could not be renamed: what it holds stays.
func TestLogThatCannotRotateIsKept(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("mounting needs root: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "0.log")
	l, err := openLog(LogOptions{Path: path, MaxSize: 1000, MaxFiles: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	// A directory has the old file's name.
	now := time.Unix(1, 0)
	if err := os.MkdirAll(path+"."+now.UTC().Format("20060102-150405.000000000"), 0o755); err != nil {
		t.Fatal(err)
	}
	line := strings.Repeat("x", 99) + "\n"
	kept := 0
	for ; l.lost == 0; kept++ {
		l.write("stdout", []byte(line), now, nil)
		if info, err := os.Stat(path); err != nil || info.Size() != l.size {
			t.Fatalf("after %d lines the log has %v bytes, and %d are known of, %v", kept+1, info, l.size, err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || kept < 100 || logText(t, data) != strings.Repeat(line, kept-1) {
		t.Errorf("%d of %d lines are left, %v", strings.Count(string(data), "\n"), kept-1, err)
	}
	if l.rotateAt <= 1000 {
		t.Errorf("the next try at %d bytes", l.rotateAt)
	}
}

func TestReopenAfterRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := openLog(LogOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.write("stdout", []byte("a\n"), time.Now(), nil)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	l.write("stdout", []byte("b\n"), time.Now(), nil)
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	l.write("stdout", []byte("c\n"), time.Now(), nil)
	old, _ := os.ReadFile(path + ".old")
	fresh, _ := os.ReadFile(path)
	if got := logText(t, old) + "|" + logText(t, fresh); got != "a\nb\n|c\n" {
		t.Errorf("logs %q", got)
	}
}

// TestLogStaysBelowItsDirectory: a pod that may write to the directory of logs cannot aim its output at another file.
func TestLogStaysBelowItsDirectory(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(dir, "pod"), 0o755))
	must(os.Symlink(elsewhere, filepath.Join(dir, "pod/link")))
	must(os.Mkdir(filepath.Join(dir, "pod/app"), 0o755))
	must(os.Symlink(filepath.Join(elsewhere, "file"), filepath.Join(dir, "pod/app/0.log")))
	must(syscall.Mkfifo(filepath.Join(dir, "pod/app/1.log"), 0o600))
	for _, name := range []string{"pod/link/0.log", "pod/link/sub/0.log", "pod/app/0.log", "pod/app/1.log"} {
		if l, err := openLog(LogOptions{Path: filepath.Join(dir, name), Dir: dir}); err == nil {
			l.close()
			t.Errorf("%s was opened", name)
		}
	}
	if es, err := os.ReadDir(elsewhere); err != nil || len(es) > 0 {
		t.Errorf("%v, %v", es, err)
	}
	l, err := openLog(LogOptions{Path: filepath.Join(dir, "pod/new/0.log"), Dir: dir})
	must(err)
	l.close()
}

// TestLostRestOfALine: what comes behind a loss is not read as the rest of the line whose beginning is in the log.
func TestLostRestOfALine(t *testing.T) {
	dir := t.TempDir()
	l, err := openLog(LogOptions{Path: filepath.Join(dir, "0.log")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var buf []byte
	write := func(stream, text string) { buf = l.write(stream, []byte(text), time.Now(), buf) }
	lose := func(stream, text string) {
		good := l.f
		l.f = full
		write(stream, text)
		l.f = good
	}
	write("stdout", "begin")
	write("stderr", "other ")
	lose("stdout", " of a line\nanother\n")
	write("stderr", "stream\n")
	write("stdout", "whole\n")
	write("stdout", "a")
	write("stdout", "b\n")
	lose("stdout", "lost")
	write("stdout", "rest\n")
	data, err := os.ReadFile(l.opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(data)) {
		_, entry, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		stream, entry, _ := strings.Cut(entry, " ")
		tag, text, _ := strings.Cut(entry, " ")
		got[stream] += text + map[string]string{"P": "", "F": "|"}[tag]
	}
	if got["stdout"] != "begin|whole|ab|rest|" || got["stderr"] != "other stream|" {
		t.Errorf("read as %q", got)
	}
	if want := int64(len(" of a line\nanother\nlost")); l.lost != want {
		t.Errorf("%d bytes are counted as lost, want %d", l.lost, want)
	}
}
