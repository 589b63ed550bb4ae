package images

import (
	"context"

	upstream "k8s.io/kubernetes/test/utils/image"
)

const testImages = "k8s.io/kubernetes/test/images/"

// recipes are the images of the suite. Not among them are those of the drivers
// of storage and of AppArmor, which no test of a selection that runs here needs,
// and the one whose registry is not to exist.
func recipes() []recipe {
	return []recipe{
		{ids(upstream.Agnhost, upstream.AgnhostPrev, upstream.AgnhostPrivate), func(_ context.Context, _ *builder, r roots) (root, Config, error) {
			return r.agnhost, agnhostConfig("pause"), nil
		}},
		{ids(upstream.BusyBox), func(_ context.Context, _ *builder, r roots) (root, Config, error) {
			return r.busybox, Config{Cmd: []string{"sh"}}, nil
		}},
		{ids(upstream.NonRoot), func(_ context.Context, _ *builder, r roots) (root, Config, error) {
			return r.busybox, Config{Cmd: []string{"sh"}, User: "1234"}, nil
		}},
		{ids(upstream.Pause), makePause},
		{ids(upstream.Nginx), makeNginx("1.27")},
		{ids(upstream.NginxNew), makeNginx("1.28")},
		{ids(upstream.Kitten), webserver("kitten")},
		{ids(upstream.Nautilus), webserver("nautilus")},
		{ids(upstream.GlibcDnsTesting), packages(Config{Cmd: []string{"bash"}}, "bash", "coreutils", "bind9-dnsutils", "hostname", "libc-bin")},
		{ids(upstream.IpcUtils), packages(Config{Cmd: []string{"sh"}}, "util-linux")},
		{ids(upstream.Perl), packages(Config{Cmd: []string{"perl", "-de0"}}, "perl-base")},
		{ids(upstream.Nonewprivs), program("usr/local/bin/nnp", 0o6755, testImages+"nonewprivs", Config{Cmd: []string{"nnp"}})},
		{ids(upstream.RegressionIssue74839), program("regression-issue-74839", 0o755, testImages+"regression-issue-74839", Config{Entrypoint: []string{"/regression-issue-74839"}})},
		{ids(upstream.APIServer), program("sample-apiserver", 0o755, "k8s.io/sample-apiserver", Config{Entrypoint: []string{"/sample-apiserver"}})},
		{ids(upstream.Etcd), program("usr/local/bin/etcd", 0o755, "go.etcd.io/etcd/server/v3", Config{})},
		{ids(upstream.ResourceConsumer), makeResourceConsumer},
	}
}

func ids(list ...upstream.ImageID) []upstream.ImageID { return list }

// packages is busybox with packages of Debian.
func packages(c Config, names ...string) func(context.Context, *builder, roots) (root, Config, error) {
	return func(ctx context.Context, b *builder, r roots) (root, Config, error) {
		out, err := r.busybox.install(ctx, b, nil, names...)
		return out, c, err
	}
}

// program is busybox with a Go program.
func program(name string, mode int64, pkg string, c Config) func(context.Context, *builder, roots) (root, Config, error) {
	return func(ctx context.Context, b *builder, r roots) (root, Config, error) {
		body, err := b.goProgram(ctx, pkg)
		if err != nil {
			return root{}, c, err
		}
		t := tree{}
		t.file(name, mode, body)
		out, err := r.busybox.add(b.layout, t)
		return out, c, err
	}
}

// webserver is agnhost with the pictures of a test's application.
func webserver(name string) func(context.Context, *builder, roots) (root, Config, error) {
	return func(_ context.Context, b *builder, r roots) (root, Config, error) {
		t := tree{}
		for _, f := range []string{name + ".jpg", "data.json"} {
			body, err := b.suiteFile(name + "/html/" + f)
			if err != nil {
				return root{}, Config{}, err
			}
			t.file(f, 0o644, body)
		}
		out, err := r.agnhost.add(b.layout, t)
		return out, agnhostConfig("test-webserver"), err
	}
}

func makeResourceConsumer(ctx context.Context, b *builder, r roots) (root, Config, error) {
	c := Config{Entrypoint: []string{"/consumer"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}
	t := tree{}
	for name, pkg := range map[string]string{"consumer": "resource-consumer", "consume-cpu/consume-cpu": "resource-consumer/consume-cpu"} {
		body, err := b.goProgram(ctx, testImages+pkg)
		if err != nil {
			return root{}, c, err
		}
		t.file(name, 0o755, body)
	}
	base, err := r.busybox.install(ctx, b, nil, "stress")
	if err != nil {
		return root{}, c, err
	}
	out, err := base.add(b.layout, t)
	return out, c, err
}

const nginxConf = `worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 256; }
http {
    include mime.types;
    default_type application/octet-stream;
    access_log /dev/stdout;
    server {
        listen 80 default_server;
        root /usr/share/nginx/html;
    }
}
`

// makeNginx is Debian's nginx, in the form of the official image.
func makeNginx(version string) func(context.Context, *builder, roots) (root, Config, error) {
	return func(ctx context.Context, b *builder, r roots) (root, Config, error) {
		out, err := r.busybox.install(ctx, b, func(t tree) {
			t.file("etc/nginx/nginx.conf", 0o644, []byte(nginxConf))
			t.file("usr/share/nginx/html/index.html", 0o644, []byte("<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n"))
		}, "nginx-light")
		c := Config{
			Cmd: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT",
			Env: []string{searchPath, "NGINX_VERSION=" + version}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
		}
		return out, c, err
	}
}
