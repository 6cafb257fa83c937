//! The OpenAPI document of the daemon API, made of the table of endpoints and of the types.

use std::{borrow::Cow, collections::BTreeSet};

use peerup_model::ErrorCode;
use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
    json_schema,
};
use serde_json::{Map, Value, json};

use crate::endpoints::{COMMON_ERRORS, ENDPOINTS, Endpoint, Produces};

/// The largest body of a request, in bytes.
pub const MAX_BODY: usize = 1 << 20;

const SCHEMAS: &str = "/components/schemas";

const DESCRIPTION: &str = "HTTP/1.1 on the Unix socket `peerup.sock` beside the config. Every answer is \
    `{\"data\": ...}` or `{\"error\": {\"code\", \"message\", \"hint\"}}`, or text for people with `?format=text` or \
    `Accept: text/plain`. Long answers are NDJSON, one object a line; the last line is `{\"error\": ...}` where one \
    failed half-way. Bodies are at most 1 MiB. The Host header is `peerup` or `localhost`.";

/// The shape of an error, with the codes that there are.
#[derive(Debug)]
pub(crate) struct ErrorObject;

impl JsonSchema for ErrorObject {
    fn schema_name() -> Cow<'static, str> {
        "Error".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<Value> = ErrorCode::ANSWERED
            .iter()
            .map(|code| serde_json::to_value(code).unwrap_or_default())
            .collect();
        json_schema!({
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": { "type": "string", "enum": codes, "description": "Stable; the exit code of the command line follows from it." },
                "message": { "type": "string", "description": "What failed, on which object." },
                "hint": { "type": "string", "description": "What to do now, where there is something to do." },
            },
        })
    }
}

/// Returns the document.
pub fn openapi() -> Value {
    let settings = |contract| {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.contract = contract;
        })
    };
    // What is read may leave out what has a default; what is written has every key.
    let mut read = settings(Contract::Deserialize).into_generator();
    let mut written = settings(Contract::Serialize).into_generator();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(operations) = path.as_object_mut() {
            let operation = operation(endpoint, &mut read, &mut written);
            operations.insert(endpoint.verb.as_str().to_lowercase(), operation);
        }
    }
    let error = written.subschema_for::<crate::ErrorBody>();
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "peerup daemon API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "over the Unix socket" }],
        "security": [{ "cookie": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "cookie": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The content of `.daemon-cookie` beside the config: 64 hexadecimal digits, new at each start.",
                },
            },
            "responses": { "Error": {
                "description": "What failed, and what to do.",
                "content": {
                    "application/json": { "schema": error },
                    "text/plain": { "schema": { "type": "string", "description": "`error: MESSAGE` and `next: HINT`." } },
                },
            }},
            "schemas": schemas,
        },
    })
}

fn operation(endpoint: &Endpoint, read: &mut SchemaGenerator, written: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "parameters": parameters(endpoint, read),
        "responses": responses(endpoint, written),
    });
    if let (Some(body), Some(object)) = (endpoint.body, operation.as_object_mut()) {
        let body = json!({ "required": true, "content": { "application/json": { "schema": body(read) } } });
        object.insert("requestBody".to_owned(), body);
    }
    operation
}

/// `GET /v1/plugins/{name}/logs` is `get_plugins_name_logs`.
fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint
        .path
        .trim_start_matches("/v1")
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    std::iter::once(endpoint.verb.as_str().to_lowercase().as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

fn parameters(endpoint: &Endpoint, read: &mut SchemaGenerator) -> Vec<Value> {
    let in_path = endpoint
        .path_parameters()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let mut parameters: Vec<Value> = in_path.collect();
    for query in endpoint.query {
        let schema = (query.schema)(read);
        parameters.push(
            json!({ "name": query.name, "in": "query", "description": query.summary, "schema": schema }),
        );
    }
    if !matches!(endpoint.produces, Produces::Document | Produces::Text(_)) {
        parameters.push(json!({
            "name": "format", "in": "query", "description": "`text` for people.",
            "schema": { "type": "string", "enum": ["json", "text"], "default": "json" },
        }));
    }
    parameters
}

fn responses(endpoint: &Endpoint, written: &mut SchemaGenerator) -> Value {
    let text = json!({ "schema": { "type": "string" } });
    let (description, content) = match endpoint.produces {
        Produces::Data(schema) => {
            let schema = json!({
                "type": "object", "required": ["data"], "properties": { "data": schema(written) },
            });
            (
                "Done.",
                json!({ "application/json": { "schema": schema }, "text/plain": text }),
            )
        }
        Produces::Lines(schema) => (
            "One object a line, as it comes.",
            json!({ "application/x-ndjson": { "schema": schema(written) }, "text/plain": text }),
        ),
        Produces::Text(kind) => ("Text.", json!({ kind: text })),
        Produces::Document => (
            "JSON.",
            json!({ "application/json": { "schema": { "type": "object" } } }),
        ),
    };
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": description, "content": content }),
    );
    let statuses: BTreeSet<u16> = COMMON_ERRORS
        .iter()
        .chain(endpoint.errors)
        .map(|code| code.http_status())
        .collect();
    for status in statuses {
        responses.insert(
            status.to_string(),
            json!({ "$ref": "#/components/responses/Error" }),
        );
    }
    Value::Object(responses)
}
