package plan

import "fmt"

// CutVariable holds a Cut as JSON in the environment of test/vm/cut.
const CutVariable = "SKIFF_TEST_CUT"

// CutMark begins each line in which the machine says what it has done.
const CutMark = "cut: "

// Cut is what a machine whose power was cut had acknowledged until then.
type Cut struct {
	// Objects with numbers below this one, and images by their numbers.
	Objects int
	Images  []int
	// Sums are the SHA-256 digests of each image's file /data, in hex.
	Sums []string
	// Last says that the power stays on.
	Last bool
}

// CutImages is how many images there are to import.
const CutImages = 6

// CutImage is an image's name, CutArchive where it is on the disk.
func CutImage(n int) string   { return fmt.Sprintf("cut/image:%d", n) }
func CutArchive(n int) string { return fmt.Sprintf("/archives/%d.tar", n) }
