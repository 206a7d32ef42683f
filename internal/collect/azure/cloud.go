package azure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Cloud is where Azure Resource Manager and its token service are.
type Cloud struct {
	Name      string
	Endpoint  string // of Resource Manager, without a slash at the end
	Audience  string // of its tokens
	Authority string // host that gives tokens
}

var (
	publicCloud     = fromSDK("AzurePublicCloud", cloud.AzurePublic)
	governmentCloud = fromSDK("AzureUSGovernment", cloud.AzureGovernment)
	chinaCloud      = fromSDK("AzureChinaCloud", cloud.AzureChina)
)

func fromSDK(name string, c cloud.Configuration) Cloud {
	arm := c.Services[cloud.ResourceManager]
	return Cloud{
		Name: name, Endpoint: strings.TrimRight(arm.Endpoint, "/"), Audience: arm.Audience,
		Authority: c.ActiveDirectoryAuthorityHost,
	}
}

// known says that the authority is one of Microsoft's own, for which instance
// discovery works. Elsewhere it would ask a host that the user never named.
func (c Cloud) known() bool {
	for _, k := range []Cloud{publicCloud, governmentCloud, chinaCloud} {
		if strings.TrimRight(c.Authority, "/") == strings.TrimRight(k.Authority, "/") {
			return true
		}
	}
	return false
}

func (c Cloud) sdk() cloud.Configuration {
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: c.Authority,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: c.Endpoint, Audience: c.Audience},
		},
	}
}

func (c Cloud) check() error {
	for _, part := range []struct{ what, url string }{{"resource manager endpoint", c.Endpoint}, {"authority host", c.Authority}} {
		u, err := url.Parse(part.url)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("cloud %s: the %s %q is no https URL", c.Name, part.what, part.url)
		}
	}
	return nil
}

// byName finds a cloud by any of the names that Azure's tools use for it.
func byName(name string) (Cloud, bool) {
	switch strings.ToLower(name) {
	case "azurepubliccloud", "azurecloud", "azurepublic", "public":
		return publicCloud, true
	case "azureusgovernment", "azureusgovernmentcloud", "azuregovernment", "usgovernment":
		return governmentCloud, true
	case "azurechinacloud", "azurechina", "china":
		return chinaCloud, true
	}
	return Cloud{}, false
}

// findCloud decides which cloud is meant, in this order: an endpoint given by
// flag, a cloud named by flag or AZURE_ENVIRONMENT (with its file), a cloud
// file alone, the one that the az CLI is set to, the public one.
// AZURE_AUTHORITY_HOST overrides the authority of whichever it is.
func findCloud(ctx context.Context, o Options) (Cloud, error) {
	c, err := pickCloud(ctx, o)
	if err != nil {
		return c, err
	}
	if host := o.Env("AZURE_AUTHORITY_HOST"); host != "" {
		if !strings.Contains(host, "://") {
			host = "https://" + host
		}
		c.Authority = host
	}
	return c, c.check()
}

// Check refuses a cloud or an endpoint that cannot be, before anything is
// contacted. What only the environment says is no matter of the command line: it
// ends in a gap, and the rest is answered.
func (o Options) Check() error {
	o = o.withDefaults()
	if o.Endpoint != "" {
		if err := checkEndpoint(o.Endpoint); err != nil {
			return err
		}
	}
	if o.Cloud == "" {
		return nil
	}
	o.Endpoint = "" // of which a cloud's name has nothing to ask
	_, err := pickCloud(context.Background(), o)
	return err
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the Azure endpoint %q is no https URL of a host; write one like https://management.azure.com", redacted(u, text))
	}
	return nil
}

