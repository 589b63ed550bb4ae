// Command pack writes one of testimage's images as an archive to stdout:
//
//	go run ./test/testimage/pack [-oci] [-name REF] busybox|nginx|dnsutils >FILE
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"

	"go.skiff.dev/skiff/test/testimage"
)

func main() {
	oci := flag.Bool("oci", false, "write an OCI image layout instead of a docker-archive")
	name := flag.String("name", "", "the image's name")
	flag.Parse()
	if err := run(flag.Arg(0), *name, *oci); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(what, name string, oci bool) error {
	makers := map[string]func(...string) (testimage.Image, error){
		"busybox": testimage.Busybox, "nginx": testimage.Nginx, "dnsutils": testimage.DNSUtils,
	}
	packer, ok := makers[what]
	if !ok {
		return fmt.Errorf("unknown image %q; known are busybox, nginx and dnsutils", what)
	}
	var names []string
	if name != "" {
		names = append(names, name)
	}
	img, err := packer(names...)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	if oci {
		err = img.WriteOCILayout(w)
	} else {
		err = img.WriteDockerArchive(w)
	}
	if err != nil {
		return err
	}
	return w.Flush()
}
