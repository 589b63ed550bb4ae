package kubelet

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// linuxContainer is a container's security context and limits.
func (k *Kubelet) linuxContainer(ctx context.Context, pod *v1.Pod, c *v1.Container, image string) (*runtimeapi.LinuxContainerConfig, error) {
	sc := effectiveSecurity(pod, c)
	uid, username, err := k.imageUser(ctx, image)
	if err != nil {
		return nil, err
	}
	if err := checkNonRoot(pod, c, sc, uid, username); err != nil {
		return nil, err
	}
	seccomp, err := k.seccompProfile(pod, c)
	if err != nil {
		return nil, err
	}
	users, err := k.podUsers(pod)
	if err != nil {
		return nil, err
	}
	security := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions:         namespaceOptions(pod, users),
		Privileged:               isTrue(sc.Privileged),
		ReadonlyRootfs:           isTrue(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:               sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		SupplementalGroups:       supplementalGroups(pod),
		SupplementalGroupsPolicy: groupsPolicy(pod),
		Seccomp:                  seccomp,
		Apparmor:                 apparmorProfile(pod, c),
		SelinuxOptions:           selinux(sc.SELinuxOptions),
	}
	if sc.Capabilities != nil {
		security.Capabilities = &runtimeapi.Capability{}
		for _, name := range sc.Capabilities.Add {
			security.Capabilities.AddCapabilities = append(security.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range sc.Capabilities.Drop {
			security.Capabilities.DropCapabilities = append(security.Capabilities.DropCapabilities, string(name))
		}
	}
	if target := ephemeralTarget(pod, c.Name); target != "" {
		security.NamespaceOptions.Pid = runtimeapi.NamespaceMode_TARGET
		security.NamespaceOptions.TargetId = k.runningContainer(ctx, pod, target)
	}
	security.RunAsUser, security.RunAsUsername = runAs(sc, uid, username)
	if sc.RunAsGroup != nil {
		security.RunAsGroup = &runtimeapi.Int64Value{Value: *sc.RunAsGroup}
	}
	if sc.ProcMount == nil || *sc.ProcMount == v1.DefaultProcMount {
		security.MaskedPaths = maskedPaths("/sys")
		security.ReadonlyPaths = readonlyPaths()
	}
	resources := containerResources(pod, c, k.capacity.memory())
	resources.Unified = k.cgroups.unified()
	return &runtimeapi.LinuxContainerConfig{Resources: resources, SecurityContext: security}, nil
}

// runAs is the user that the process gets: the pod's word, or the image's.
func runAs(sc *v1.SecurityContext, uid *int64, username string) (*runtimeapi.Int64Value, string) {
	switch {
	case sc.RunAsUser != nil:
		return &runtimeapi.Int64Value{Value: *sc.RunAsUser}, ""
	case uid != nil:
		return &runtimeapi.Int64Value{Value: *uid}, ""
	case username == "": // an image that names nobody runs as root
		return &runtimeapi.Int64Value{}, ""
	default:
		return nil, username
	}
}

// imageUser is the user that the image names: a number, or a name, or neither.
func (k *Kubelet) imageUser(ctx context.Context, image string) (*int64, string, error) {
	status, err := k.deps.Images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: image}})
	if err != nil {
		return nil, "", fmt.Errorf("reading user of image %q: %s", image, criText(err))
	}
	if u := status.GetImage().GetUid(); u != nil {
		uid := u.GetValue()
		return &uid, "", nil
	}
	return nil, status.GetImage().GetUsername(), nil
}

// checkNonRoot refuses a container that would run as root against its own word.
func checkNonRoot(pod *v1.Pod, c *v1.Container, sc *v1.SecurityContext, uid *int64, username string) error {
	if !isTrue(sc.RunAsNonRoot) {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", podFullName(pod), c.Name)
	switch {
	case sc.RunAsUser != nil:
		if *sc.RunAsUser == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
		}
		return nil
	case uid != nil && *uid == 0, uid == nil && username == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case uid == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", username, where)
	}
	return nil
}

// effectiveSecurity is a container's security context with the pod's where the
// container says nothing.
func effectiveSecurity(pod *v1.Pod, c *v1.Container) *v1.SecurityContext {
	out := &v1.SecurityContext{}
	if c.SecurityContext != nil {
		out = c.SecurityContext.DeepCopy()
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return out
	}
	if out.RunAsUser == nil {
		out.RunAsUser = p.RunAsUser
	}
	if out.RunAsGroup == nil {
		out.RunAsGroup = p.RunAsGroup
	}
	if out.RunAsNonRoot == nil {
		out.RunAsNonRoot = p.RunAsNonRoot
	}
	if out.SELinuxOptions == nil {
		out.SELinuxOptions = p.SELinuxOptions
	}
	return out
}

