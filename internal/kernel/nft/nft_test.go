package nft

import (
	"errors"
	"io/fs"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"go.skiff.dev/skiff/internal/kernel/kerneltest"
)

func TestElementsComeBackFromTheKernel(t *testing.T) {
	if !kerneltest.Enter(t, kerneltest.Net) {
		return
	}
	c, err := Open("skt")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.MapNames(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a table that is not there: %v", err)
	}
	vmap := Map{Name: "v", Key: []Type{Addr4, Proto, Port}, Verdict: true}
	data := Map{Name: "d", Key: []Type{Addr6, Mark}, Data: []Type{Addr6, Port}}
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	verdicts := []Element{{Key: string(Key{}.Addr(four).Proto(unix.IPPROTO_UDP).Port(53)), Data: "target"}}
	values := []Element{{Key: string(Key{}.Addr(six).Mark(7)), Data: string(Key{}.Addr(six).Port(8080))}}
	b := c.Batch()
	b.AddMap(vmap)
	b.AddMap(data)
	b.SetChain(Chain{Name: "target", Rules: []Rule{{Exprs: Drop()}}})
	b.AddElements(vmap, verdicts)
	b.AddElements(data, values)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	got, err := c.Inventory([]Map{vmap, data})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]Element{"v": verdicts, "d": values}
	if diff := cmp.Diff(want, got.Elements); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	if text := vmap.FormatKey(verdicts[0].Key) + " : " + vmap.FormatData(verdicts[0].Data); text != "192.0.2.1 . udp . 53 : goto target" {
		t.Errorf("printed %q", text)
	}
	if text := data.FormatKey(values[0].Key) + " : " + data.FormatData(values[0].Data); text != "2001:db8::1 . 7 : 2001:db8::1 . 8080" {
		t.Errorf("printed %q", text)
	}
	// A batch with one bad part changes nothing.
	b = c.Batch()
	b.DeleteElements(vmap, verdicts)
	b.DeleteElements(data, []Element{{Key: string(Key{}.Addr(six).Mark(8))}})
	if err := b.Commit(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a batch with a bad part: %v", err)
	}
	if left, err := c.Elements(vmap); err != nil || len(left) != 1 {
		t.Errorf("after it: %v, error %v", left, err)
	}
	if err := c.DeleteTable(); err != nil {
		t.Error(err)
	}
	if err := c.DeleteTable(); err != nil {
		t.Errorf("deleting it twice: %v", err)
	}
}
