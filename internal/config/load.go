package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Source is where Load reads from. The order of precedence is, weakest first:
// defaults, File, its drop-ins File.d/*.yaml in the order of their names,
// Environ, Flags.
type Source struct {
	// Name is the skiff that is meant; empty means DefaultName.
	Name string
	// File is the configuration file. Empty means the standard place, where a
	// file may also be missing.
	File string
	// Environ is the environment, as os.Environ gives it.
	Environ []string
	// Flags are the flags given, by option name.
	Flags map[string]string
}

// Load reads the configuration and validates it. The second result names the
// options that were given and not left at their default.
func Load(src Source) (Config, map[string]bool, error) {
	c := Default(src.Name)
	given := map[string]bool{}
	if err := checkName(c.Name); err != nil {
		return c, nil, err
	}
	if err := loadFiles(&c, given, src); err != nil {
		return c, nil, err
	}
	env := map[string]string{}
	for _, pair := range src.Environ {
		key, value, _ := strings.Cut(pair, "=")
		env[key] = value
	}
	for _, o := range Options() {
		if value, ok := env[o.Variable()]; ok && value != "" {
			if err := o.Set(&c, value); err != nil {
				return c, nil, fmt.Errorf("variable %s: %w", o.Variable(), err)
			}
			given[o.Name] = true
		}
		if value, ok := src.Flags[o.Name]; ok {
			if err := o.Set(&c, value); err != nil {
				return c, nil, fmt.Errorf("flag --%s: %w", o.Name, err)
			}
			given[o.Name] = true
		}
	}
	if !c.ClusterDNS.IsValid() {
		c.ClusterDNS = DNSOf(c.ServiceCIDR)
	}
	return c, given, c.Validate()
}

func loadFiles(c *Config, given map[string]bool, src Source) error {
	file, optional := src.File, false
	if file == "" {
		file, optional = File(c.Name), true
	}
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && optional:
	case err != nil:
		return fmt.Errorf("reading the configuration: %w", err)
	default:
		if err := apply(c, given, file, data); err != nil {
			return err
		}
	}
	dropins, err := filepath.Glob(file + ".d/*.yaml")
	if err != nil {
		return fmt.Errorf("listing %s.d: %w", file, err)
	}
	slices.Sort(dropins)
	for _, name := range dropins {
		data, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		if err := apply(c, given, name, data); err != nil {
			return err
		}
	}
	return nil
}

// apply sets what one file holds. Errors name the file, the line and the key.
func apply(c *Config, given map[string]bool, file string, data []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%s: %s; mend the file or move it away", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: line %d: the file must hold keys and values such as %q", file, root.Line, "api-port: 6443")
	}
	options := Options()
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := slices.IndexFunc(options, func(o Option) bool { return o.Name == key.Value })
		if at < 0 {
			return fmt.Errorf("%s: line %d: field %q is not known; the fields are %s", file, key.Line, key.Value, optionNames(options))
		}
		if value.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s: line %d: field %q must be one value, not a list or a map", file, value.Line, key.Value)
		}
		if err := options[at].Set(c, value.Value); err != nil {
			return fmt.Errorf("%s: line %d: field %q: %w", file, value.Line, key.Value, err)
		}
		given[key.Value] = true
	}
	return nil
}

func optionNames(options []Option) string {
	names := make([]string, 0, len(options))
	for _, o := range options {
		names = append(names, o.Name)
	}
	return strings.Join(names, ", ")
}
