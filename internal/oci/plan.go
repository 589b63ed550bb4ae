package oci

// plan is everything init needs to know, in the words of the kernel: options are parsed, names are numbers, files are
// descriptors. Init trusts it; all checks of the configuration happened in the parent.
type plan struct {
	exec     bool  // join a running container; false: make one
	fds      int   // first descriptor that is not the process's own: 3 + preserved ones
	listen   int   // descriptor of the start socket; -1: there is none
	straight bool  // init does not wait to be started
	stateDir int   // with straight: the container's directory, for the record
	tasks    []int // "tasks" files of cgroups of version 1 that init enters
	joins    []join
	unshare  uint64 // namespaces init makes itself, after it was put into its cgroup
	wantSync bool   // the parent runs hooks between namespaces and root

	rootFD     int    // bind mount of the root directory; -1 with an overlay
	rootPath   string // of the root directory on the host; empty with an overlay
	rootLate   bool   // init opens rootPath, see tree
	overlay    overlayPlan
	rootProp   uint64
	noPivot    bool
	hostMounts bool // the mount namespace is the caller's
	newNet     bool // a new network namespace was made
	mounts     []mountPlan
	devices    []devicePlan
	fillDev    bool
	cgroupV2   bool
	cgroups    []pair // v1: name in /sys/fs/cgroup, the container's own directory on the host
	masked     []string
	readonly   []string
	readonlyFS bool
	sysctls    []pair
	hostname   string
	domainname string
	hasHost    bool
	hasDomain  bool
	create     []hookPlan // createContainer
	start      []hookPlan // startContainer
	stateJSON  []byte     // what hooks get on stdin

	process processPlan
}

type overlayPlan struct {
	lower       []string
	upper, work string
	readonly    bool
	volatile    bool
}

type join struct {
	fd   int
	flag uint64
}

type pair struct{ key, value string }

type mountKind int

const (
	mountFS mountKind = iota
	mountBind
	mountCgroup
	mountRemount
)

type mountPlan struct {
	kind        mountKind
	dest        string
	fstype      string
	source      string
	params      []string
	host        string // of a bind mount whose source init opens, see tree
	fd          int    // of a bind mount; -1: source is a path in the root, and may be made by an earlier mount
	dir         bool
	recursive   bool
	mapped      bool // the parent maps the ids of what fd becomes
	set, clr    uint64
	rset, rclr  uint64
	propagation []uint64
	copyUp      bool
}

type devicePlan struct {
	path     string
	mode     uint32 // with S_IFCHR and its like
	dev      uint64
	uid, gid uint32
	bindFD   int  // -1: mknod, or what init opens
	late     bool // init opens path on the host, see tree
}

type hookPlan struct {
	path    string
	args    []string
	env     []string
	timeout int // seconds, 0: none
}

type rlimit struct {
	resource  int
	soft      uint64
	hard      uint64
	mustRaise bool
}

type processPlan struct {
	args, env     []string
	cwd           string
	uid, gid      uint32
	groups        []uint32
	keepGroups    bool
	umask         int // -1: leave
	terminal      bool
	rows, cols    uint32
	console       bool // also put the terminal on /dev/console
	plainLines    bool // the terminal does not end lines in CR LF
	hasCaps       bool
	bounding      uint64
	effective     uint64
	permitted     uint64
	inheritable   uint64
	ambient       uint64
	noNewPrivs    bool
	rlimits       []rlimit
	seccomp       []byte
	seccompFlags  uint32
	seccompNotify bool
	label         string // SELinux
	profile       string // AppArmor
	oomAdj        int
	hasOOM        bool
	personality   int64 // -1: leave
	scheduler     schedPlan
	memory        memoryPlan
	ioprio        int // -1: leave
	affinity      []byte
	keepAffinity  bool // without affinity: leave the CPUs that init has
	newKeyring    bool
	keyring       string
}

// memoryPlan are the arguments of set_mempolicy.
type memoryPlan struct {
	set   bool
	mode  int // with its flags
	nodes []uint64
}

type schedPlan struct {
	set                       bool
	confined                  bool // the container has CPUs of its own
	policy, nice, prio        int
	flags                     uint64
	runtime, deadline, period uint64
}

