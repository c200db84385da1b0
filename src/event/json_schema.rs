//! The JSON Schema of each event type, made from the declaration.
//!
//! Promises: the files under docs/schemas are what this prints, a test compares them; every
//! field carries its class as `x-class` and, where it has one, its Safe Harbor letter as
//! `x-safe-harbor`.
//! Knows nothing of: which fields a route lets out. Every field is optional here, since a
//! contract decides.

use serde_json::{Map, Value as Json, json};

use super::EventType;
use super::extension::NAME_CHARS_MAX;
use super::schema::{DATA, EXTENSION, Field, Part, Shape, VERSION, parts, parts_of};

/// `2026`, `2026-11-22`, `2026-11-22T08:15-08:00`.
const DATE_PATTERN: &str = "^\\d{4}(-\\d{2}(-\\d{2}(T\\d{2}(:\\d{2}(:\\d{2}(\\.\\d{1,9})?)?)?(Z|[+-]\\d{2}:\\d{2})?)?)?)?$";

/// What `dataschema` of an event names.
#[must_use]
pub fn data_schema_uri(kind: EventType) -> String {
    format!("urn:tidegate:data:{kind}:{VERSION}")
}

/// What `dataschema` of an event names whose fields do not all leave under their own name and type: the
/// schema of the route (`tidegate check --schemas`).
#[must_use]
pub fn route_schema_uri(kind: EventType, route: &str, contract: &str) -> String {
    format!("{}:{route}:{contract}", data_schema_uri(kind))
}

/// What `dataschema` of a notice names.
#[must_use]
pub fn notice_schema_uri() -> String {
    format!("urn:tidegate:data:notice:{VERSION}")
}

/// The types that a notice may have.
pub const NOTICES: [EventType; 6] = [
    EventType::ConsentDenied,
    EventType::ConsentRevoked,
    EventType::ConsentExpired,
    EventType::ConsentRetracted,
    EventType::PatientMerged,
    EventType::PatientIdentifierChanged,
];

/// The schema of a notice as it is delivered.
#[must_use]
pub fn notice_schema() -> Json {
    let data = json!({
        "prior": { "enum": ["keep", "stop-using", "delete"],
            "description": "What to do with what was sent of this patient before." },
        "retired": { "type": "string", "minLength": 1,
            "description": "The token, or what the contract names, that the subject stands for from now on." },
    });
    let mut properties = envelope(EventType::ConsentDenied, data);
    if let Some(properties) = properties.as_object_mut() {
        properties.remove("consentref");
        properties.remove("visitkey");
        properties.insert("type".to_owned(), json!({ "enum": NOTICES.map(EventType::name) }));
        properties.insert("dataschema".to_owned(), json!({ "const": notice_schema_uri() }));
        if let Some(data) = properties.get_mut("data").and_then(Json::as_object_mut) {
            data.insert("required".to_owned(), json!(["prior"]));
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:tidegate:event:notice:{VERSION}"),
        "title": "notice",
        "description": "CloudEvents 1.0, structured JSON: tells a consumer to stop, or to link. It holds nothing of any event.",
        "type": "object",
        "properties": properties,
        "required": ["specversion", "type", "source", "id", "time", "subject", "datacontenttype",
            "dataschema", "correlationid", "route", "contract", "purpose", "tier", "recipe",
            "sequence", "data"],
        "additionalProperties": false,
    })
}

/// The schema of an event as it is delivered, envelope and data.
#[must_use]
pub fn json_schema(kind: EventType) -> Json {
    let mut data = Map::new();
    for name in parts_of(kind) {
        if let Some(field) = DATA.field(name) {
            data.insert(field.name.to_owned(), of_field(field));
        }
    }
    let mut defs = Map::new();
    for part in parts().into_iter().skip(1).filter(|part| used(part, kind)) {
        defs.insert(part.name.to_owned(), of_part(part));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:tidegate:event:{kind}:{VERSION}"),
        "title": kind.name(),
        "description": "CloudEvents 1.0, structured JSON. Which fields of data are there is for the route's contract to say.",
        "type": "object",
        "properties": envelope(kind, Json::Object(data)),
        "required": REQUIRED,
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// The schema of an event as one route delivers it: `data` is the schema of its data, `said` what its
/// contract makes certain of the envelope, by attribute; one that is none of these is not there.
#[must_use]
pub fn route_schema(kind: EventType, id: &str, data: Json, said: &Map<String, Json>) -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": kind.name(),
        "description": "CloudEvents 1.0, structured JSON, as this route lets it out.",
        "type": "object",
        "properties": envelope(kind, json!({})),
        "required": REQUIRED,
        "additionalProperties": false,
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.insert("data".to_owned(), data);
        for (name, value) in said {
            match value {
                Json::Null => {
                    properties.remove(name);
                }
                value => {
                    properties.insert(name.clone(), value.clone());
                }
            }
        }
    }
    schema
}