func supplementalGroups(pod *v1.Pod) []int64 {
	sc := pod.Spec.SecurityContext
	if sc == nil {
		return nil
	}
	groups := slices.Clone(sc.SupplementalGroups)
	if sc.FSGroup != nil && !slices.Contains(groups, *sc.FSGroup) {
		groups = append(groups, *sc.FSGroup)
	}
	return groups
}

func groupsPolicy(pod *v1.Pod) runtimeapi.SupplementalGroupsPolicy {
	sc := pod.Spec.SecurityContext
	if sc != nil && sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == v1.SupplementalGroupsPolicyStrict {
		return runtimeapi.SupplementalGroupsPolicy_Strict
	}
	return runtimeapi.SupplementalGroupsPolicy_Merge
}

// seccompProfile is the container's profile: its own, the pod's, or the
// runtime's default, which skiff turns on for all (upstream: SeccompDefault).
func (k *Kubelet) seccompProfile(pod *v1.Pod, c *v1.Container) (*runtimeapi.SecurityProfile, error) {
	var p *v1.SeccompProfile
	if c.SecurityContext != nil {
		p = c.SecurityContext.SeccompProfile
	}
	if p == nil && pod.Spec.SecurityContext != nil {
		p = pod.Spec.SecurityContext.SeccompProfile
	}
	if p == nil {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	}
	switch p.Type {
	case v1.SeccompProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}, nil
	case v1.SeccompProfileTypeLocalhost:
		// An empty name must not mean "none" (CVE-2023-2431).
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return nil, fmt.Errorf("localhostProfile must be set if seccompProfile type is Localhost")
		}
		// A path below the node agent's own directory, as upstream has it.
		name := filepath.Clean(*p.LocalhostProfile)
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("localhostProfile %q must be a path below %s", *p.LocalhostProfile, k.seccompDir())
		}
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: filepath.Join(k.seccompDir(), name)}, nil
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}, nil
	}
}

// seccompDir holds the profiles that pods may name.
func (k *Kubelet) seccompDir() string { return filepath.Join(k.deps.DataDir, "seccomp") }

func apparmorProfile(pod *v1.Pod, c *v1.Container) *runtimeapi.SecurityProfile {
	var p *v1.AppArmorProfile
	if c.SecurityContext != nil {
		p = c.SecurityContext.AppArmorProfile
	}
	if p == nil && pod.Spec.SecurityContext != nil {
		p = pod.Spec.SecurityContext.AppArmorProfile
	}
	if p == nil {
		return nil
	}
	switch p.Type {
	case v1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	case v1.AppArmorProfileTypeLocalhost:
		ref := ""
		if p.LocalhostProfile != nil {
			ref = *p.LocalhostProfile
		}
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: ref}
	default:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	}
}

func selinux(o *v1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// ephemeralTarget is the container whose processes an ephemeral container sees.
func ephemeralTarget(pod *v1.Pod, name string) string {
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return pod.Spec.EphemeralContainers[i].TargetContainerName
		}
	}
	return ""
}

// runningContainer is the identifier of the running container of that name.
func (k *Kubelet) runningContainer(ctx context.Context, pod *v1.Pod, name string) string {
	v, err := observe(ctx, k.deps.Runtime, string(pod.UID))
	if err != nil {
		return ""
	}
	if c := v.latest(name); c.running() {
		return c.ID
	}
	return ""
}

func isTrue(b *bool) bool { return b != nil && *b }

// maskedPaths are hidden from containers, readonlyPaths cannot be written; both
// as upstream 1.36 has them. Where the machine has thermal_throttle, the counts in
// it tell what other containers do.
func maskedPaths(sys string) []string {
	paths := strings.Fields(`/proc/asound /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats
		/proc/timer_list /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap`)
	here, _ := filepath.Glob(filepath.Join(sys, "devices/system/cpu/cpu[0-9]*/thermal_throttle")) // the pattern is a good one
	for _, p := range here {
		paths = append(paths, filepath.Join("/sys", strings.TrimPrefix(p, sys)))
	}
	return paths
}

func readonlyPaths() []string {
	return strings.Fields("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger")
}
