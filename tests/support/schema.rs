//! Whether what is delivered is what docs/schemas says.

use std::collections::HashMap;

use tidegate::event::json_schema::notice_schema_uri;

use super::consumer::Received;

/// Panics where a payload does not fit the schema of its type.
pub fn assert_valid(received: &[Received]) {
    let mut validators: HashMap<&str, jsonschema::Validator> = HashMap::new();
    for message in received {
        let is_notice = message.body["dataschema"] == notice_schema_uri();
        let schema = if is_notice { "notice" } else { &message.kind };
        let validator = validators.entry(schema).or_insert_with(|| of(schema));
        let errors: Vec<String> = validator
            .iter_errors(&message.body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}\n{}", message.kind, message.body);
    }
}

/// The committed schema of an event type, or of a notice.
pub fn of(kind: &str) -> jsonschema::Validator {
    let text = std::fs::read_to_string(format!("docs/schemas/{kind}.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}
