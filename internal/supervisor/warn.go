package supervisor

import "strings"

// maxWarnings bounds the kinds of warning that are remembered.
const maxWarnings = 256

// warn passes on the runtime's warnings, each kind once: what a machine does
// not allow, it does not allow every container.
func (s *server) warn(text string) {
	kind := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	s.mu.Lock()
	_, known := s.warned[kind]
	if !known && len(s.warned) < maxWarnings {
		s.warned[kind] = struct{}{}
	}
	s.mu.Unlock()
	if !known {
		s.log.Warn("container runtime warns; it will not say so again", "text", text)
	}
}
