package arm

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// objectID is the application's object in the directory, as AuthorizationFailed names it.
const objectID = "00000000-0000-0000-0000-000000000005"

const tokenLife = time.Hour

// token is the authority's token endpoint: client credentials only.
func (c *call) token() {
	c.only(http.MethodPost, func() {
		tenant, _, _ := strings.Cut(strings.Trim(c.path, "/"), "/")
		if !strings.EqualFold(tenant, c.opts.Tenant) {
			c.oauthError(400, "invalid_request", 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)
			return
		}
		if err := c.r.ParseForm(); err != nil {
			c.oauthError(400, "invalid_request", 900144, "The request body is no form: %v", err)
			return
		}
		f := c.r.PostForm
		id, secret, basic := c.r.BasicAuth()
		if !basic {
			id, secret = f.Get("client_id"), f.Get("client_secret")
		}
		switch {
		case f.Get("grant_type") != "client_credentials":
			c.oauthError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", f.Get("grant_type"))
		case id != c.opts.ClientID:
			c.oauthError(400, "unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory 'lab'.", id)
		case subtle.ConstantTimeCompare([]byte(secret), []byte(c.opts.ClientSecret)) != 1:
			c.oauthError(401, "invalid_client", 7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", id)
		case f.Get("scope") == "" && f.Get("resource") == "":
			c.oauthError(400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'.")
		default:
			audience := strings.TrimSuffix(f.Get("scope"), "/.default") + f.Get("resource")
			seconds := int(tokenLife / time.Second)
			c.json(200, Doc{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": c.sign(audience)})
		}
	})
}

func (c *call) oauthError(status int, kind string, code int, format string, args ...any) {
	text := fmt.Sprintf("AADSTS%d: ", code) + fmt.Sprintf(format, args...)
	trace, correlation := newGUID(), newGUID()
	now := c.opts.Now().UTC().Format("2006-01-02 15:04:05Z")
	c.json(status, Doc{
		"error": kind, "error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", text, trace, correlation, now),
		"error_codes": []any{code}, "timestamp": now, "trace_id": trace, "correlation_id": correlation,
		"error_uri": fmt.Sprintf("%s/error?code=%d", c.base(), code),
	})
}

var b64 = base64.RawURLEncoding

// sign makes an access token: a JWT with the claims that tools look at.
func (s *Server) sign(audience string) string {
	now := s.opts.Now()
	head, _ := json.Marshal(Doc{"typ": "JWT", "alg": "HS256"})
	claims, _ := json.Marshal(Doc{
		"aud": audience, "iss": "https://sts.windows.net/" + s.opts.Tenant + "/", "iat": now.Unix(), "nbf": now.Unix(),
		"exp": now.Add(tokenLife).Unix(), "appid": s.opts.ClientID, "oid": objectID, "sub": objectID, "tid": s.opts.Tenant, "idtyp": "app", "ver": "1.0",
	})
	text := b64.EncodeToString(head) + "." + b64.EncodeToString(claims)
	return text + "." + b64.EncodeToString(s.mac(text))
}

func (s *Server) mac(text string) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// authenticate checks the bearer token.
func (c *call) authenticate() error {
	header := c.r.Header.Get("Authorization")
	challenge := func(code, text string) error {
		c.challenge(text)
		return refuse(401, code, "%s", text)
	}
	scheme, token, _ := strings.Cut(header, " ")
	if header == "" || !strings.EqualFold(scheme, "Bearer") {
		return challenge("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	text, signature, ok := cutLast(token, ".")
	given, err := b64.DecodeString(signature)
	if !ok || err != nil || !hmac.Equal(given, c.mac(text)) {
		return challenge("InvalidAuthenticationToken", "The access token is invalid.")
	}
	_, payload, _ := strings.Cut(text, ".")
	claims := struct{ Exp int64 }{}
	raw, err := b64.DecodeString(payload)
	if err != nil || json.Unmarshal(raw, &claims) != nil {
		return challenge("InvalidAuthenticationToken", "The access token is invalid.")
	}
	if c.opts.Now().Unix() > claims.Exp {
		return challenge("ExpiredAuthenticationToken", "The access token expiry UTC time '"+time.Unix(claims.Exp, 0).UTC().Format("1/2/2006 3:04:05 PM")+"' is earlier than current UTC time.")
	}
	return nil
}

func (c *call) challenge(text string) {
	c.w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`,
		c.base(), c.opts.Tenant, strings.ReplaceAll(text, `"`, `'`)))
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// openID is the authority's self-description.
func (c *call) openID() {
	tenant, _, _ := strings.Cut(strings.Trim(c.path, "/"), "/")
	at := c.base() + "/" + tenant
	c.json(200, Doc{
		"issuer": at + "/v2.0", "authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token",
		"device_authorization_endpoint": at + "/oauth2/v2.0/devicecode", "jwks_uri": at + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []any{"client_secret_post", "client_secret_basic"},
		"response_types_supported":              []any{"code", "token"}, "subject_types_supported": []any{"pairwise"},
		"id_token_signing_alg_values_supported": []any{"RS256"}, "scopes_supported": []any{"openid"},
	})
}

// discovery answers "is this host an authority?".
func (c *call) discovery() {
	c.json(200, InstanceDiscovery(c.r.URL.Query().Get("authorization_endpoint"), c.base()))
}

// InstanceDiscovery is what login.microsoftonline.com says of an authority: where its self-description is.
func InstanceDiscovery(authorization, base string) Doc {
	tenant := "common"
	host := base
	if u, err := url.Parse(authorization); err == nil && u.Host != "" {
		host = u.Scheme + "://" + u.Host
		tenant, _, _ = strings.Cut(strings.Trim(u.Path, "/"), "/")
	}
	name := strings.TrimPrefix(strings.TrimPrefix(host, "https://"), "http://")
	return Doc{
		"tenant_discovery_endpoint": host + "/" + tenant + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []any{Doc{"preferred_network": name, "preferred_cache": name, "aliases": []any{name}}},
	}
}

// endpoints is the cloud's self-description, in the old form and the new.
func (c *call) endpoints() {
	base := c.base()
	auth := Doc{"loginEndpoint": base + "/", "audiences": []any{base + "/", base}, "tenant": "common", "identityProvider": "AAD"}
	if c.r.URL.Query().Get("api-version") < "2019" {
		c.json(200, Doc{"galleryEndpoint": base, "graphEndpoint": base, "portalEndpoint": base, "authentication": auth})
		return
	}
	c.json(200, []any{Doc{
		"name": "AzureLab", "portal": base, "authentication": auth, "resourceManager": base + "/", "media": base,
		"graphAudience": base, "graph": base, "batch": base, "suffixes": Doc{"storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "acrLoginServer": "azurecr.io"},
	}})
}
