package anatomy

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Text draws the pod for a person.
func (p *Pod) Text(w io.Writer) {
	fmt.Fprintf(w, "pod %s/%s\n", p.Namespace, p.Name)
	fmt.Fprintf(w, "│ hostname   %s\n", p.Hostname)
	fmt.Fprintf(w, "│ address    %s\n", p.address())
	if p.Network.Host.Name != "" {
		fmt.Fprintf(w, "│ link       %s (%d) in the pod <-> %s (%d) on %s\n", p.Network.Pod.Name, p.Network.Pod.Index, p.Network.Host.Name, p.Network.Host.Index, p.Network.Host.Bridge)
	}
	fmt.Fprintf(w, "│ cgroup     %s\n", p.Cgroup.text())
	fmt.Fprintf(w, "│ shared     %s\n", namespaceText(p.Namespaces))
	fmt.Fprintln(w, "│")
	parts := append([]Part{p.Pause}, p.Containers...)
	for i, part := range parts {
		branch, rest := "├─", "│ "
		if i == len(parts)-1 {
			branch, rest = "└─", "  "
		}
		part.text(w, branch, rest)
	}
}

func (p *Pod) address() string {
	if p.Network.HostNetwork {
		return "the host's"
	}
	return strings.Join(p.Network.Addresses, ", ")
}

func (part *Part) text(w io.Writer, branch, rest string) {
	fmt.Fprintf(w, "%s %s (%s)\n", branch, part.Name, part.State)
	if part.PID == 0 {
		return
	}
	fmt.Fprintf(w, "%s   own      %s\n", rest, namespaceText(part.Namespaces))
	if part.Cgroup.Path != "" {
		fmt.Fprintf(w, "%s   cgroup   %s\n", rest, part.Cgroup.text())
	}
	for _, process := range part.Processes {
		fmt.Fprintf(w, "%s   %s%d (inside %d, uid %d) %s\n", rest, strings.Repeat("  ", process.Depth), process.PID, process.InnerPID, process.UID, process.Command)
	}
}

// namespaceText writes "net 4026532200, uts 4026532198 (host)".
func namespaceText(list map[string]Namespace) string {
	var texts []string
	for _, kind := range append(podKinds(), ownKinds()...) {
		ns, ok := list[kind]
		if !ok {
			continue
		}
		text := fmt.Sprintf("%s %d", kind, ns.Inode)
		if ns.Host {
			text += " (the host's)"
		}
		texts = append(texts, text)
	}
	return strings.Join(slices.Compact(texts), ", ")
}

func (c *Cgroup) text() string {
	return fmt.Sprintf("%s (v%d): cpu %s, memory %s, processes %s", c.Path, c.Version,
		cpuText(c.CPU), usageText(mebibytes(c.Memory.Used), c.Memory.Limit, mebibytes), usageText(fmt.Sprint(c.Pids.Used), c.Pids.Limit, func(n int64) string { return fmt.Sprint(n) }))
}

func cpuText(c CPU) string {
	text := fmt.Sprintf("%.2f s used", float64(c.UsedUsec)/1e6)
	if c.LimitMilli >= 0 {
		text += fmt.Sprintf(" of at most %dm", c.LimitMilli)
	}
	return text
}

func usageText(used string, limit int64, show func(int64) string) string {
	if limit < 0 {
		return used
	}
	return used + " of " + show(limit)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
