package kubelet

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
)

// envFileMax bounds what is read of a file of variables: a pod wrote it.
const envFileMax = 1 << 20

// fileValue is a variable from a file in a volume of the pod (KEP-3721).
func (k *Kubelet) fileValue(pod *v1.Pod, ref *v1.FileKeySelector) (string, bool, error) {
	v := findVolume(pod, ref.VolumeName)
	if v == nil || v.Image != nil {
		return "", false, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", ref.VolumeName)
	}
	text, err := readBelow(k.volumes.Path(string(pod.UID), v), ref.Path)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	value, err := envFileValue(text, ref.Key)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	case value != "":
		return value, true, nil
	case isTrue(ref.Optional):
		return "", false, nil
	default:
		return "", false, fmt.Errorf("environment variable key %q not found in file %q", ref.Key, ref.Path)
	}
}

// readBelow reads a regular file below a directory. The pod owns all that is
// there: a link must not lead out of it, nor a pipe hold us up.
func readBelow(dir, name string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, envFileMax+1))
	if err != nil {
		return "", err
	}
	if len(text) > envFileMax {
		return "", fmt.Errorf("%s has more than %d bytes", name, envFileMax)
	}
	return string(text), nil
}

// envFileValue finds the first value of a key, or "". The file is a narrow part
// of what a shell reads, so that both agree: NAME='value', the value as it stands,
// over several lines if need be, then nothing but a comment. A value that does not
// follow its = at once is empty. What lies behind the key is not looked at.
func envFileValue(text, key string) (string, error) {
	for line := 1; text != ""; line++ {
		var now string
		now, text, _ = strings.Cut(text, "\n")
		now = strings.TrimLeft(strings.TrimSuffix(now, "\r"), " \t")
		if now == "" || now[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(now, "=")
		switch {
		case !found:
			return "", badEnvLine(line, "missing '='")
		case name == "":
			return "", badEnvLine(line, "empty variable name")
		case strings.TrimRight(name, " \t") != name:
			return "", badEnvLine(line, "whitespace before '=' is not allowed")
		case value != "" && strings.Contains(" \t", value[:1]):
			if name == key {
				return "", nil
			}
			continue
		case !strings.HasPrefix(value, "'"):
			return "", badEnvLine(line, "value must be enclosed in single quotes")
		}
		value = value[1:]
		from := line
		for !strings.Contains(value, "'") {
			if text == "" {
				return "", badEnvLine(from, "unclosed single quote")
			}
			now, text, _ = strings.Cut(text, "\n")
			value += "\n" + strings.TrimSuffix(now, "\r")
			line++
		}
		value, rest, _ := strings.Cut(value, "'")
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != '#' {
			return "", badEnvLine(line, "unexpected content after closing quote")
		}
		if name == key {
			return value, nil
		}
	}
	return "", nil
}

func badEnvLine(line int, why string) error {
	return fmt.Errorf("invalid environment variable format at line %d: %s", line, why)
}
