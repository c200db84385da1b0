//! What a route delivers, for those who receive it: JSON Schema of each type, and AsyncAPI of all
//! routes.
//!
//! Promises: what a route lets out satisfies its schema; a schema names nothing that the contract does
//! not.
//! Knows nothing of: where it is written to.

use serde_json::{Map, Value as Json, json};

use crate::event::EventType;
use crate::event::json_schema::{
    data_schema_uri, notice_schema, notice_schema_uri, route_schema, route_schema_uri,
};
use crate::privacy::recipe::SubjectForm;
use crate::privacy::{Recipe, Tier};

use super::{Contract, Destination};

/// Version of AsyncAPI.
const ASYNC_API: &str = "3.0.0";
/// What notices are filed under beside the event types.
pub const NOTICE: &str = "notice";

impl Contract {
    /// What may leave at most: also by every exception to the contract.
    fn widest(&self) -> &Recipe {
        self.broken.first().map_or(&self.recipe, |broken| &broken.recipe)
    }

    /// The schema of an event of this route (JSON Schema 2020-12).
    #[must_use]
    pub fn schema(&self, kind: EventType) -> Json {
        let recipe = self.widest();
        let data = recipe.shape.json_schema(kind);
        let mut said = self.said(recipe);
        if !recipe.tier.shows_time() {
            said.insert("time".to_owned(), Json::Null);
        }
        if recipe.tier == Tier::Deidentified {
            said.insert("consentref".to_owned(), Json::Null);
        }
        if !recipe.shows_visit() {
            said.insert("visitkey".to_owned(), Json::Null);
        }
        let own = route_schema_uri(kind, &self.name, &self.version);
        let general = data_schema_uri(kind);
        // While a glass is broken that renames a field the data is no longer of the general schema.
        let uri = match (self.recipe.is_plain, recipe.is_plain) {
            (true, true) => json!({ "const": general }),
            (true, false) => json!({ "enum": [general, own] }),
            (false, _) => json!({ "const": own }),
        };
        said.insert("dataschema".to_owned(), uri);
        let id = format!("urn:tidegate:event:{}:{}:{kind}", self.name, self.version);
        route_schema(kind, &id, data, &said)
    }

    /// The schema of a notice of this route; nothing where it knows no subject.
    #[must_use]
    pub fn notice_schema(&self) -> Option<Json> {
        if self.recipe.subject == SubjectForm::Hidden {
            return None;
        }
        let mut schema = notice_schema();
        let id = format!("urn:tidegate:event:{}:{}:{NOTICE}", self.name, self.version);
        let object = schema.as_object_mut()?;
        object.insert("$id".to_owned(), id.into());
        let mut said = self.said(&self.recipe);
        said.insert("dataschema".to_owned(), json!({ "const": notice_schema_uri() }));
        object.get_mut("properties")?.as_object_mut()?.append(&mut said);
        Some(schema)
    }

    /// What is certain of the envelope.
    fn said(&self, recipe: &Recipe) -> Map<String, Json> {
        let mut said = Map::new();
        for (name, value) in [
            ("route", self.name.as_str()),
            ("contract", &self.version),
            ("purpose", &self.purpose),
            ("tier", recipe.tier.name()),
        ] {
            said.insert(name.to_owned(), json!({ "const": value }));
        }
        let subject = match recipe.subject {
            SubjectForm::Hidden => Json::Null,
            SubjectForm::Clear => json!({ "type": "string", "pattern": "\\|",
                "description": "The patient: authority|value." }),
            SubjectForm::Token => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$",
                "description": "The patient's token in the route's realm." }),
        };
        said.insert("subject".to_owned(), subject);
        said
    }
}

/// An AsyncAPI document of what each route sends.
#[must_use]
pub fn async_api(node: &str, version: &str, contracts: &[Contract]) -> Json {
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for contract in contracts {
        let route = &contract.name;
        let mut of_channel = Map::new();
        let events = contract.events.iter().map(|kind| (kind.name(), contract.schema(*kind)));
        let notice = contract.notice_schema().map(|schema| (NOTICE, schema));
        for (name, mut schema) in events.chain(notice) {
            // What is used of it is the same in draft 07, which AsyncAPI's tools read.
            if let Some(object) = schema.as_object_mut() {
                object.remove("$schema");
                object.remove("$id");
            }
            let message = format!("{route}.{name}");
            let reference = format!("#/components/messages/{message}");
            of_channel.insert(name.to_owned(), json!({ "$ref": reference }));
            messages.insert(
                message,
                json!({
                    "name": name,
                    "contentType": "application/cloudevents+json",
                    "correlationId": { "location": "$message.payload#/correlationid" },
                    "payload": {
                        "schemaFormat": "application/schema+json;version=draft-07",
                        "schema": schema,
                    },
                }),
            );
        }
        let mut channel = json!({
            "description": format!(
                "For {}, under contract {route} {}: purpose {}, tier {}.",
                contract.consumer, contract.version, contract.purpose, contract.recipe.tier.name()
            ),
            "messages": of_channel,
        });
        if let Some(object) = channel.as_object_mut() {
            match &contract.deliver {
                Destination::RabbitMq { .. } => {
                    object.insert("address".to_owned(), route.as_str().into());
                    object.insert(
                        "bindings".to_owned(),
                        json!({ "amqp": { "is": "queue", "bindingVersion": "0.3.0",
                            "queue": { "name": route, "durable": true, "exclusive": false,
                                "autoDelete": false } } }),
                    );
                }
                Destination::File { path, .. } => {
                    object.insert("address".to_owned(), path.display().to_string().into());
                }
            }
        }
        channels.insert(route.clone(), channel);
        operations.insert(
            format!("send.{route}"),
            json!({ "action": "send", "channel": { "$ref": format!("#/channels/{route}") } }),
        );
    }
    json!({
        "asyncapi": ASYNC_API,
        "info": {
            "title": format!("tidegate {node}"),
            "version": version,
            "description": "What each route lets out. A consumer of a route receives from its channel.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages },
    })
}