func (p *plan) code(c *coder) {
	c.flag(&p.exec)
	coded(c, &p.fds)
	c.fd(&p.listen)
	c.flag(&p.straight)
	c.fd(&p.stateDir)
	list(c, &p.tasks, (*coder).fd)
	list(c, &p.joins, func(c *coder, j *join) { c.fd(&j.fd); coded(c, &j.flag) })
	coded(c, &p.unshare)
	c.flag(&p.wantSync)
	c.fd(&p.rootFD)
	c.str(&p.rootPath)
	c.flag(&p.rootLate)
	c.strs(&p.overlay.lower)
	c.str(&p.overlay.upper)
	c.str(&p.overlay.work)
	c.flag(&p.overlay.readonly)
	c.flag(&p.overlay.volatile)
	coded(c, &p.rootProp)
	c.flag(&p.noPivot)
	c.flag(&p.hostMounts)
	c.flag(&p.newNet)
	list(c, &p.mounts, codeMount)
	list(c, &p.devices, codeDevice)
	c.flag(&p.fillDev)
	c.flag(&p.cgroupV2)
	list(c, &p.cgroups, codePair)
	c.strs(&p.masked)
	c.strs(&p.readonly)
	c.flag(&p.readonlyFS)
	list(c, &p.sysctls, codePair)
	c.str(&p.hostname)
	c.str(&p.domainname)
	c.flag(&p.hasHost)
	c.flag(&p.hasDomain)
	list(c, &p.create, codeHook)
	list(c, &p.start, codeHook)
	c.bytes(&p.stateJSON)
	p.process.code(c)
}

func codePair(c *coder, s *pair) {
	c.str(&s.key)
	c.str(&s.value)
}

func codeMount(c *coder, m *mountPlan) {
	coded(c, &m.kind)
	c.str(&m.dest)
	c.str(&m.fstype)
	c.str(&m.source)
	c.str(&m.host)
	c.strs(&m.params)
	c.fd(&m.fd)
	c.flag(&m.dir)
	c.flag(&m.recursive)
	c.flag(&m.mapped)
	coded(c, &m.set)
	coded(c, &m.clr)
	coded(c, &m.rset)
	coded(c, &m.rclr)
	list(c, &m.propagation, func(c *coder, v *uint64) { coded(c, v) })
	c.flag(&m.copyUp)
}

func codeDevice(c *coder, d *devicePlan) {
	c.str(&d.path)
	coded(c, &d.mode)
	coded(c, &d.dev)
	coded(c, &d.uid)
	coded(c, &d.gid)
	c.fd(&d.bindFD)
	c.flag(&d.late)
}

func codeHook(c *coder, h *hookPlan) {
	c.str(&h.path)
	c.strs(&h.args)
	c.strs(&h.env)
	coded(c, &h.timeout)
}

func (p *processPlan) code(c *coder) {
	c.strs(&p.args)
	c.strs(&p.env)
	c.str(&p.cwd)
	coded(c, &p.uid)
	coded(c, &p.gid)
	list(c, &p.groups, func(c *coder, v *uint32) { coded(c, v) })
	c.flag(&p.keepGroups)
	coded(c, &p.umask)
	c.flag(&p.terminal)
	coded(c, &p.rows)
	coded(c, &p.cols)
	c.flag(&p.console)
	c.flag(&p.plainLines)
	c.flag(&p.hasCaps)
	for _, v := range []*uint64{&p.bounding, &p.effective, &p.permitted, &p.inheritable, &p.ambient} {
		coded(c, v)
	}
	c.flag(&p.noNewPrivs)
	list(c, &p.rlimits, func(c *coder, r *rlimit) {
		coded(c, &r.resource)
		coded(c, &r.soft)
		coded(c, &r.hard)
		c.flag(&r.mustRaise)
	})
	c.bytes(&p.seccomp)
	coded(c, &p.seccompFlags)
	c.flag(&p.seccompNotify)
	c.str(&p.label)
	c.str(&p.profile)
	coded(c, &p.oomAdj)
	c.flag(&p.hasOOM)
	coded(c, &p.personality)
	coded(c, &p.ioprio)
	c.bytes(&p.affinity)
	c.flag(&p.keepAffinity)
	c.flag(&p.newKeyring)
	c.str(&p.keyring)
	p.scheduler.code(c)
	c.flag(&p.memory.set)
	coded(c, &p.memory.mode)
	list(c, &p.memory.nodes, func(c *coder, v *uint64) { coded(c, v) })
}

func (s *schedPlan) code(c *coder) {
	c.flag(&s.set)
	c.flag(&s.confined)
	coded(c, &s.policy)
	coded(c, &s.nice)
	coded(c, &s.prio)
	for _, v := range []*uint64{&s.flags, &s.runtime, &s.deadline, &s.period} {
		coded(c, v)
	}
}
