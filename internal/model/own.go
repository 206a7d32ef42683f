package model

// The labels that everything carries that podpath creates in a cluster, beside
// app.kubernetes.io/managed-by, which a twin takes over from the pod it is like.
const (
	LabelRun  = "podpath.dev/run"
	LabelKind = "podpath.dev/kind"
)

// Own says that an object with these labels is podpath's, of this run or of one
// that was killed: nobody asked about it, and nothing is to be mended on it.
func Own(labels map[string]string) bool { return labels[LabelRun] != "" && labels[LabelKind] != "" }
