package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec" //nolint:depguard // not a tool that skiff needs: a program that the node's owner names in a file of credentials
	"regexp"
	"strings"
	"time"
)

// helperName keeps "../../bin/sh" out of the name of a program.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// helperTimeout bounds a program that asks some cloud for a token.
const helperTimeout = 30 * time.Second

// askHelper runs docker-credential-NAME get, by the protocol of
// docker/docker-credential-helpers. None is no error: the registry may be public.
func askHelper(ctx context.Context, name, server string) ([]Credentials, error) {
	if !helperName.MatchString(name) {
		return nil, fmt.Errorf("credential helper %q: it is the part of a program's name behind docker-credential-", name)
	}
	program := "docker-credential-" + name
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "get")
	// A program that leaves a child with its output open does not hold the pull.
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(server)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said := printable(strings.TrimSpace(out.String() + errs.String()))
		if strings.Contains(said, "credentials not found") {
			return nil, nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("running %s for %s: %w: %s", program, server, err, said)
	}
	var doc struct{ Username, Secret string }
	if json.Unmarshal(out.Bytes(), &doc) != nil {
		return nil, fmt.Errorf("running %s for %s: %w", program, server, errors.New("its answer is no JSON"))
	}
	if doc.Username == "<token>" {
		return []Credentials{{IdentityToken: doc.Secret}}, nil
	}
	return []Credentials{{Username: doc.Username, Password: doc.Secret}}, nil
}
