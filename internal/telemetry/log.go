// Package telemetry sets up the log. Everything in skiff logs through log/slog;
// the libraries' klog is bridged into it.
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"

	"k8s.io/klog/v2"
)

// Setup makes the logger of this process and bridges klog into it.
// level is debug, info, warn or error; format is text or json.
func Setup(w io.Writer, level, format string) *slog.Logger {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		threshold = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: threshold}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	logger := slog.New(handler)
	slog.SetDefault(logger)
	klog.SetSlogLogger(slog.New(Quiet{handler}))
	return logger
}

// Quiet is a handler for the log of a library: what the library calls
// information is detail to a user of skiff, and what it calls an error is
// nearly always something that it tries again.
type Quiet struct{ slog.Handler }

// harmless are messages that libraries log as errors and that say only that
// somebody hung up.
func harmless() []string {
	return []string{"Error on socket receive", "Failed to encode watch event"}
}

// Enabled tells whether a record of the library's level would be written.
func (q Quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lower(level))
}

// Handle writes the record at the lowered level.
func (q Quiet) Handle(ctx context.Context, record slog.Record) error {
	record.Level = lower(record.Level)
	if slices.Contains(harmless(), record.Message) {
		record.Level = slog.LevelDebug
	}
	if !q.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, record)
}

// WithAttrs keeps the lowering.
func (q Quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Quiet{q.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the lowering.
func (q Quiet) WithGroup(name string) slog.Handler {
	return Quiet{q.Handler.WithGroup(name)}
}

func lower(level slog.Level) slog.Level {
	if level >= slog.LevelError {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
