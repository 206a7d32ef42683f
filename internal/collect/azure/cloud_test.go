package azure

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindCloud(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "cloud.json", `{"name":"MyCloud","resourceManagerEndpoint":"https://arm.my.example/","activeDirectoryEndpoint":"https://login.my.example/","tokenAudience":"https://arm.my.example/","managementPortalURL":"x"}`)
	bare := write(t, dir, "bare.json", `{"resourceManagerEndpoint":"https://arm.my.example","activeDirectoryEndpoint":"https://login.my.example/"}`)
	half := write(t, dir, "half.json", `{"resourceManagerEndpoint":"https://arm.my.example"}`)
	plain := write(t, dir, "plain.json", `{"resourceManagerEndpoint":"http://arm.my.example","activeDirectoryEndpoint":"https://login.my.example/"}`)
	broken := write(t, dir, "broken.json", `{"resource`)
	cli := t.TempDir()
	write(t, cli, "config", "[core]\nx = 1\n[cloud]\nname = Stack\n")
	write(t, cli, "clouds.config", "# made by az\n[AzureCloud]\nsubscription = s\n\n[Stack]\nendpoint_resource_manager = https://arm.stack.example/\nendpoint_active_directory = https://login.stack.example/adfs\nendpoint_active_directory_resource_id=https://aud.stack.example/\n")
	government := t.TempDir()
	write(t, government, "config", "[cloud]\nname = AzureUSGovernment\n")
	lost := t.TempDir()
	write(t, lost, "config", "[cloud]\nname = Gone\n")
	for _, test := range []struct {
		name string
		o    Options
		env  map[string]string
		want string // endpoint, audience, authority; or the error
	}{
		{"nothing said", Options{}, nil, "https://management.azure.com https://management.core.windows.net/ https://login.microsoftonline.com/"},
		{"government", Options{}, map[string]string{"AZURE_ENVIRONMENT": "AzureUSGovernmentCloud"}, "https://management.usgovcloudapi.net https://management.core.usgovcloudapi.net/ https://login.microsoftonline.us/"},
		{"flag over environment", Options{Cloud: "AzureChinaCloud"}, map[string]string{"AZURE_ENVIRONMENT": "AzureUSGovernment"}, "https://management.chinacloudapi.cn https://management.core.chinacloudapi.cn/ https://login.chinacloudapi.cn/"},
		{"file", Options{}, map[string]string{"AZURE_ENVIRONMENT": "AZURESTACKCLOUD", "AZURE_ENVIRONMENT_FILEPATH": file}, "https://arm.my.example https://arm.my.example https://login.my.example/"},
		{"file alone", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": bare}, "https://arm.my.example https://arm.my.example https://login.my.example/"},
		{"file and authority", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": bare, "AZURE_AUTHORITY_HOST": "login.other.example"}, "https://arm.my.example https://arm.my.example https://login.other.example"},
		{"public name ignores file", Options{}, map[string]string{"AZURE_ENVIRONMENT": "AzurePublicCloud", "AZURE_ENVIRONMENT_FILEPATH": file}, "https://management.azure.com https://management.core.windows.net/ https://login.microsoftonline.com/"},
		{"the CLI's cloud", Options{}, map[string]string{"AZURE_CONFIG_DIR": cli}, "https://arm.stack.example https://aud.stack.example https://login.stack.example/adfs"},
		{"a cloud of the CLI by name", Options{Cloud: "stack"}, map[string]string{"AZURE_CONFIG_DIR": cli}, "https://arm.stack.example https://aud.stack.example https://login.stack.example/adfs"},
		{"the CLI in government", Options{}, map[string]string{"AZURE_CONFIG_DIR": government}, "https://management.usgovcloudapi.net https://management.core.usgovcloudapi.net/ https://login.microsoftonline.us/"},
		{"the CLI's cloud is gone", Options{}, map[string]string{"AZURE_CONFIG_DIR": lost}, `the az CLI is set to the cloud "Gone"`},
		{"unknown", Options{Cloud: "Nimbus"}, nil, `the Azure cloud "Nimbus" is not known`},
		{"another name than the file's", Options{Cloud: "Nimbus"}, map[string]string{"AZURE_ENVIRONMENT": "AZURESTACKCLOUD", "AZURE_ENVIRONMENT_FILEPATH": file}, `the Azure cloud "Nimbus" is not known`},
		{"stack without file", Options{}, map[string]string{"AZURE_ENVIRONMENT": "AzureStackCloud"}, "AZURE_ENVIRONMENT_FILEPATH names no file"},
		{"half a file", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": half}, "resourceManagerEndpoint and activeDirectoryEndpoint are both needed"},
		{"broken file", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": broken}, "broken.json: unexpected end of JSON input"},
		{"no file", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": dir + "/none"}, "no such file"},
		{"no TLS", Options{}, map[string]string{"AZURE_ENVIRONMENT_FILEPATH": plain}, `the resource manager endpoint "http://arm.my.example" is no https URL`},
		{"endpoint without TLS", Options{Endpoint: "http://arm.example"}, nil, `the Azure endpoint "http://arm.example" is no https URL`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Env = func(key string) string {
				if key == "HOME" && test.env[key] == "" {
					return dir
				}
				return test.env[key]
			}
			c, err := findCloud(t.Context(), test.o.withDefaults())
			got := c.Endpoint + " " + c.Audience + " " + c.Authority
			if err != nil {
				got = err.Error()
			}
			if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestCheckOptions: what is written on the command line and cannot be is refused there.
func TestCheckOptions(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "clouds.config", "[Stack]\nendpoint_resource_manager = https://arm.stack.example/\nendpoint_active_directory = https://login.stack.example/adfs\n")
	for _, test := range []struct{ cloud, endpoint, want string }{
		{"", "", ""},
		{"AzureUSGovernment", "", ""},
		{"stack", "", ""},
		{"", "https://arm.example:8443/", ""},
		{"bogus", "", `the Azure cloud "bogus" is not known: use AzurePublicCloud, AzureUSGovernment, AzureChinaCloud`},
		{"bogus", "https://arm.example", `the Azure cloud "bogus" is not known`},
		{"", "arm.example", `"arm.example" is no https URL`},
		{"", "http://arm.example", "is no https URL"},
		{"", "https://", "is no https URL"},
		{"", "https://:443", "is no https URL"},
		{"", "https://user:secret@arm.example", `"https://arm.example" is no https URL of a host`},
		{"", "https://arm.example?sig=secret", `"https://arm.example" is no https URL of a host`},
		{"", "https://arm.example:port", "is no https URL"},
	} {
		o := Options{Cloud: test.cloud, Endpoint: test.endpoint, Env: func(key string) string { return map[string]string{"AZURE_CONFIG_DIR": dir}[key] }}
		err := o.Check()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q %q: %v", test.cloud, test.endpoint, err)
		}
	}
	stray := Options{Env: func(key string) string { return map[string]string{"AZURE_ENVIRONMENT": "bogus"}[key] }}
	if err := stray.Check(); err != nil {
		t.Errorf("the environment's cloud is no matter of flags: %v", err)
	}
}

func TestEndpointTellsItsAuthority(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metadata/endpoints" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, `{"authentication":{"loginEndpoint":"https://login.here.example/","audiences":["https://aud.here.example/"]}}`)
	}))
	defer s.Close()
	c, err := findCloud(t.Context(), Options{Endpoint: s.URL + "/", Transport: s.Client(), Env: func(string) string { return "" }}.withDefaults())
	if err != nil || c.Endpoint != s.URL || c.Authority != "https://login.here.example/" || c.Audience != "https://aud.here.example" || c.known() {
		t.Errorf("%+v %v", c, err)
	}
}

// authority gives tokens as Entra ID does, to one application.
func authority(t *testing.T, f *cloudFake) {
	t.Helper()
	f.fail("/tenant/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"issuer":"%[1]s/tenant/v2.0","authorization_endpoint":"%[1]s/tenant/oauth2/v2.0/authorize","token_endpoint":"%[1]s/tenant/oauth2/v2.0/token"}`, f.URL)
	})
	f.fail("/tenant/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("client_secret") != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
			return
		}
		if got := r.PostForm.Get("scope"); !strings.HasPrefix(got, f.URL+"/.default") {
			t.Errorf("scope %q", got)
		}
		fmt.Fprint(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"t"}`)
	})
}

func TestServicePrincipal(t *testing.T) {
	for _, test := range []struct{ secret, gap string }{
		{"right", ""},
		{"wrong", "AADSTS7000215: Invalid client secret provided."},
	} {
		t.Run(test.secret, func(t *testing.T) {
			f := newCloud(t)
			authority(t, f)
			for key, val := range map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": test.secret} {
				t.Setenv(key, val)
			}
			named := f.env(t)
			w := collectInto(t, f, f.world(), func(o *Options) {
				o.Credential = nil
				o.Env = func(key string) string {
					if val := named(key); val != "" {
						return val
					}
					return os.Getenv(key)
				}
			})
			if test.gap == "" && (!w.Azure.Found || !w.Read["cluster"]) {
				t.Errorf("not read: %s", gapText(w))
			}
			if test.gap != "" && (w.Azure.Found || !strings.Contains(gapText(w), test.gap) || !strings.Contains(gapText(w), "az login")) {
				t.Errorf("gaps: %s", gapText(w))
			}
		})
	}
}

func TestAuthorityUnavailable(t *testing.T) {
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
		t.Run(http.StatusText(status), func(t *testing.T) { authorityAnswers(t, status) })
	}
}

func authorityAnswers(t *testing.T, status int) {
	t.Helper()
	f := newCloud(t)
	authority(t, f)
	f.fail("/tenant/oauth2/v2.0/token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	named := f.env(t)
	values := map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "right"}
	for key, val := range values {
		t.Setenv(key, val)
	}
	w := collectInto(t, f, f.world(), func(o *Options) {
		o.Credential = nil
		o.Env = func(key string) string { return cmp.Or(named(key), values[key]) }
	})
	if got := gapText(w); !strings.Contains(got, http.StatusText(status)) || strings.Contains(got, "az login") {
		t.Errorf("gaps: %s", got)
	}
}

func TestAuthorityHangs(t *testing.T) {
	f := newCloud(t)
	f.fail("/tenant/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for key, val := range map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "right"} {
		t.Setenv(key, val)
	}
	named := f.env(t)
	started := time.Now()
	w := collectInto(t, f, f.world(), func(o *Options) {
		o.Credential, o.CallTimeout = nil, 300*time.Millisecond
		o.Env = func(key string) string {
			if val := named(key); val != "" {
				return val
			}
			return os.Getenv(key)
		}
	})
	if took := time.Since(started); took > 20*time.Second || !strings.Contains(gapText(w), "gave no answer within 300ms") || strings.Contains(gapText(w), "az login") {
		t.Errorf("after %s: %s", took, gapText(w))
	}
}

func TestGuesses(t *testing.T) {
	got := fmt.Sprint(guesses("MC_my_group_my_aks_westeurope"))
	if got != "[[my_group_my aks] [my_group my_aks] [my group_my_aks]]" {
		t.Errorf("%s", got)
	}
	for _, other := range []string{"", "MC_a", "nodes", "mc_a_b", "X_a_b_c"} {
		if g := guesses(other); g != nil {
			t.Errorf("%q gives %v", other, g)
		}
	}
}

func TestLocate(t *testing.T) {
	w := &model.World{Kube: model.Kube{Nodes: map[string]*model.Node{
		"a": {ProviderID: "azure:///subscriptions/s/resourceGroups/mc_g/providers/Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines/0"},
		"b": {ProviderID: "azure:///subscriptions/s/resourceGroups/MC_g/providers/Microsoft.Compute/virtualMachines/vm"},
		"c": {ProviderID: "azure://not-an-id"}, "d": {},
	}}}
	p := locate(Options{}, w)
	if p.sub != "s" || !strings.EqualFold(p.nodeGroup, "MC_g") || len(p.scaleSets) != 1 || !p.standalone {
		t.Errorf("%+v", p)
	}
	if p := locate(Options{Subscription: "other"}, w); p.sub != "other" {
		t.Errorf("%+v", p)
	}
	if p := locate(Options{Cluster: "c"}, &model.World{}); p.why == "" {
		t.Errorf("%+v", p)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n")
	f.Add("/subscriptions//resourcegroups")
	f.Add("/providers/a/b/providers/c/d/e")
	f.Fuzz(func(t *testing.T, id string) {
		got := ParseID(id)
		if got.Type == "" && len(got.Names) > 0 {
			t.Errorf("%q: names without a type: %+v", id, got)
		}
		_ = parent(id)
		_ = Name(id)
	})
}
