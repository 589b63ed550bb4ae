package oci

import "os"

// fileList collects the descriptors that init gets; of those that it is born with the index is the number in the child, of the
// others it is what the plan calls them.
type fileList struct {
	files []*os.File
	owned []*os.File
	late  []*os.File // closed when all is done, not when init has its copies
	born  int        // how many of files init is born with
}

func (l *fileList) add(f *os.File, owned bool) int {
	l.files = append(l.files, f)
	if owned {
		l.owned = append(l.owned, f)
	}
	return len(l.files) - 1
}

func (l *fileList) list() []*os.File { return l.files }

// socket adds init's end of the wire, the last of those that init is born with. The others are sent to it.
func (l *fileList) socket(theirs *os.File) (born []*os.File) {
	l.born = l.add(theirs, true) + 1
	return l.files[:l.born:l.born]
}

// sent are those that init is not born with.
func (l *fileList) sent() []*os.File { return l.files[l.born:] }

func (l *fileList) close() {
	for _, f := range l.owned {
		f.Close()
	}
	l.owned = nil
}

func (l *fileList) closeAll() {
	l.owned = append(l.owned, l.late...)
	l.close()
}

// stdio adds the process's descriptors 0, 1, 2 and the extra ones behind them.
func (l *fileList) stdio(std [3]*os.File, extra []*os.File) error {
	var null *os.File
	for _, f := range std {
		if f == nil {
			if null == nil {
				var err error
				if null, err = os.OpenFile("/dev/null", os.O_RDWR, 0); err != nil {
					return err
				}
				l.owned = append(l.owned, null)
			}
			f = null
		}
		l.add(f, false)
	}
	for _, f := range extra {
		l.add(f, false)
	}
	return nil
}
