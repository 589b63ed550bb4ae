package container

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestUnusableRecordsSayWhy: each record that is given up is named with its cause, and what a call that was never answered
// left goes without a word.
func TestUnusableRecordsSayWhy(t *testing.T) {
	n := newNode(t)
	lost, config := n.sandbox("lost", nil)
	app := n.run(lost, config, "app", nil, "sleep", "1000")
	torn, _ := n.sandbox("torn", nil)
	bare, _ := n.sandbox("bare", nil)
	good, config := n.sandbox("good", nil)
	kept := n.run(good, config, "app", nil, "sleep", "1000")
	n.stop()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.RemoveAll(n.s.sandboxDir(lost)))
	must(os.WriteFile(filepath.Join(n.s.sandboxDir(torn), recordName), []byte("{torn"), 0o600))
	must(os.WriteFile(filepath.Join(n.s.sandboxDir(bare), recordName), []byte(`{"id":"`+bare+`"}`), 0o600))
	other := filepath.Join(n.s.sandboxesDir(), "other")
	must(os.Mkdir(other, 0o711))
	must(os.WriteFile(filepath.Join(other, recordName), []byte(`{"id":"another"}`), 0o600))
	// A skiff that is killed before it has written the record leaves these.
	must(os.MkdirAll(filepath.Join(n.s.containerDir("unfinished"), "upper"), 0o700))
	must(os.WriteFile(filepath.Join(n.s.containerDir("unfinished"), recordName+".new"), []byte("{"), 0o600))
	must(os.MkdirAll(n.s.sandboxDir("begun"), 0o711))
	must(n.s.mountShm("begun"))

	var log bytes.Buffer
	n.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	n.start()
	if st := n.status(kept); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the good one: %v", st)
	}
	if list, err := n.s.sup.List(n.ctx()); err != nil || len(list) != 2 {
		t.Errorf("what has no record goes on: %v %v", list, err)
	}
	n.stop()
	text := log.String()
	for id, cause := range map[string]string{
		app: "its sandbox \\\"" + lost + "\\\" is not there", torn: "invalid character", bare: "it has no metadata", "other": "it is of \\\"another\\\"",
	} {
		if !logged(text, "record cannot be used", "id="+id, cause) {
			t.Errorf("the log does not say %q of %s:\n%s", cause, id, text)
		}
	}
	for _, word := range []string{"<nil>", "unfinished", "begun"} {
		if strings.Contains(text, word) {
			t.Errorf("the log has %q:\n%s", word, text)
		}
	}
	for _, left := range []string{n.s.containerDir("unfinished"), n.s.sandboxDir("begun"), n.s.sandboxRun("begun"), other} {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
	n.deps.Log = nil
	n.start()
}

// logged tells whether one line has all the words.
func logged(text string, words ...string) bool {
	for line := range strings.Lines(text) {
		found := true
		for _, w := range words {
			found = found && strings.Contains(line, w)
		}
		if found {
			return true
		}
	}
	return false
}
