package oci

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkLife is create, start, wait and delete, as the supervisor does them. With SKIFF_BENCH_STEPS it also prints
// the median of each of the parent's steps.
func BenchmarkLife(b *testing.B) {
	box := newBox(b, "")
	box.spec.Process.Args = []string{"true"}
	exe, err := SealedSelf()
	if p := os.Getenv("SKIFF_OCI"); p != "" {
		f, oerr := os.Open(p)
		if oerr != nil {
			b.Fatal(oerr)
		}
		exe, err = Seal("skiff-oci", f)
		f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	box.opts.Exe = exe
	took := map[string][]time.Duration{}
	var names []string
	timed := func(name string, f func() error) {
		t := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		if took[name] == nil {
			names = append(names, name)
		}
		took[name] = append(took[name], time.Since(t))
	}
	for b.Loop() {
		var c *Container
		steps := createParentSteps()
		for i, s := range steps {
			do := s.do
			steps[i].do = func(cr *creation, ctx context.Context) (err error) {
				timed(s.name, func() error { err = do(cr, ctx); return err })
				return err
			}
		}
		c, err = create(context.Background(), box.opts, steps)
		if err != nil {
			b.Fatal(err)
		}
		timed("start", func() error { return c.Start(context.Background()) })
		timed("wait", func() error { _, err := c.Init.Wait(); return err })
		timed("delete", func() error { return c.Delete(false) })
		c.Init.Close()
	}
	if os.Getenv("SKIFF_BENCH_STEPS") == "" {
		return
	}
	for _, n := range names {
		d := took[n]
		slices.Sort(d)
		fmt.Printf("%-10s min %v median %v\n", n, d[0], d[len(d)/2])
	}
}
