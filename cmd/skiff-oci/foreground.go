package main

import (
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/pidfd"
	"go.skiff.dev/skiff/internal/oci"
)

// passedOn are the signals that a user or an init system sends to a program. Not among them: what the kernel sends
// for faults, and Go's own.
var passedOn = [...]unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGCONT,
	unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH, unix.SIGPWR, unix.SIGIO,
}

// catchSignals starts to collect every signal that can be passed on. It comes before the container is made, so that
// none is lost.
func catchSignals(detach bool) chan os.Signal {
	if detach {
		return nil
	}
	ch := make(chan os.Signal, 64)
	for _, s := range passedOn {
		signal.Notify(ch, s)
	}
	return ch
}

// foreground passes signals and the terminal through until the process ends, and returns its exit code.
func foreground(p *oci.Process, sig chan os.Signal) (int, error) {
	restore := func() {}
	done := make(chan struct{})
	close(done)
	if p.Console != nil {
		restore = rawTerminal()
		resize(p)
		go func() { _, _ = io.Copy(p.Console, os.Stdin) }()
		done = make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(os.Stdout, p.Console) // ends with EIO when the last slave closes
		}()
	}
	defer restore()
	go forward(p, sig)
	st, err := p.Wait()
	if p.Console != nil {
		<-done
	}
	signal.Stop(sig)
	return st.Code, err
}

func forward(p *oci.Process, sig chan os.Signal) {
	for s := range sig {
		switch n := s.(unix.Signal); n {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE:
		case unix.SIGWINCH:
			resize(p)
		default:
			_ = pidfd.Signal(p.PIDFD, n) // gone: Wait tells
		}
	}
}

func resize(p *oci.Process) {
	if p.Console == nil {
		return
	}
	if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(p.Console.Fd()), unix.TIOCSWINSZ, ws) // a terminal without a size works too
	}
}

// rawTerminal hands every key through (cfmakeraw); without a terminal on standard input there is nothing to do.
func rawTerminal() (restore func()) {
	old, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	t := *old
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if unix.IoctlSetTermios(0, unix.TCSETS, &t) != nil {
		return func() {}
	}
	return func() { _ = unix.IoctlSetTermios(0, unix.TCSETS, old) }
}
