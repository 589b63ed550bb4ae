// Command talk is the program of the test's image: it answers on ports, and
// asks.
//
//	talk serve tcp:8080 udp:8081   answer each connection and datagram with "NAME CLIENT\n"
//	talk tcp HOST:PORT             print what is answered, or the error
//	talk udp HOST:PORT
//	talk api PATH                  ask the API server as the pod's service account
//	talk file PATH                 print a file
//	talk load HOST:PORT            ask without pause until TERM or USR1; print "calls N failed M ERRORS"
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "serve":
		return serve(args)
	case "api":
		return api(args[0])
	case "file":
		data, err := os.ReadFile(args[0])
		fmt.Print(string(data))
		return err
	case "load":
		return load(args[0])
	default:
		answer, err := ask(verb, args[0])
		fmt.Print(answer)
		return err
	}
}

// serve goes on answering for a while after TERM: a Service needs a moment to
// hear that a pod goes.
func serve(ports []string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, port := range ports {
		network, number, _ := strings.Cut(port, ":")
		if network == "udp" {
			c, err := net.ListenPacket("udp", ":"+number)
			if err != nil {
				return err
			}
			go answerPackets(c, name)
			continue
		}
		l, err := net.Listen("tcp", ":"+number)
		if err != nil {
			return err
		}
		go answerConnections(l, name)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	time.Sleep(3 * time.Second) //nolint:forbidigo // a server that takes its time to end is what is tested
	return nil
}

func answerConnections(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%s %s\n", name, host(c.RemoteAddr()))
		c.Close()
	}
}

func answerPackets(c net.PacketConn, name string) {
	buf := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s\n", name, host(from)), from)
	}
}

func host(a net.Addr) string {
	h, _, _ := net.SplitHostPort(a.String())
	return h
}

func ask(network, addr string) (string, error) {
	c, err := net.DialTimeout(network, addr, 3*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	data, err := io.ReadAll(c)
	if err == nil && len(data) == 0 {
		err = errors.New("connection ended without an answer")
	}
	return string(data), err
}

func api(path string) error {
	const dir = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(dir + "token")
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(dir + "ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	req, err := http.NewRequest(http.MethodGet, "https://"+net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

func load(addr string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGUSR1)
	var calls, failed int
	var first error
	for {
		select {
		case <-stop:
			fmt.Printf("calls %d failed %d %v\n", calls, failed, first)
			return nil
		default:
		}
		calls++
		if _, err := ask("tcp", addr); err != nil {
			failed++
			first = errors.Join(first, err)
			if failed > 3 {
				first = err
			}
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // one call after the other, at this pace
	}
}
