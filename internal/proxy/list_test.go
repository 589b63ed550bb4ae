package proxy

import (
	"os/exec"
	"testing"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
	"go.skiff.dev/skiff/internal/kernel/nft"
)

// People look at the rules with the nft program: it must understand them.
func TestNftProgramListsTheRules(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("no nft program on this machine")
	}
	c := newCluster(t, testDeps(), "a")
	svc := service("web", "10.43.0.50", 80, 30080)
	svc.Spec.SessionAffinity = "ClientIP"
	c.set(svc, "a")
	c.set(service("plain", "10.43.0.51", 80, 30081), "a")
	conn, err := nft.Open("skt")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	all, err := conn.Inventory(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ch := range all.Chains {
		if out, err := exec.Command("nft", "list", "chain", "inet", "skt", ch.Name).CombinedOutput(); err != nil {
			t.Errorf("nft list chain %s: %v\n%s", ch.Name, err, out)
		}
	}
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Errorf("nft list ruleset: %v\n%s", err, out)
	}
	t.Log(string(out))
}