/// The attributes that every event has.
const REQUIRED: [&str; 14] = [
    "specversion",
    "type",
    "source",
    "id",
    "datacontenttype",
    "dataschema",
    "correlationid",
    "route",
    "contract",
    "purpose",
    "tier",
    "recipe",
    "sequence",
    "data",
];

fn envelope(kind: EventType, data: Json) -> Json {
    let text = |doc: &str| json!({ "type": "string", "minLength": 1, "description": doc });
    json!({
        "specversion": { "const": "1.0" },
        "type": { "const": kind.name() },
        "source": text("tidegate/NODE/FEED"),
        "id": text("Names the event; the same whenever it is sent again."),
        "time": { "type": "string", "format": "date-time",
            "description": "When it happened; absent where the tier forbids it or nobody said." },
        "subject": text("The patient's token in the route's realm, or what the contract names."),
        "datacontenttype": { "const": "application/json" },
        "dataschema": { "const": data_schema_uri(kind) },
        "correlationid": text("Names the message; below tier identified, a keyed digest."),
        "visitkey": { "type": "string", "pattern": "^[0-9a-f]{32}$",
            "description": "Names the visit in the route's realm, whichever source told of it: a keyed digest. Absent where the event names none." },
        "route": text("The route that let it out."),
        "contract": text("Version of the route's contract."),
        "purpose": text("HL7 v3 PurposeOfUse."),
        "tier": { "enum": ["identified", "limited", "pseudonymized", "deidentified"] },
        "consentref": text("Names the consent that it left by; absent where none was needed."),
        "recipe": { "type": "string", "pattern": "^sha256:[0-9a-f]{64}$",
            "description": "Hash of the list of field transforms." },
        "sequence": { "type": "string", "pattern": "^[0-9]+$",
            "description": "Position on this route; grows, with gaps." },
        "data": { "type": "object", "properties": data, "additionalProperties": false },
    })
}

/// Whether a part can be reached from the parts of an event type.
fn used(part: &Part, kind: EventType) -> bool {
    fn reaches(from: &Part, wanted: &str) -> bool {
        from.name == wanted
            || from.fields.iter().any(|field| match field.shape {
                Shape::Part(inner) => reaches(inner, wanted),
                Shape::Text | Shape::Date | Shape::Number | Shape::Bool => false,
            })
    }
    parts_of(kind).iter().filter_map(|name| DATA.field(name)).any(|field| match field.shape {
        Shape::Part(inner) => reaches(inner, part.name),
        Shape::Text | Shape::Date | Shape::Number | Shape::Bool => false,
    })
}

fn of_part(part: &Part) -> Json {
    if part.name == EXTENSION.name {
        // Which there are, sites declare; a route's schema names those that it lets out.
        let one = json!(["string", "number", "boolean", "null"]);
        return json!({
            "type": "object",
            "description": part.doc,
            "propertyNames": { "pattern": "^[a-z][A-Za-z0-9]*$", "maxLength": NAME_CHARS_MAX },
            "additionalProperties": {
                "anyOf": [{ "type": one }, { "type": "array", "items": { "type": one } }],
            },
        });
    }
    let fields: Map<String, Json> =
        part.fields.iter().map(|field| (field.name.to_owned(), of_field(field))).collect();
    json!({
        "type": "object",
        "description": part.doc,
        "properties": fields,
        "additionalProperties": false,
    })
}

fn of_field(field: &Field) -> Json {
    let single = match field.shape {
        Shape::Text => json!({ "type": ["string", "null"] }),
        Shape::Date => json!({ "type": ["string", "null"], "pattern": DATE_PATTERN }),
        Shape::Number => json!({ "type": ["number", "null"] }),
        Shape::Bool => json!({ "type": ["boolean", "null"] }),
        Shape::Part(part) => {
            json!({ "anyOf": [{ "$ref": format!("#/$defs/{}", part.name) }, { "type": "null" }] })
        }
    };
    let mut schema =
        if field.many { json!({ "type": ["array", "null"], "items": single }) } else { single };
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), field.doc.into());
        if !matches!(field.shape, Shape::Part(_)) {
            object.insert("x-class".to_owned(), field.class.name().into());
        }
        if let Some(letter) = field.safe_harbor {
            object.insert("x-safe-harbor".to_owned(), letter.to_string().into());
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_type_has_the_parts_that_it_can_carry_and_no_other() {
        let schema = json_schema(EventType::ObservationReported);
        let data = schema.pointer("/properties/data/properties").unwrap();
        assert!(data.get("report").is_some() && data.get("consent").is_none());
        assert!(schema.pointer("/$defs/specimen").is_some());
        assert!(schema.pointer("/$defs/consent").is_none());
        assert_eq!(
            schema.pointer("/$defs/patient/properties/birthDate/x-safe-harbor"),
            Some(&Json::from("C"))
        );
        assert_eq!(
            schema.pointer("/$defs/name/properties/family/x-class"),
            Some(&Json::from("direct"))
        );
    }
}
