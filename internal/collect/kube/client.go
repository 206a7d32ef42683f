package kube

import (
	"fmt"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Client is a way to one cluster.
type Client struct {
	Set       kubernetes.Interface
	Config    *rest.Config
	Namespace string // the context's, or the one that a flag names
}

// Getter is what kubectl's flags are read through. cli-runtime's ConfigFlags is one.
type Getter interface {
	ToRESTConfig() (*rest.Config, error)
	ToRawKubeConfigLoader() clientcmd.ClientConfig
}

// Connect makes a client from kubectl's flags. It sends nothing. The error is a *ConfigError,
// or about a flag.
func Connect(flags Getter) (*Client, error) {
	config, err := flags.ToRESTConfig()
	if err != nil && strings.HasPrefix(err.Error(), "Invalid timeout value") {
		return nil, fmt.Errorf("--request-timeout is no time (write 1s, 2m or 3h; 0 is no limit): %w", err)
	}
	if err != nil {
		return nil, &ConfigError{err}
	}
	// Without any configuration kubectl's flags still give a client, of a server on this machine that nobody meant.
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err == nil && clientcmdapi.IsConfigEmpty(&raw) && strings.HasSuffix(config.Host, "localhost:8080") {
		return nil, &ConfigError{clientcmd.ErrEmptyConfig}
	}
	namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, &ConfigError{err}
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200 // one question is some thirty calls at once, then silence
	config.UserAgent = rest.DefaultKubernetesUserAgent() + " podpath"
	config.WarningHandler = rest.NoWarnings{}
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, &ConfigError{err}
	}
	return &Client{Set: set, Config: config, Namespace: namespace}, nil
}
