//! APIs that are imported from their OpenAPI description: from the link to the call, with descriptions and arguments that mean harm.

mod calls;
mod command;
mod hostile;
mod lifecycle;
mod supply;
mod upload;

use serde_json::{Value, json};

use crate::support::{Page, Tenant, TestApp, Upstream, Visitor};

/// A small API with something of everything; where its server is stands in it.
pub(crate) fn petstore(server: &str) -> Value {
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Pet store", "version": "1.2" },
        "servers": [{ "url": server }],
        "security": [{ "key": [] }],
        "components": {
            "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "X-Api-Key" } },
            "schemas": {
                "Pet": { "type": "object", "required": ["name"], "properties": {
                    "id": { "type": "integer", "readOnly": true }, "name": { "type": "string" }, "parent": { "$ref": "#/components/schemas/Pet" },
                } },
                "Answer": { "type": "object", "required": ["ok"], "properties": { "ok": { "type": "boolean" } } },
            },
        },
        "paths": {
            "/pets": {
                "get": {
                    "operationId": "listPets", "summary": "Lists pets", "tags": ["pets"],
                    "parameters": [
                        { "name": "tag", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } },
                        { "name": "filter", "in": "query", "style": "deepObject", "explode": true, "schema": { "type": "object" } },
                        { "name": "X-Trace", "in": "header", "schema": { "type": "string" } },
                    ],
                    "responses": { "200": { "description": "", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Answer" } } } } },
                },
                "post": {
                    "operationId": "createPet", "summary": "Adds a pet", "tags": ["pets"],
                    "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Pet" } } } },
                    "responses": { "201": { "description": "" } },
                },
            },
            "/pets/{pet id}": {
                "parameters": [{ "name": "pet id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "get": { "operationId": "getPet", "responses": { "200": { "description": "" } } },
                "delete": { "operationId": "deletePet", "responses": { "204": { "description": "" } } },
            },
            "/image": { "get": { "operationId": "photo", "responses": { "200": { "description": "", "content": { "image/png": {} } } } } },
            "/trace": { "trace": { "responses": {} } },
        },
    })
}

/// A person who may import, and the tenant.
struct Importer<'a> {
    tenant: Tenant<'a>,
    visitor: Visitor,
}

impl<'a> Importer<'a> {
    async fn new(app: &'a TestApp) -> Self {
        let tenant = app.tenant("acme").await;
        let visitor = Visitor::signed_in(&app.url, "owner@acme.example").await;
        Self { tenant, visitor }
    }

    /// Reads what is at the link; the path of the API's page.
    async fn import(&self, name: &str, link: &str) -> String {
        let page = self.visitor.post("/t/acme/sources/import", &[("name", name), ("link", link)]).await;
        assert_eq!(page.status, 303, "{}", page.body);
        page.location().to_owned()
    }

    /// Reads what is at the link, and approves what it would change.
    async fn read_again(&self, api: &str, link: &str) {
        let change = format!("{api}/change");
        self.visitor.post(&format!("{api}/again"), &[("link", link)]).await.leads_to(&change);
        let page = self.visitor.get(&change).await.ok();
        let digest = page.between("name=\"digest\" value=\"", "\"").expect("a digest").to_owned();
        self.visitor.post(&format!("{change}/approve"), &[("digest", &digest)]).await.leads_to(api);
    }

    /// Tries to make tools of what is picked.
    async fn try_publish(&self, api: &str, fields: &[(&str, &str)]) -> Page {
        self.visitor.post(api, &[&[("then", "publish"), ("untried_reason", "requests are counted here")], fields].concat()).await
    }

    /// Makes tools of what is picked.
    async fn publish(&self, api: &str, fields: &[(&str, &str)]) {
        let page = self.try_publish(api, fields).await;
        assert_eq!((page.status, page.location()), (303, api), "{}", page.body);
    }
}

/// The text serves the document.
fn served(upstream: &Upstream, document: &Value) -> String {
    upstream.serve_document(&document.to_string());
    upstream.url("/document")
}
