package oci

// createSteps is how a container comes to be, in order.
func createSteps() []step {
	return []step{
		{"entering namespaces", (*initState).enterNamespaces},
		{"starting a session", (*initState).newSession},
		{"setting the host name", (*initState).setHostname},
		{"raising the loopback interface", (*initState).raiseLoopback},
		{"preparing the root file system", (*initState).attachRoot},
		{"mounting", (*initState).mountAll},
		{"making devices", (*initState).makeDevices},
		{"opening the terminal", (*initState).openConsole},
		{"waiting for hooks", (*initState).syncHooks},
		{"running createContainer hooks", (*initState).createHooks},
		{"opening the null device", (*initState).openNull},
		{"changing the root", (*initState).changeRoot},
		{"setting sysctls", (*initState).setSysctls},
		{"making paths read-only", (*initState).readonlyPaths},
		{"masking paths", (*initState).maskPaths},
		{"finishing the root", (*initState).finishRoot},
		{"preparing the process", (*initState).prepareProcess},
		{"finding the program", (*initState).findProgram},
		{"reporting ready", (*initState).reportReady},
		{"waiting for start", (*initState).waitStart},
		{"dropping privileges", (*initState).becomeUser},
		{"running startContainer hooks", (*initState).startHooks},
		{"executing the process", (*initState).execute},
	}
}

// execSteps is how one more process enters a running container.
func execSteps() []step {
	return []step{
		{"entering namespaces", (*initState).enterNamespaces},
		{"starting a session", (*initState).newSession},
		{"opening the terminal", (*initState).openConsole},
		{"preparing the process", (*initState).prepareProcess},
		{"reporting ready", (*initState).reportReady},
		{"dropping privileges", (*initState).becomeUser},
		{"executing the process", (*initState).execute},
	}
}
