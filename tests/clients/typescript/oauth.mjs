// The official TypeScript SDKs, unmodified, from the 401 to a tool that they have to ask for. Their provider keeps what it is given and sends
// the person on; everything else is theirs.
// usage: DEV=dev.json REDIRECT=… DOCUMENTS=… oauth.mjs

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import * as v2 from "@modelcontextprotocol/client";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Person } from "../person.mjs";
import { finish, walk } from "../report.mjs";

const dev = JSON.parse(await readFile(process.env.DEV, "utf8"));
const info = { name: "trunkline-oauth-test", version: "1.0.0" };

/** What an application keeps for its SDK. */
class Provider {
  redirectUrl = process.env.REDIRECT;

  constructor(person, { document, metadata }) {
    this.person = person;
    if (document) this.clientMetadataUrl = document;
    this.clientMetadata = { client_name: info.name, redirect_uris: [this.redirectUrl], ...metadata };
    this.kept = {};
    this.asked = [];
  }

  state = () => "state of this application";
  clientInformation = () => this.kept.client;
  saveClientInformation = (client) => void (this.kept.client = client);
  tokens = () => this.kept.tokens;
  saveTokens = (tokens) => void (this.kept.tokens = tokens);
  saveCodeVerifier = (verifier) => void (this.kept.verifier = verifier);
  codeVerifier = () => this.kept.verifier;
  saveDiscoveryState = (state) => void (this.kept.discovery = state);
  discoveryState = () => this.kept.discovery;

  async redirectToAuthorization(url) {
    this.asked.push(url.searchParams);
    this.answer = (await this.person.allow(url)).searchParams;
  }
}

/** Notes what goes over the wire: method, path, status, and the grant of a token request. */
function noting(seen) {
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const response = await fetch(input, init);
    const grant = url.pathname === "/oauth/token" ? new URLSearchParams(init.body).get("grant_type") : undefined;
    const challenge = response.headers.get("www-authenticate");
    seen.push({ did: `${init?.method ?? "GET"} ${url.pathname}`, status: response.status, grant, challenge });
    return response;
  };
}

const sdks = {
  v1: {
    unauthorized: UnauthorizedError,
    client: () => new Client(info, { capabilities: {} }),
    transport: (options) => new StreamableHTTPClientTransport(new URL(dev.mcp_url), options),
    finish: (transport, answer) => transport.finishAuth(answer.get("code")),
    call: (client, name) => client.callTool({ name, arguments: { text: "grüße" } }),
  },
  v2: {
    unauthorized: v2.UnauthorizedError,
    client: (mode) => new v2.Client(info, { capabilities: {}, versionNegotiation: mode }),
    transport: (options) => new v2.StreamableHTTPClientTransport(new URL(dev.mcp_url), options),
    finish: (transport, answer) => transport.finishAuth(answer),
    call: (client, name) => client.callTool({ name, arguments: { text: "grüße" } }),
  },
};

function steps(sdk, { mode, document, metadata, forgets }) {
  const seen = [];
  const provider = new Provider(new Person(dev.base_url, dev.user), { document, metadata });
  const options = { authProvider: provider, fetch: noting(seen) };
  const did = (what, status) => seen.some((one) => one.did === what && one.status === status);
  const grants = (grant) => seen.filter((one) => one.grant === grant && one.status === 200).length;
  let transport = sdk.transport(options);
  let client;
  const works = async (tool) => assert.equal((await sdk.call(client, tool)).content[0].text, "grüße");
  return {
    discover: async () => {
      await assert.rejects(sdk.client(mode).connect(transport), sdk.unauthorized);
      const path = new URL(dev.mcp_url).pathname;
      assert.ok(did(`POST ${path}`, 401), "it began without a token");
      assert.ok(did(`GET /.well-known/oauth-protected-resource${path}`, 200), "it read the resource's metadata");
      assert.ok(did("GET /.well-known/oauth-authorization-server/oauth", 200), "it read the server's metadata");
    },
    register: async () => {
      assert.equal(did("POST /oauth/register", 201), !document);
      if (document) assert.equal(provider.kept.client.client_id, document);
      else assert.match(provider.kept.client.client_id, /^tl_dcr_/);
    },
    consent: async () => {
      const [asked] = provider.asked;
      assert.equal(asked.get("code_challenge_method"), "S256");
      assert.equal(asked.get("resource"), dev.mcp_url);
      assert.equal(asked.get("scope"), "tools:read");
      assert.equal(provider.answer.get("state"), provider.state());
      assert.equal(provider.answer.get("iss"), dev.issuer);
    },
    token: async () => {
      await sdk.finish(transport, provider.answer);
      assert.equal(grants("authorization_code"), 1);
      assert.equal(provider.kept.tokens.scope, "tools:read");
      transport = sdk.transport(options);
      client = sdk.client(mode);
      await client.connect(transport);
    },
    list: async () => {
      const names = (await client.listTools()).tools.map((tool) => tool.name).sort();
      assert.deepEqual(names, ["echo", "time", "weather"]);
    },
    call: () => works("echo"),
    refresh: async () => {
      const before = provider.kept.tokens;
      // What it keeps is no longer good: it hears 401, and refreshes.
      provider.kept.tokens = { ...before, access_token: "a token that has had its time" };
      await works("echo");
      assert.equal(grants("refresh_token"), 1);
      assert.notEqual(provider.kept.tokens.access_token, before.access_token);
      assert.notEqual(provider.kept.tokens.refresh_token, before.refresh_token);
    },
    "step-up": async () => {
      // With a refresh token this one refreshes where it should ask for more; without one it asks.
      if (forgets) delete provider.kept.tokens.refresh_token;
      await assert.rejects(sdk.call(client, "note"), sdk.unauthorized);
      assert.match(seen.findLast((one) => one.status === 403).challenge, /insufficient_scope/);
      assert.deepEqual(provider.asked[1].get("scope").split(" ").sort(), ["tools:read", "tools:write"]);
      const news = /It asks for[\s\S]*?<\/fieldset>/.exec(provider.person.page)[0];
      assert.ok(news.includes("tools:write") && !news.includes("tools:read"), "the consent shows what is new");
      await sdk.finish(transport, provider.answer);
      await works("note");
      await works("echo");
      assert.deepEqual(provider.kept.tokens.scope.split(" ").sort(), ["tools:read", "tools:write"]);
    },
    close: () => client.close(),
  };
}

const open = { token_endpoint_auth_method: "none" };
const document = (name) => `${process.env.DOCUMENTS}/${name}`;
await walk("typescript v1, DCR", steps(sdks.v1, { forgets: true }));
await walk("typescript v1, CIMD", steps(sdks.v1, { forgets: true, document: document("v1") }));
await walk("typescript v2, DCR", steps(sdks.v2, {}));
await walk("typescript v2, DCR, public", steps(sdks.v2, { metadata: open }));
await walk("typescript v2, CIMD", steps(sdks.v2, { document: document("v2") }));
await walk("typescript v2, auto, DCR", steps(sdks.v2, { mode: { mode: "auto" } }));
await walk("typescript v2, auto, CIMD", steps(sdks.v2, { mode: { mode: "auto" }, document: document("v2-auto") }));
finish();
