package daemon

import (
	"fmt"
	"strings"

	"go.skiff.dev/skiff/internal/lifecycle"
)

// Drawing draws the components as ARCHITECTURE.md shows them: in start order,
// each with what it needs.
func Drawing(components []lifecycle.Component) (string, error) {
	group := lifecycle.Group{Components: components}
	order, err := group.Order()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, c := range order {
		if len(c.Needs) == 0 {
			fmt.Fprintf(&b, "%s\n", c.Name)
			continue
		}
		fmt.Fprintf(&b, "%-12s <- %s\n", c.Name, strings.Join(c.Needs, ", "))
	}
	return b.String(), nil
}
