package container

import (
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"go.skiff.dev/skiff/internal/oci/defaults"
)

// specInput is all that a container's specification is made of.
type specInput struct {
	rec     *containerRecord
	sandbox *sandboxRecord
	image   ocispec.ImageConfig
	// shm is the sandbox's shared memory on the node, files its resolv.conf,
	// hostname and hosts.
	shm, files string
	host       hostFacts
}

// hostFacts are what the specification must know about the machine.
type hostFacts struct {
	cgroupV2 bool
	swap     bool // cgroups can limit swap
	hugetlb  bool
	// devices are the node's devices, for privileged containers.
	devices func() []specs.LinuxDevice
}

// buildSpec translates the CRI's configuration and the image's into a runtime
// specification. Namespaces of the pod are joined by the supervisor and are
// listed here without a path; see namespaces.
func buildSpec(in specInput) (*specs.Spec, error) {
	config := in.rec.Config
	sc := config.GetLinux().GetSecurityContext()
	args, err := processArgs(config, in.image)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(sc)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: rootName, Readonly: sc.GetReadonlyRootfs()},
		Process: &specs.Process{
			Terminal: config.GetTty(), Args: args, Env: environment(in), Cwd: workingDir(config, in.image),
			User:         specs.User{UID: in.rec.User.UID, GID: in.rec.User.GID, AdditionalGids: in.rec.User.Groups},
			Capabilities: caps, NoNewPrivileges: sc.GetNoNewPrivs(),
		},
		Linux: &specs.Linux{CgroupsPath: in.rec.CgroupPath, Namespaces: namespaces(in)},
	}
	if !sc.GetPrivileged() {
		spec.Linux.MaskedPaths = sc.GetMaskedPaths()
		spec.Linux.ReadonlyPaths = sc.GetReadonlyPaths()
	}
	if err := addSecurity(spec, sc); err != nil {
		return nil, err
	}
	if err := addMounts(spec, in); err != nil {
		return nil, err
	}
	if err := addDevices(spec, in); err != nil {
		return nil, err
	}
	addResources(spec, config.GetLinux().GetResources(), in.host)
	addUsers(spec, usersOf(in.sandbox.Config))
	return spec, nil
}

// processArgs merges command and arguments as the CRI defines: the pod's
// command replaces the image's entrypoint and its arguments, the pod's
// arguments replace the image's.
func processArgs(config *runtimeapi.ContainerConfig, image ocispec.ImageConfig) ([]string, error) {
	command, args := config.GetCommand(), config.GetArgs()
	if len(command) == 0 {
		if len(args) == 0 {
			args = image.Cmd
		}
		if len(image.Entrypoint) != 1 || image.Entrypoint[0] != "" {
			command = image.Entrypoint
		}
	}
	all := slices.Concat(command, args)
	if len(all) == 0 {
		return nil, invalid("no command specified: neither the container nor its image %q names one", config.GetImage().GetImage())
	}
	return all, nil
}

// environment is the image's, overridden by the container's.
func environment(in specInput) []string {
	env := map[string]int{}
	var out []string
	set := func(entry string) {
		key, _, _ := strings.Cut(entry, "=")
		if i, have := env[key]; have {
			out[i] = entry
			return
		}
		env[key] = len(out)
		out = append(out, entry)
	}
	for _, e := range defaults.Env() {
		set(e)
	}
	if name := hostname(in.sandbox.Config); name != "" {
		set("HOSTNAME=" + name)
	}
	if in.rec.Config.GetTty() {
		set("TERM=xterm")
	}
	if home := in.rec.User.Home; home != "" {
		set("HOME=" + home)
	} else {
		set("HOME=/")
	}
	for _, e := range in.image.Env {
		set(e)
	}
	for _, e := range in.rec.Config.GetEnvs() {
		set(e.GetKey() + "=" + string(e.GetValue()))
	}
	return out
}

func workingDir(config *runtimeapi.ContainerConfig, image ocispec.ImageConfig) string {
	dir := config.GetWorkingDir()
	if dir == "" {
		dir = image.WorkingDir
	}
	return path.Join("/", dir)
}

// namespaces lists what is new. What is the pod's is in joins, what is missing
// in both is the node's.
func namespaces(in specInput) []specs.LinuxNamespace {
	sc := in.rec.Config.GetLinux().GetSecurityContext()
	all := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if sc.GetNamespaceOptions().GetPid() == runtimeapi.NamespaceMode_CONTAINER {
		all = append(all, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	// A privileged container manages the node's cgroups.
	if !sc.GetPrivileged() {
		all = append(all, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	for kind := range joins(in.rec, in.sandbox) {
		all = append(all, specs.LinuxNamespace{Type: kind})
	}
	slices.SortFunc(all, func(a, b specs.LinuxNamespace) int { return strings.Compare(string(a.Type), string(b.Type)) })
	return all
}

// joins names, per namespace kind, the container of the supervisor whose
// namespace is entered: pause, or the target of an ephemeral container.
func joins(rec *containerRecord, box *sandboxRecord) map[specs.LinuxNamespaceType]string {
	out := map[specs.LinuxNamespaceType]string{}
	if usersOf(box.Config) != nil {
		out[specs.UserNamespace] = box.ID
	}
	if !usesNode(ipcMode(box.Config)) {
		out[specs.IPCNamespace] = box.ID
	}
	if !usesNode(netMode(box.Config)) {
		out[specs.NetworkNamespace] = box.ID
		out[specs.UTSNamespace] = box.ID
	}
	options := rec.Config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch options.GetPid() {
	case runtimeapi.NamespaceMode_POD:
		if !usesNode(pidMode(box.Config)) {
			out[specs.PIDNamespace] = box.ID
		}
	case runtimeapi.NamespaceMode_TARGET:
		out[specs.PIDNamespace] = options.GetTargetId()
	}
	return out
}

// addDevices gives a container the devices that it asks for.
func addDevices(spec *specs.Spec, in specInput) error {
	limits := &specs.LinuxResources{}
	spec.Linux.Resources = limits
	if in.rec.Config.GetLinux().GetSecurityContext().GetPrivileged() {
		limits.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		if in.host.devices != nil {
			spec.Linux.Devices = in.host.devices()
		}
		return nil
	}
	limits.Devices = defaults.DeviceRules()
	for _, d := range in.rec.Config.GetDevices() {
		if d.GetPermissions() == "" || strings.Trim(d.GetPermissions(), "rwm") != "" {
			return invalid("device %q: permissions %q are not of the letters r, w and m", d.GetHostPath(), d.GetPermissions())
		}
		found, err := hostDevices(d.GetHostPath(), d.GetContainerPath())
		if err != nil {
			return invalid("device %q: %v", d.GetHostPath(), err)
		}
		for _, dev := range found {
			major, minor := dev.Major, dev.Minor
			spec.Linux.Devices = append(spec.Linux.Devices, dev)
			limits.Devices = append(limits.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: dev.Type, Major: &major, Minor: &minor, Access: d.GetPermissions(),
			})
		}
	}
	return nil
}
