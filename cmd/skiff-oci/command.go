package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"skiff.dev/skiff/internal/oci"
)

func command(args []string) int {
	if len(args) < 2 {
		return 1
	}
	bundle, _ := os.Getwd()
	b, err := os.ReadFile("config.json")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var s specs.Spec
	if err := json.Unmarshal(b, &s); err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	c, err := oci.Create(ctx, oci.CreateOptions{ID: args[1], StateDir: "/tmp/k1/state", Bundle: bundle, Spec: &s, RawSpec: b, Stdio: [3]*os.File{os.Stdin, os.Stdout, os.Stderr}, Warn: func(s string) { fmt.Fprintln(os.Stderr, "warning:", s) }})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		c.Delete(true)
		return 1
	}
	st, err := c.Init.Wait()
	if err := c.Delete(true); err != nil {
		fmt.Println(err)
	}
	return st.Code
}