// redacted is a URL without what may be a password. One that cannot be read is not repeated.
func redacted(u *url.URL, text string) string {
	if u == nil {
		return "…"
	}
	if u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		return text
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func pickCloud(ctx context.Context, o Options) (Cloud, error) {
	if o.Endpoint != "" {
		return fromEndpoint(ctx, o)
	}
	name, file := o.Cloud, o.Env("AZURE_ENVIRONMENT_FILEPATH")
	if name == "" {
		name = o.Env("AZURE_ENVIRONMENT")
	}
	if name == "" && file == "" {
		return fromCLI(o)
	}
	if c, ok := byName(name); ok {
		return c, nil
	}
	if file != "" {
		c, err := fromFile(file)
		if err != nil || o.Cloud == "" || strings.EqualFold(o.Cloud, c.Name) || strings.EqualFold(o.Cloud, "AZURESTACKCLOUD") {
			return c, err
		} // a cloud of another name was asked for
	}
	if c, ok, err := cliCloud(o, name); ok || err != nil {
		return c, err
	}
	if strings.EqualFold(name, "AZURESTACKCLOUD") {
		return Cloud{}, errors.New("AZURE_ENVIRONMENT is AZURESTACKCLOUD but AZURE_ENVIRONMENT_FILEPATH names no file: set it to the JSON file with the cloud's endpoints")
	}
	return Cloud{}, fmt.Errorf("the Azure cloud %q is not known: use AzurePublicCloud, AzureUSGovernment, AzureChinaCloud, AZURESTACKCLOUD with AZURE_ENVIRONMENT_FILEPATH, or a cloud registered with `az cloud register`", name)
}

// fromFile reads the file that AZURE_ENVIRONMENT_FILEPATH names, with the keys
// that Kubernetes' Azure provider and Azure's older Go libraries use.
func fromFile(file string) (Cloud, error) {
	data, err := readSmall(file)
	if err != nil {
		return Cloud{}, fmt.Errorf("AZURE_ENVIRONMENT_FILEPATH: %w", err)
	}
	var doc struct {
		Name                      string `json:"name"`
		ResourceManagerEndpoint   string `json:"resourceManagerEndpoint"`
		ActiveDirectoryEndpoint   string `json:"activeDirectoryEndpoint"`
		TokenAudience             string `json:"tokenAudience"`
		ServiceManagementEndpoint string `json:"serviceManagementEndpoint"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return Cloud{}, fmt.Errorf("AZURE_ENVIRONMENT_FILEPATH: %s: %w", file, err)
	}
	c := Cloud{Name: doc.Name, Endpoint: doc.ResourceManagerEndpoint, Authority: doc.ActiveDirectoryEndpoint, Audience: doc.TokenAudience}
	if c.Endpoint == "" || c.Authority == "" {
		return Cloud{}, fmt.Errorf("AZURE_ENVIRONMENT_FILEPATH: %s: resourceManagerEndpoint and activeDirectoryEndpoint are both needed", file)
	}
	if c.Name == "" {
		c.Name = "AzureStackCloud"
	}
	if c.Audience == "" {
		c.Audience = doc.ServiceManagementEndpoint
	}
	return c.tidy(), nil
}

func (c Cloud) tidy() Cloud {
	c.Endpoint = strings.TrimRight(c.Endpoint, "/")
	if c.Audience == "" {
		c.Audience = c.Endpoint
	}
	c.Audience = strings.TrimRight(c.Audience, "/")
	return c
}

// fromCLI is the cloud that the az CLI is set to, else the public one.
func fromCLI(o Options) (Cloud, error) {
	sections, err := readINI(filepath.Join(cliDir(o), "config"))
	if err != nil {
		return Cloud{}, err
	}
	name := sections["cloud"]["name"]
	if env := o.Env("AZURE_CLOUD_NAME"); env != "" {
		name = env
	}
	if name == "" {
		return publicCloud, nil
	}
	if c, ok := byName(name); ok {
		return c, nil
	}
	c, ok, err := cliCloud(o, name)
	if err != nil {
		return c, err
	}
	if !ok {
		return c, fmt.Errorf("the az CLI is set to the cloud %q, which %s does not describe: run `az cloud set`, or set AZURE_ENVIRONMENT", name, filepath.Join(cliDir(o), "clouds.config"))
	}
	return c, nil
}

// cliCloud is a cloud registered with `az cloud register`.
func cliCloud(o Options, name string) (Cloud, bool, error) {
	sections, err := readINI(filepath.Join(cliDir(o), "clouds.config"))
	if err != nil {
		return Cloud{}, false, err
	}
	for section, keys := range sections {
		if !strings.EqualFold(section, name) {
			continue
		}
		c := Cloud{Name: section, Endpoint: keys["endpoint_resource_manager"], Authority: keys["endpoint_active_directory"], Audience: keys["endpoint_active_directory_resource_id"]}
		if c.Endpoint == "" || c.Authority == "" {
			return Cloud{}, false, nil // a section that only remembers the cloud's subscription
		}
		return c.tidy(), true, nil
	}
	return Cloud{}, false, nil
}

func cliDir(o Options) string {
	if dir := o.Env("AZURE_CONFIG_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(o.Env("HOME"), ".azure")
}

// readINI reads the little of the INI format that the az CLI writes. A file that is not there is empty.
func readINI(file string) (map[string]map[string]string, error) {
	data, err := readSmall(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return nil, nil
		}
		return nil, err
	}
	return parseINI(string(data)), nil
}

func parseINI(text string) map[string]map[string]string {
	out := map[string]map[string]string{}
	section := ""
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = strings.TrimSpace(line[1 : len(line)-1])
		default:
			key, val, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			if out[section] == nil {
				out[section] = map[string]string{}
			}
			out[section][strings.ToLower(strings.TrimSpace(key))] = strings.TrimSpace(val)
		}
	}
	return out
}

func readSmall(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20+1))
	if err != nil {
		return nil, err
	}
	if len(data) > 1<<20 {
		return nil, fmt.Errorf("%s is larger than 1 MiB", file)
	}
	return data, nil
}

// fromEndpoint asks a Resource Manager endpoint which authority and audience belong to it.
func fromEndpoint(ctx context.Context, o Options) (Cloud, error) {
	c := Cloud{Name: o.Endpoint, Endpoint: o.Endpoint}.tidy()
	if err := checkEndpoint(o.Endpoint); err != nil {
		return c, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.CallTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Endpoint+"/metadata/endpoints?api-version=2015-01-01", nil)
	if err != nil {
		return c, err
	}
	var do policy.Transporter = http.DefaultClient
	if o.Transport != nil {
		do = o.Transport
	}
	resp, err := do.Do(req)
	if err != nil {
		return c, fmt.Errorf("the Azure endpoint %s does not say which authority it trusts: %w", c.Endpoint, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return c, err
	}
	x, err := parse(data)
	if err != nil || resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("the Azure endpoint %s does not say which authority it trusts: GET /metadata/endpoints answered %s; use AZURE_ENVIRONMENT_FILEPATH instead", c.Endpoint, resp.Status)
	}
	auth := x.get("authentication")
	c.Authority = auth.get("loginEndpoint").str()
	if audiences := auth.get("audiences").strs(); len(audiences) > 0 {
		c.Audience = audiences[0]
	}
	return c.tidy(), x.err()
}
