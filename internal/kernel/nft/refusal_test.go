package nft

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRefusalSaysEachAnswerOnce(t *testing.T) {
	missing, busy := fmt.Errorf("netlink receive: %w", unix.ENOENT), fmt.Errorf("netlink receive: %w", unix.EBUSY)
	var all error
	for range 3 {
		all = errors.Join(all, missing)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("conn.Receive: %w", all), missing.Error()},
		{fmt.Errorf("conn.Receive: %w", errors.Join(all, busy)), missing.Error() + "\n" + busy.Error()},
		{missing, missing.Error()},
	} {
		got := refusal(c.err)
		if got.Error() != c.want || !errors.Is(got, unix.ENOENT) {
			t.Errorf("refusal of %q is %q, want %q", c.err, got, c.want)
		}
	}
}
