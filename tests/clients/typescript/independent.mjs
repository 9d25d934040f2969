// General OAuth clients, which know nothing of MCP: openid-client, and oauth4webapi, which checks every answer against the RFCs.
// usage: DEV=dev.json REDIRECT=… independent.mjs

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { Person } from "../person.mjs";
import { finish, walk } from "../report.mjs";

const dev = JSON.parse(await readFile(process.env.DEV, "utf8"));
const redirect = process.env.REDIRECT;
const issuer = new URL(dev.issuer);
const resource = dev.mcp_url;
const scope = "tools:read";

/** How the resource answers whoever has that token. */
async function status(token) {
  const accept = "application/json, text/event-stream";
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", accept };
  const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "trunkline-oauth-test", version: "1.0.0" } };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params });
  return (await fetch(resource, { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) })).status;
}

function withOpenid(algorithm, method) {
  const person = new Person(dev.base_url, dev.user);
  const options = { execute: [openid.allowInsecureRequests], algorithm };
  let config, tokens;
  return {
    register: async () => {
      const metadata = { client_name: "openid-client", redirect_uris: [redirect], token_endpoint_auth_method: method };
      const how = { client_secret_post: openid.ClientSecretPost(), client_secret_basic: openid.ClientSecretBasic(), none: openid.None() };
      config = await openid.dynamicClientRegistration(issuer, metadata, how[method], options);
      const server = config.serverMetadata();
      assert.equal(server.issuer, dev.issuer);
      assert.ok(server.supportsPKCE("S256"));
      assert.equal(Boolean(config.clientMetadata().client_secret), method !== "none");
    },
    code: async () => {
      const [verifier, state] = [openid.randomPKCECodeVerifier(), openid.randomState()];
      const challenge = await openid.calculatePKCECodeChallenge(verifier);
      const asked = { redirect_uri: redirect, scope, resource, state, code_challenge: challenge, code_challenge_method: "S256" };
      const answer = await person.allow(openid.buildAuthorizationUrl(config, asked));
      const checks = { pkceCodeVerifier: verifier, expectedState: state };
      tokens = await openid.authorizationCodeGrant(config, answer, checks, { resource });
      assert.deepEqual([tokens.token_type, tokens.scope], ["bearer", scope]);
      assert.ok(tokens.expiresIn() > 0);
    },
    deny: async () => {
      const state = openid.randomState();
      const challenge = await openid.calculatePKCECodeChallenge(openid.randomPKCECodeVerifier());
      const asked = { redirect_uri: redirect, scope, resource, state, code_challenge: challenge, code_challenge_method: "S256" };
      const answer = await person.allow(openid.buildAuthorizationUrl(config, asked), { decision: "deny" });
      const denied = openid.authorizationCodeGrant(config, answer, { pkceCodeVerifier: "x".repeat(43), expectedState: state });
      await assert.rejects(denied, (error) => error.error === "access_denied");
    },
    call: async () => assert.equal(await status(tokens.access_token), 200),
    refresh: async () => {
      const before = tokens;
      tokens = await openid.refreshTokenGrant(config, before.refresh_token, { resource });
      assert.notEqual(tokens.refresh_token, before.refresh_token);
      assert.equal(await status(tokens.access_token), 200);
    },
    introspect: async () => {
      const asked = openid.tokenIntrospection(config, tokens.access_token);
      // Whoever cannot prove who it is, is told nothing.
      if (method === "none") return assert.rejects(asked, (error) => error.error === "invalid_client" || error.status === 401);
      const said = await asked;
      assert.equal(said.active, true);
      assert.deepEqual([said.scope, said.aud, said.client_id], [scope, resource, config.clientMetadata().client_id]);
    },
    revoke: async () => {
      await openid.tokenRevocation(config, tokens.refresh_token);
      assert.equal(await status(tokens.access_token), 401);
      await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token), (error) => error.error === "invalid_grant");
      if (method !== "none") assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, false);
    },
  };
}

function strictly() {
  const person = new Person(dev.base_url, dev.user);
  const http = { [oauth.allowInsecureRequests]: true };
  let server, client, authentication, tokens;
  return {
    resource: async () => {
      const found = await oauth.resourceDiscoveryRequest(new URL(resource), http);
      const metadata = await oauth.processResourceDiscoveryResponse(new URL(resource), found);
      assert.deepEqual(metadata.authorization_servers, [dev.issuer]);
    },
    discover: async () => {
      for (const algorithm of ["oauth2", "oidc"]) {
        server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...http, algorithm }));
        assert.equal(server.authorization_response_iss_parameter_supported, true);
      }
    },
    register: async () => {
      const metadata = { client_name: "oauth4webapi", redirect_uris: [redirect] };
      const sent = await oauth.dynamicClientRegistrationRequest(server, metadata, http);
      client = await oauth.processDynamicClientRegistrationResponse(sent);
      assert.equal(client.token_endpoint_auth_method, "client_secret_basic");
      authentication = oauth.ClientSecretBasic(client.client_secret);
    },
    code: async () => {
      const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
      const url = new URL(server.authorization_endpoint);
      const asked = { client_id: client.client_id, response_type: "code", redirect_uri: redirect, scope, resource, state };
      const challenge = { code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256" };
      for (const [name, value] of Object.entries({ ...asked, ...challenge })) url.searchParams.set(name, value);
      const answer = oauth.validateAuthResponse(server, client, await person.allow(url), state);
      const more = { ...http, additionalParameters: { resource } };
      const sent = await oauth.authorizationCodeGrantRequest(server, client, authentication, answer, redirect, verifier, more);
      tokens = await oauth.processAuthorizationCodeResponse(server, client, sent);
      // RFC 9068, with the keys that the server publishes.
      const request = new Request(resource, { headers: { authorization: `Bearer ${tokens.access_token}` } });
      const claims = await oauth.validateJwtAccessToken(server, request, resource, http);
      assert.deepEqual([claims.client_id, claims.scope], [client.client_id, scope]);
    },
    call: async () => assert.equal(await status(tokens.access_token), 200),
    refresh: async () => {
      const sent = await oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, http);
      tokens = await oauth.processRefreshTokenResponse(server, client, sent);
      assert.equal(await status(tokens.access_token), 200);
    },
    introspect: async () => {
      const sent = await oauth.introspectionRequest(server, client, authentication, tokens.refresh_token, http);
      assert.equal((await oauth.processIntrospectionResponse(server, client, sent)).active, true);
    },
    revoke: async () => {
      const sent = await oauth.revocationRequest(server, client, authentication, tokens.access_token, http);
      await oauth.processRevocationResponse(sent);
      assert.equal(await status(tokens.access_token), 401);
    },
  };
}

await walk("openid-client, public", withOpenid("oauth2", "none"));
await walk("openid-client, secret", withOpenid("oauth2", "client_secret_post"));
await walk("openid-client, OIDC place", withOpenid("oidc", "client_secret_basic"));
await walk("oauth4webapi", strictly());
finish();
