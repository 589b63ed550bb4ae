package emulator

import (
	"fmt"
	"io"
)

// cpio writes an initramfs: the format that cpio(5) calls "new ASCII", as the
// kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w       io.Writer
	written int
	inode   int
	err     error
}

// The types of an entry, as in inode(7).
const (
	cpioDir  = 0o040000
	cpioFile = 0o100000
)

func (c *cpio) dir(name string) { c.entry(name, cpioDir|0o755, nil) }

func (c *cpio) file(name string, perm int, body []byte) { c.entry(name, cpioFile|perm, body) }

// end writes the trailer; the first error of all writes is returned.
func (c *cpio) end() error {
	c.entry("TRAILER!!!", 0, nil)
	return c.err
}

func (c *cpio) entry(name string, mode int, body []byte) {
	c.inode++
	const links, root, epoch, noDevice, noSum = 1, 0, 0, 0, 0
	c.printf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inode, mode, root, root, links, epoch, len(body), noDevice, noDevice, noDevice, noDevice, len(name)+1, noSum)
	c.printf("%s\x00", name)
	c.pad()
	c.write(body)
	c.pad()
}

func (c *cpio) printf(format string, args ...any) { c.write(fmt.Appendf(nil, format, args...)) }

// pad fills up to a multiple of four.
func (c *cpio) pad() { c.write(make([]byte, (4-c.written%4)%4)) }

func (c *cpio) write(b []byte) {
	if c.err != nil {
		return
	}
	var n int
	n, c.err = c.w.Write(b)
	c.written += n
}
