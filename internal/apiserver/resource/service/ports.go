package service

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }
