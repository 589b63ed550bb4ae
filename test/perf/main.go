// Perf is `make perf`: it measures a real skiff on this machine and prints each
// figure beside its committed budget (budgets.go), with the peer's figure from
// the same run where the machine has the peer. It fails when a budget is passed.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

// result is one figure.
type result struct {
	name   string
	value  float64
	unit   string
	detail string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	machine, err := describeMachine(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, machine)
	var results []result
	for _, b := range benchmarks() {
		if len(os.Args) > 1 && !slices.Contains(os.Args[1:], b.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", b.name)
		r, err := b.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		results = append(results, r...)
	}
	err = report(results)
	fmt.Println(machine)
	return err
}

// report prints the figures and tells which passed their budget.
func report(results []result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tMEASURED\tBUDGET\tGOAL\t")
	over := 0
	for _, r := range results {
		b, ok := budgets()[r.name]
		line := fmt.Sprintf("%s\t%.2f %s\t", r.name, r.value, r.unit)
		if ok {
			line += fmt.Sprintf("%g\t%g\t", b.limit, b.goal)
			if r.value > b.limit {
				line += "OVER "
				over++
			}
		} else {
			line += "-\t-\t"
		}
		fmt.Fprintln(w, line+r.detail)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if over > 0 {
		return fmt.Errorf("%d figures passed their budget", over)
	}
	return nil
}

// median of durations, in milliseconds.
func median(samples []time.Duration) float64 { return percentile(samples, 50) }

func percentile(samples []time.Duration, p int) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	i := (len(sorted)*p + 99) / 100
	return float64(sorted[max(i, 1)-1].Microseconds()) / 1000
}
