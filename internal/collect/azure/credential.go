package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// errNoCredential says that nothing on this machine could even be tried.
var errNoCredential = errors.New("no Azure credential here: log in with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET")

// credential is azidentity's default chain, less the links that could not work
// here. The full chain asks the machine's metadata service first, which takes
// seconds everywhere but on Azure; it is asked only when the environment says
// that there is one. AZURE_TOKEN_CREDENTIALS chooses as it does for every tool.
func credential(o Options, c Cloud) (azcore.TokenCredential, error) {
	client := azcore.ClientOptions{Cloud: c.sdk(), Transport: o.Transport, Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 5 * time.Second}}
	offline := !c.known()
	if o.Env("AZURE_TOKEN_CREDENTIALS") != "" {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: offline})
	}
	var links []azcore.TokenCredential
	var problems []string
	add := func(cred azcore.TokenCredential, err error) {
		if err != nil {
			problems = append(problems, firstLine(err))
			return
		}
		links = append(links, cred)
	}
	environment := o.Env("AZURE_CLIENT_SECRET") != "" || o.Env("AZURE_CLIENT_CERTIFICATE_PATH") != ""
	if environment {
		add(azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: offline}))
	}
	if o.Env("AZURE_FEDERATED_TOKEN_FILE") != "" {
		add(azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: client, DisableInstanceDiscovery: offline}))
	}
	if o.Env("IDENTITY_ENDPOINT") != "" || o.Env("MSI_ENDPOINT") != "" {
		add(azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: client}))
	}
	if !environment { // a service principal that was given is meant, not whoever is logged in
		if _, err := exec.LookPath("az"); err == nil {
			add(azidentity.NewAzureCLICredential(nil))
		}
		if _, err := exec.LookPath("azd"); err == nil {
			add(azidentity.NewAzureDeveloperCLICredential(nil))
		}
	}
	switch {
	case len(links) == 1:
		return links[0], nil
	case len(links) > 1:
		return azidentity.NewChainedTokenCredential(links, nil)
	case len(problems) > 0:
		return nil, errors.New(strings.Join(problems, "; "))
	}
	return nil, errNoCredential
}

// firstToken gets a token before anything else is asked, so that a credential
// that does not work is one gap and not one for each document.
func firstToken(ctx context.Context, o Options, cred azcore.TokenCredential, c Cloud) error {
	ctx, cancel := context.WithTimeout(ctx, o.CallTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { // az and azd are processes that may outlive their deadline
		_, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.Audience + "/.default"}})
		done <- err
	}()
	select {
	case err := <-done:
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		return err
	case <-ctx.Done():
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &lateError{o.CallTimeout}
	}
	return ctx.Err()
}

// lateError is a token service that did not answer.
type lateError struct{ after time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("timed out after %s", e.after) }

// unavailable is how the token service failed by itself, which says nothing
// about the credential; "" for any other error.
func unavailable(err error) string {
	var late *lateError
	if errors.As(err, &late) {
		return "gave no answer within " + late.after.String()
	}
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		return ""
	}
	code := failed.RawResponse.StatusCode
	if code < 500 && code != http.StatusTooManyRequests {
		return ""
	}
	return fmt.Sprintf("answers %d %s", code, http.StatusText(code))
}

// refusal is why a token was not given, in one line: the authority's own words
// where the SDK quotes them below its dump of the request.
func refusal(err error) string {
	text := err.Error()
	if i := strings.Index(text, "AADSTS"); i >= 0 {
		text = text[i:]
		if j := strings.IndexAny(text, "\"\n\r"); j >= 0 {
			text = text[:j]
		}
		return clipped(text)
	}
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if strings.Trim(line, "-") != "" && !strings.HasPrefix(line, "To troubleshoot") {
			lines = append(lines, line)
		}
	}
	return clipped(strings.Join(lines, " "))
}

func clipped(s string) string {
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return clipped(line)
}
