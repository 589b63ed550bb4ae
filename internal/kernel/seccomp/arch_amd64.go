package seccomp

import "golang.org/x/sys/unix"

const (
	nativeName = "SCMP_ARCH_X86_64"
	compatName = "SCMP_ARCH_X86"
)

func nativeArchs() (native, compat arch) {
	return arch{audit: unix.AUDIT_ARCH_X86_64, table: numbers[:]}, arch{audit: unix.AUDIT_ARCH_I386, table: numbers32[:]}
}
