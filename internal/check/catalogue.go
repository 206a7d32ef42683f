package check

// All are the checks, in the order in which they are asked: what names a cause
// comes before what only sees its effects.
func All() []*Check {
	return []*Check{
		&names, &requiredEndpoints, &podsWayOut, &betweenNodes, &insideNodes,
		&corednsShape, &corefileLines, &nodeCondition, &agents, &nodeState, &runsOut, &webhookUnreachable, &apiService,
		&serviceSelectsNothing, &serviceNoneReady, &serviceTargetPort, &serviceStaleEndpoints, &serviceExternalName, &ingressBackend,
		&policySelectsNothing, &policyLocksOutDNS, &policyNotEnforced,
		&rangesOverlap, &subnetRoom, &overlayRoom, &nodeRoom, &serviceRoom,
		&natgwNoAddress, &snatPorts,
		&certificateDates, &deprecatedAPI, &kubeletSkew, &retired,
	}
}
