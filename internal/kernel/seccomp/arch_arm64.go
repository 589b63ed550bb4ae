package seccomp

import "golang.org/x/sys/unix"

const (
	nativeName = "SCMP_ARCH_AARCH64"
	compatName = "SCMP_ARCH_ARM"
)

func nativeArchs() (native, compat arch) {
	return arch{audit: unix.AUDIT_ARCH_AARCH64, table: numbers[:]}, arch{audit: unix.AUDIT_ARCH_ARM, table: numbers32[:]}
}
