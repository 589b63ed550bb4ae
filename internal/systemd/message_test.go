package systemd

import (
	"reflect"
	"testing"
)

func TestMessage(t *testing.T) {
	var body encoder
	body.text("web.scope")
	body.properties([]Property{{"Slice", String("a.slice")}, {"PIDs", Uint32s(7)}, {"TasksMax", Uint64(9)}, {"DeviceAllow", Pairs([2]string{"char-*", "m"})}})
	m := message{kind: kindCall, serial: 3, path: path, iface: iface, member: "Do", signature: "sa(sv)", body: body.b}
	b := m.encode()
	if n, err := size(b); err != nil || n != len(b) {
		t.Fatalf("%d bytes, %v; want %d", n, err, len(b))
	}
	got, err := decode(b)
	if err != nil || !reflect.DeepEqual(*got, m) {
		t.Fatalf("%+v, %v; want %+v", got, err, m)
	}
	d := decoder{b: got.body}
	if name := d.text(); name != "web.scope" || d.err != nil {
		t.Errorf("the first word is %q, %v", name, d.err)
	}
}

// TestCut reads messages that end early, or claim lengths that they do not have.
func TestCut(t *testing.T) {
	m := message{kind: kindError, path: path, member: "Do", signature: "s", body: match("why")}
	whole := m.encode()
	for n := headerSize; n < len(whole)-len(m.body); n++ {
		b := append([]byte{}, whole...)
		order.PutUint32(b[12:], uint32(n-headerSize))
		if end, err := size(b); err == nil && end <= len(b) {
			_, _ = decode(b[:end])
		}
	}
	d := decoder{b: []byte{255, 255, 255, 255}}
	if s := d.text(); s != "" || d.err == nil {
		t.Errorf("%q, %v", s, d.err)
	}
	if _, err := size([]byte("l\x02\x00\x01\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00")); err == nil {
		t.Error("a message of 4 GiB was taken")
	}
}

func FuzzMessage(f *testing.F) {
	m := message{kind: kindSignal, path: path, iface: iface, member: jobEnded, signature: "uoss", body: match("x")}
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headerSize {
			return
		}
		n, err := size(b)
		if err != nil || n > len(b) {
			return
		}
		m, err := decode(b[:n])
		if err == nil && headerSize+len(m.body) > n {
			t.Errorf("a body of %d bytes in a message of %d", len(m.body), n)
		}
	})
}
