package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// authFile is what docker's config.json and containers' auth.json have in
// common; all other fields are about other things.
type authFile struct {
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

// Credentials looks through the files, in their order, for the credentials of a
// repository: those of the first file that has some, the most specific first;
// between Auth and Logins the providers are asked. A
// program docker-credential-NAME is run only where one of f.Auth names it in
// credHelpers or credsStore. What is wrong with a file is an error beside what
// the others give.
func (f Files) Credentials(ctx context.Context, domain, repo string) ([]Credentials, error) {
	var errs []error
	ask := func(files []string, programs bool) []Credentials {
		for _, file := range files {
			found, err := oneFile(ctx, file, domain, repo, programs)
			if err != nil {
				errs = append(errs, fmt.Errorf("%w: %s: %w", ErrSettings, file, err))
			}
			if len(found) > 0 {
				return found
			}
		}
		return nil
	}
	if found := ask(f.Auth, true); len(found) > 0 {
		return found, nil
	}
	found, err := f.Providers.credentials(ctx, domain, repo)
	if len(found) > 0 {
		return found, nil
	}
	errs = append(errs, err)
	if found := ask(f.Logins, false); len(found) > 0 {
		return found, nil
	}
	return nil, errors.Join(errs...)
}

func oneFile(ctx context.Context, file, domain, repo string, programs bool) ([]Credentials, error) {
	data, err := readIfThere(file)
	if err != nil || data == nil {
		return nil, err
	}
	var doc authFile
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, jsonError(data, err)
	}
	if !programs {
		doc.CredHelpers, doc.CredsStore = nil, ""
	}
	for key, program := range doc.CredHelpers {
		if normalKey(key) == domain {
			return askHelper(ctx, program, serverName(key))
		}
	}
	var out []Credentials
	var errs []error
	for _, m := range matching(doc.Auths, domain, repo) {
		c, err := m.credentials()
		if err != nil {
			errs = append(errs, fmt.Errorf("field auths.%q: %w", m.key, err))
		} else if c != (Credentials{}) { // with a store docker leaves an empty entry
			out = append(out, c)
		}
	}
	if len(out) > 0 || doc.CredsStore == "" {
		return out, errors.Join(errs...)
	}
	return askHelper(ctx, doc.CredsStore, serverName(domain))
}

// serverName is how docker's programs know a registry.
func serverName(domain string) string {
	if normalKey(domain) == "docker.io" {
		return "https://" + dockerHubKey + "/"
	}
	return domain
}

// jsonError names the line and the field, and never the content.
func jsonError(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: it is no JSON", lineAt(data, syntax.Offset))
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: field %q is no %s", lineAt(data, kind.Offset), kind.Field, kind.Type.Kind())
	}
	return errors.New("it is no JSON")
}

func lineAt(data []byte, offset int64) int {
	line := 1
	for _, b := range data[:min(int(offset), len(data))] {
		if b == '\n' {
			line++
		}
	}
	return line
}
