package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// report writes an error where runc's callers look for it: into the log file and, in plain words, to standard error; or
// without a file to standard error in the log's format.
func (a *app) report(err error) {
	if a.logFile != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	a.log("error", err.Error())
}

func (a *app) warn(msg string) { a.log("warning", msg) }

func (a *app) debugf(format string, args ...any) {
	if a.debug {
		a.log("debug", fmt.Sprintf(format, args...))
	}
}

func (a *app) log(level, msg string) {
	to := a.logFile
	if to == nil {
		to = os.Stderr
	}
	fmt.Fprintln(to, a.line(level, msg))
}

func (a *app) line(level, msg string) string {
	now := time.Now().Format(time.RFC3339)
	if a.json {
		b, _ := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, msg, now})
		return string(b)
	}
	return fmt.Sprintf("time=%q level=%s msg=%q", now, level, msg)
}
