package controllers_test

import (
	"os"
	"slices"
	"testing"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"

	"go.skiff.dev/skiff/internal/controllers"
)

// notControllers are the directories beside the controllers' own.
var notControllers = []string{"podstate"}

// TestEveryControllerIsListedAndDeclares compares the list with the folders, and
// checks that each controller says what it touches.
func TestEveryControllerIsListedAndDeclares(t *testing.T) {
	client := shared.client
	set, err := controllers.New(controllers.Deps{
		Client: client, Metadata: metadata.NewForConfigOrDie(shared.server.Config()),
		Informers: informers.NewSharedInformerFactory(client, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	folders := 0
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(notControllers, e.Name()) {
			folders++
		}
	}
	if folders != len(set.List) {
		t.Errorf("%d folders, %d controllers listed", folders, len(set.List))
	}
	names := map[string]bool{}
	for _, c := range set.List {
		if names[c.Name()] {
			t.Errorf("%s is listed twice", c.Name())
		}
		names[c.Name()] = true
		if len(c.Reads()) == 0 || len(c.Writes()) == 0 {
			t.Errorf("%s does not declare what it reads and writes", c.Name())
		}
	}
}
