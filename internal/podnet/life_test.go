package podnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/netlink"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// host is what Teardown must leave as it was.
func host(t *testing.T) string {
	t.Helper()
	c, err := netlink.DialRoute(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	links, err := c.Links()
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := c.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	routes, err := c.Routes()
	if err != nil {
		t.Fatal(err)
	}
	forward, err := readSysctl(ipForward)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprint("forward ", forward, "\n", addrs, "\n", routes, "\n")
	for _, l := range links {
		text += fmt.Sprintf("%s %s up=%t\n", l.Name, l.Kind, l.Up)
	}
	n, err := nft.Open("skt")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := n.MapNames(); err == nil {
		text += "table skt\n"
	}
	return text
}

func TestTeardownLeavesTheHostAsItWas(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	if err := writeSysctl(ipForward, "0"); err != nil {
		t.Fatal(err)
	}
	before := host(t)
	n := started(t)
	attach(t, n, "a", AttachOptions{PortMappings: []PortMapping{{HostPort: 80, ContainerPort: 80}}})
	// Another process tears down, as `skiff down --purge` may after a crash.
	opts := n.opts
	other, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Teardown(); err != nil {
		t.Fatal(err)
	}
	if after := host(t); after != before {
		t.Errorf("host before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := os.Stat(opts.Ledger); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ledger is left: %v", err)
	}
	if err := other.Teardown(); err != nil {
		t.Errorf("a second Teardown: %v", err)
	}
}

func TestRecoverFreesWhatIsGone(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	n := started(t)
	live, at := attach(t, n, "live", AttachOptions{PortMappings: []PortMapping{{HostPort: 8080, ContainerPort: 80}}})
	attach(t, n, "dead", AttachOptions{})
	kerneltest.ServeTCP(t, live, ":80")
	// Killed here: a new process reads what is on disk.
	again, err := New(n.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := again.Recover(t.Context(), []string{"live"}); err != nil {
		t.Fatal(err)
	}
	again.pending.Wait()
	if len(again.addrs.inUse) != 1 || !again.addrs.inUse[at.IPs[0]] {
		t.Errorf("addresses in use: %v, want only %s", again.addrs.inUse, at.IPs[0])
	}
	if _, err := kerneltest.Ask(at.IPs[0].String() + ":80"); err != nil {
		t.Errorf("the pod that lives: %v", err)
	}
	if _, err := kerneltest.Ask("10.42.0.1:8080"); err != nil {
		t.Errorf("its host port: %v", err)
	}
	files, err := os.ReadDir(again.records.dir)
	if err != nil || len(files) != 1 {
		t.Errorf("records %v, error %v", files, err)
	}
}

func TestStateOfAnotherBootIsForgotten(t *testing.T) {
	dir := t.TempDir()
	r := records{dir: dir, bootID: "before"}
	rec := &record{ID: "a", Attachment: Attachment{IPs: []netip.Addr{netip.MustParseAddr("10.42.0.5")}, HostInterface: "x"}}
	if err := r.save(rec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "torn"), []byte(`{"id":"b","ip`), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, err := r.load(); err != nil || len(found) != 1 {
		t.Fatalf("found %v, error %v", found, err)
	}
	r.bootID = "after"
	if found, err := r.load(); err != nil || len(found) != 0 {
		t.Fatalf("found %v, error %v", found, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestTheLastSkiffRestoresForwarding(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	if err := writeSysctl(ipForward, "0"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ledger.json")
	for _, name := range []string{"a", "b", "a"} {
		if err := needSysctl(path, name, ipForward, "1"); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"a", "b", "b"} {
		if err := releaseSysctl(path, name, ipForward); err != nil {
			t.Fatal(err)
		}
		want := "0"
		if i == 0 {
			want = "1"
		}
		if got, _ := readSysctl(ipForward); got != want {
			t.Errorf("after %s left (step %d) forwarding is %s, want %s", name, i, got, want)
		}
	}
	// What the host had by itself is not ours to take away.
	if err := writeSysctl(ipForward, "1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(needSysctl(path, "a", ipForward, "1"), releaseSysctl(path, "a", ipForward)); err != nil {
		t.Fatal(err)
	}
	if got, _ := readSysctl(ipForward); got != "1" {
		t.Error("forwarding of the host was switched off")
	}
}

func TestConflictsAreNamed(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	started(t)
	opts := options(t)
	opts.Bridge, opts.LinkPrefix, opts.Table, opts.Name = "skv0", "skv", "skv", "other"
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	err = n.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "skt0") || !strings.Contains(err.Error(), "-cidr") {
		t.Errorf("a range that is in use: error %v", err)
	}
}

func TestForeignFirewallIsReported(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("no nft program to play the other firewall")
	}
	out, err := exec.Command("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := started(t)
	if w := n.Warnings(); len(w) != 1 || !strings.Contains(w[0], "ip filter FORWARD") {
		t.Errorf("warnings %q", w)
	}
}

func TestAddressesRest(t *testing.T) {
	a, err := newAddresses(netip.MustParsePrefix("10.42.0.0/28"))
	if err != nil {
		t.Fatal(err)
	}
	first, _ := a.take()
	a.release(first)
	for range 12 {
		next, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		if next == first {
			t.Error("an address was given out again while others were free")
		}
		if next == gateway(a.cidr) || next == at(a.cidr, 0) || next == at(a.cidr, 15) {
			t.Errorf("%s is not a pod's to have", next)
		}
	}
	if last, err := a.take(); err != nil || last != first {
		t.Errorf("last free address: %s, error %v", last, err)
	}
	if _, err := a.take(); err == nil || !strings.Contains(err.Error(), "all 13 addresses") {
		t.Errorf("a full range: error %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"id":"a","bootID":"b","ips":["10.42.0.5"],"hostInterface":"skt0123456789"}`))
	f.Add([]byte(`{"id":"a","ips":[""],"hostInterface":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, ok := parseRecord(b)
		if !ok {
			return
		}
		a, err := newAddresses(netip.MustParsePrefix("10.42.0.0/24"))
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range rec.IPs {
			a.claim(ip)
		}
		if len(a.inUse) > len(rec.IPs) {
			t.Error("claimed more than was written")
		}
	})
}
