package store

import (
	"context"
	"fmt"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap returns a zap logger that writes to log. What etcd calls information
// is detail here, so a normal start says nothing. A fatal entry panics instead
// of ending the process: start turns that into an error.
func newZap(log *slog.Logger) *zap.Logger {
	return zap.New(&bridge{log: log.With("component", "etcd")}, zap.WithFatalHook(panicHook{}))
}

// bridge is a zapcore.Core on top of slog.
type bridge struct {
	log *slog.Logger
}

func (b *bridge) Enabled(level zapcore.Level) bool {
	return b.log.Enabled(context.Background(), slogLevel(level))
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log.With(attrs(fields)...)}
}

func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	b.log.Log(context.Background(), slogLevel(e.Level), e.Message, attrs(fields)...)
	return nil
}

func (b *bridge) Sync() error { return nil }

// slogLevel lowers etcd's levels by one: its warnings tell of things that mend
// themselves (a slow disk, a retried request).
func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level >= zapcore.ErrorLevel:
		return slog.LevelError
	case level == zapcore.WarnLevel:
		return slog.LevelInfo
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
