package store

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge is a zapcore.Core on top of slog.
type bridge struct {
	log    *slog.Logger
	silent *atomic.Bool
}

func newBridge(log *slog.Logger) *bridge {
	return &bridge{log: log.With("component", "etcd"), silent: &atomic.Bool{}}
}

// zap returns the logger. What etcd calls information is detail here, so a
// normal start says nothing. A fatal entry panics instead of ending the
// process: Store.start turns that into an error.
func (b *bridge) zap() *zap.Logger { return zap.New(b, zap.WithFatalHook(panicHook{})) }

// silence drops what follows: a store that stops complains of its own closed
// sockets.
func (b *bridge) silence() { b.silent.Store(true) }

func (b *bridge) Enabled(level zapcore.Level) bool {
	return !b.silent.Load() && b.log.Enabled(context.Background(), slogLevel(level))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log.With(attrs(fields)...), silent: b.silent}
}

func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Message == firstStart {
		return nil
	}
	b.log.Log(context.Background(), slogLevel(e.Level), e.Message, attrs(fields)...)
	return nil
}

func (b *bridge) Sync() error { return nil }

// slogLevel lowers etcd's levels: its errors are mostly retried, its warnings
// tell of a setup that is meant to be so (one port, no peers).
func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level > zapcore.ErrorLevel:
		return slog.LevelError
	case level == zapcore.ErrorLevel:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	args := make([]any, 0, len(fields))
	for _, f := range fields {
		if v, ok := enc.Fields[f.Key]; ok {
			args = append(args, slog.Any(f.Key, v))
		}
	}
	return args
}

// firstStart is what the version monitor of etcd 3.6 says once when it looks
// before the first snapshot of a new database; it tries again.
const firstStart = "failed to update storage version"

// panicHook ends the calling goroutine's work instead of the process.
type panicHook struct{}

func (panicHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	detail := ""
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			detail = ": " + err.Error()
		}
	}
	panic(fmt.Sprintf("%s%s", ce.Message, detail))
}
