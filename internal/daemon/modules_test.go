package daemon

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAbsentModules(t *testing.T) {
	loaded := "veth 36864 0 - Live 0x0000000000000000\nnf_tables 331776 28 nft_ct,nft_masq, Live 0x0\n"
	builtin := "kernel/net/bridge/bridge.ko\nkernel/net/netfilter/nft-ct.ko\n"
	got := absent([]string{"bridge", "veth", "nf_tables", "nft_ct", "nft_masq"}, loaded, builtin)
	if !slices.Equal(got, []string{"nft_masq"}) {
		t.Errorf("absent are %q", got)
	}
}

func TestOtherErrorsAreNotExplained(t *testing.T) {
	for _, err := range []error{nil, unix.EBUSY, errors.New("range is in use")} {
		if got := explainNetwork(err); fmt.Sprint(got) != fmt.Sprint(err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
