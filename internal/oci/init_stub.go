package oci

func (s *initState) mountCgroups(m *mountPlan) error { return nil }
func (s *initState) copyUp(at, fd int) error         { return nil }
func (s *initState) makeDevices() error              { return nil }
func (s *initState) openConsole() error              { return nil }
func (s *initState) createHooks() error              { return nil }
func (s *initState) startHooks() error               { return nil }
func (s *initState) setSysctls() error               { return nil }
func (s *initState) readonlyPaths() error            { return nil }
func (s *initState) maskPaths() error                { return nil }
