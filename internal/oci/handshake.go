package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// handshake is the parent's part of the talk with init, up to "ready".
type handshake struct {
	wire          *wire
	child         *child
	proc          *Process
	warn          func(string)
	sync          func() error
	mapMount      func(index string, tree *os.File) error
	consoleSocket string
}

func (h *handshake) run() error {
	for {
		kind, body, file, err := h.wire.receive()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return context.Canceled
			}
			return h.child.died()
		}
		switch kind {
		case msgReady:
			return nil
		case msgError:
			return InitError(body)
		case msgWarning:
			h.warn(string(body))
		case msgConsole:
			if err := h.console(file); err != nil {
				return err
			}
		case msgSync, msgMap:
			if kind == msgSync {
				err = h.sync()
			} else {
				err = h.mapMount(string(body), file)
			}
			if err != nil {
				return err
			}
			if err := h.wire.send(msgGo, nil); err != nil {
				return h.child.died()
			}
		}
	}
}

// console keeps the pty master, or sends it to the console socket as runc does: one message with the descriptor, whose
// text is the terminal's name.
func (h *handshake) console(master *os.File) error {
	if h.consoleSocket == "" {
		h.proc.Console = master
		return nil
	}
	defer master.Close()
	if err := HandOver(h.consoleSocket, []byte("/dev/ptmx"), master); err != nil {
		return fmt.Errorf("console socket: %w", err)
	}
	return nil
}
