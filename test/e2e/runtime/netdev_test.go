package runtime

import (
	"os/exec"
	goruntime "runtime"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A network device of the host goes into the container with what belongs to it.
func TestNetDevices(t *testing.T) {
	b := open(t)
	// The programs that this thread starts have a network of their own; it ends with the test. (A namespace made by
	// kerneltest would come with a /sys that has no cgroups.)
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	ip := func(line string) {
		t.Helper()
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", line, err, out)
		}
	}
	// Each has a name of its own: a device ends with its namespace, but some time after it.
	device := func(name string) {
		ip("link add " + name + " type veth")
		ip("link set " + name + " address 02:11:22:33:44:55 mtu 1400")
		ip("address add 192.0.2.7/24 dev " + name)
		ip("address add 2001:db8::7/64 dev " + name + " nodad")
		ip("address add 192.0.2.8/32 dev " + name + " scope link")
	}
	set := func(name, as string) {
		b.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{name: {Name: as}}
	}
	show := "ip -o link show | grep -v ' lo:' | sed 's/@[^ ]*//; s/.*: \\([^ ]*\\) <.*UP.* mtu \\([0-9]*\\) .*ether \\([^ ]*\\) .*/\\1 \\2 \\3/'; " +
		"ip -o address show | grep -v ' lo ' | grep -v fe80 | sed 's/.* \\(inet6*\\) \\([^ ]*\\) .*/\\2/' | sort"
	want := " 1400 02:11:22:33:44:55\n192.0.2.7/24\n2001:db8::7/64"
	device("first")
	set("first", "")
	b.same("the device", b.run(show), "first"+want)
	device("second")
	set("second", "eth%d")
	b.same("another name", b.run(show), "eth0"+want)
	device("mine")
	set("mine", "lo")
	b.refused("already: file exists")
	set("none", "")
	b.refused("no such device")
	set("mine", "a/b")
	b.refused("is not the name of a network device")
	ip("link show mine") // what was refused stays
}
