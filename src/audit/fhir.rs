//! A record as a FHIR R4 AuditEvent.
//!
//! Promises: a release has what IHE BALP's `PrivacyDisclosure.Source` asks for; what did not leave
//! and what was done have the same shape but for the profile, and say so by their outcome and
//! type; nothing is in it that is not in the record.
//! Knows nothing of: files.
//!
//! BALP 1.1.4 asks of a disclosure: type DCM 110106, subtype iso-21089-lifecycle `disclose`, action
//! R, an outcome, one agent that is the source and is `source.observer`, one that receives, each
//! with a network, and at least two entities, one of them the patient.

use serde_json::{Map, Value as Json, json};

use super::record::{Act, Decision, Outcome, Record, Says};

const PROFILE: &str =
    "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PrivacyDisclosure.Source";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
/// What our own identifiers are of. A URN of ours, since there is no address behind it.
const OURS: &str = "urn:tidegate";

/// The resource, of the daemon of that name and the chain of that ID.
#[must_use]
pub fn audit_event(record: &Record, node: &str, chain: &str) -> Json {
    let id = format!("{chain}-{}", record.number);
    let observer = json!({
        "identifier": { "system": format!("{OURS}:node"), "value": node }, "display": node,
    });
    let source = json!({
        "site": node,
        "observer": observer,
        "type": [{ "system": SOURCE_TYPE, "code": "4", "display": "Application Server" }],
    });
    let mut event = match &record.says {
        Says::Decision(decision) => of_decision(decision, &observer, node),
        Says::Act(act) => of_act(act, &observer),
    };
    event.insert("resourceType".to_owned(), json!("AuditEvent"));
    event.insert("id".to_owned(), json!(id));
    event.insert("recorded".to_owned(), json!(record.at.to_string()));
    event.insert("source".to_owned(), source);
    Json::Object(event)
}

fn of_decision(one: &Decision, observer: &Json, node: &str) -> Map<String, Json> {
    let left = matches!(one.outcome, Outcome::Release | Outcome::Notice);
    // In FHIR: success, or a minor failure, which is what a refusal is to who wanted it.
    let outcome = if left { "0" } else { "4" };
    let agent = |code: &str, display: &str, who: Json, address: &str, kind: &str| {
        json!({
            "type": { "coding": [{ "system": DCM, "code": code, "display": display }] },
            "who": who,
            "requestor": code == "110153",
            "network": { "address": address, "type": kind },
        })
    };
    let consumer = json!({
        "identifier": { "system": format!("{OURS}:consumer"), "value": one.under.consumer },
        "display": one.under.consumer,
    });
    let mut event = json!({
        "type": { "system": DCM, "code": "110106", "display": "Export" },
        "subtype": [
            { "system": LIFECYCLE, "code": "disclose", "display": "Disclose Record Lifecycle Event" },
            { "system": format!("{OURS}:outcome"), "code": one.outcome.name() },
        ],
        "action": "R",
        "outcome": outcome,
        "outcomeDesc": one.reason,
        "purposeOfEvent": [{ "coding": [{ "system": REASON, "code": one.under.purpose }] }],
        "agent": [
            agent("110153", "Source Role ID", observer.clone(), node, "1"),
            agent("110152", "Destination Role ID", consumer, &one.under.destination, "5"),
        ],
        "entity": entities(one),
    });
    if left && let Some(event) = event.as_object_mut() {
        event.insert("meta".to_owned(), json!({ "profile": [PROFILE] }));
    }
    into_map(event)
}

/// The patient, the event, each consent, the contract.
fn entities(one: &Decision) -> Vec<Json> {
    let system_object = json!({ "system": ENTITY_TYPE, "code": "2", "display": "System Object" });
    let entity = |role: &str, display: &str, system: &str, value: &str, detail: Vec<Json>| {
        let mut entity = json!({
            "what": { "identifier": { "system": format!("{OURS}:{system}"), "value": value } },
            "type": system_object,
            "role": { "system": ROLE, "code": role, "display": display },
        });
        if !detail.is_empty()
            && let Some(entity) = entity.as_object_mut()
        {
            entity.insert("detail".to_owned(), Json::Array(detail));
        }
        entity
    };
    let detail = |kind: &str, value: &str| json!({ "type": kind, "valueString": value });
    // Outside, a patient is the token; who has none is the digest that stands in the record.
    let (system, value) = match &one.token {
        Some(token) => ("token", token.as_str()),
        None => ("subject", &*one.subject),
    };
    let patient = json!({
        "what": { "type": "Patient", "identifier": { "system": format!("{OURS}:{system}"), "value": value } },
        "type": { "system": ENTITY_TYPE, "code": "1", "display": "Person" },
        "role": { "system": ROLE, "code": "1", "display": "Patient" },
    });
    let mut of_event = vec![detail("type", one.kind.name())];
    of_event.extend(
        one.fields.iter().map(|(path, fate)| detail(&format!("field {path}"), fate.name())),
    );
    of_event.extend(one.told_by.as_deref().map(|by| detail("told by event", by)));
    of_event.extend(one.instead.map(|number| detail("instead of record", &number.to_string())));
    of_event.extend(one.of.map(|number| detail("of record", &number.to_string())));
    of_event.extend(one.place.as_deref().map(|place| detail("place", place)));
    let mut contract = vec![
        detail("version", &one.under.contract),
        detail("recipe", &one.under.recipe),
        detail("configuration", &one.under.configuration),
    ];
    contract.extend(one.under.agreement.as_deref().map(|agreement| detail("agreement", agreement)));
    let mut entities = vec![patient, entity("4", "Domain Resource", "event", &one.event, of_event)];
    entities.extend(one.consents.iter().map(|consent| {
        let version = consent.version.as_deref().map(|version| detail("version", version));
        entity("4", "Domain Resource", "consent", &consent.record, version.into_iter().collect())
    }));
    entities.push(entity("16", "Data Repository", "route", &one.under.route, contract));
    entities
}

/// What somebody did. BALP has no pattern for it; DICOM's Application Activity holds them all, and
/// the subtype says which.
fn of_act(act: &Act, observer: &Json) -> Map<String, Json> {
    let detail: Vec<Json> =
        act.with.iter().map(|(key, value)| json!({ "type": key, "valueString": value })).collect();
    let mut entity = json!({
        "what": { "identifier": { "system": format!("{OURS}:act"), "value": act.act } },
        "type": { "system": ENTITY_TYPE, "code": "2", "display": "System Object" },
    });
    if !detail.is_empty()
        && let Some(entity) = entity.as_object_mut()
    {
        entity.insert("detail".to_owned(), Json::Array(detail));
    }
    into_map(json!({
        "type": { "system": DCM, "code": "110100", "display": "Application Activity" },
        "subtype": [{ "system": format!("{OURS}:act"), "code": act.act }],
        "action": "E",
        "outcome": "0",
        "agent": [{
            "who": { "identifier": { "system": format!("{OURS}:user"), "value": act.who }, "display": act.who },
            "requestor": true,
        }, {
            "type": { "coding": [{ "system": DCM, "code": "110150", "display": "Application" }] },
            "who": observer,
            "requestor": false,
        }],
        "entity": [entity],
    }))
}

fn into_map(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(record: &str) -> Json {
        audit_event(&serde_json::from_str(record).unwrap(), "gate-1", &"0c".repeat(16))
    }

    const RELEASE: &str = r#"{"number":7,"at":"2026-11-22T12:00:00.000001Z","says":{"decision":{"outcome":"release","reason":"permitted","route":"r","contract":"1.0.0","configuration":"sha256:00","purpose":"CLINTRCH","consumer":"crm","agreement":"BAA-1","destination":"rabbitmq:x","recipe":"sha256:01","message":9,"event":"ab-1.patient.admitted.pid1","type":"patient.admitted","subject":"0a","token":"t","consents":[{"record":"0c","version":"2"}],"epoch":4,"fields":{"visit.class":"kept"}}}}"#;

    /// What R4 says of every AuditEvent: elements that must be there, and how many.
    fn assert_r4(event: &Json) {
        assert_eq!(event["resourceType"], "AuditEvent");
        let id = event["id"].as_str().unwrap();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        assert!(id.len() <= 64 && id.bytes().all(plain), "{id}");
        for code in ["system", "code"] {
            assert!(event["type"][code].is_string());
            assert!(event["subtype"].as_array().unwrap().iter().all(|one| one[code].is_string()));
        }
        assert!(["C", "R", "U", "D", "E"].contains(&event["action"].as_str().unwrap()));
        assert!(event["recorded"].as_str().unwrap().ends_with('Z'));
        assert!(["0", "4", "8", "12"].contains(&event["outcome"].as_str().unwrap()));
        assert!(event["source"]["observer"]["identifier"]["value"].is_string());
        let agents = event["agent"].as_array().unwrap();
        assert!(!agents.is_empty() && agents.iter().all(|agent| agent["requestor"].is_boolean()));
        for entity in event["entity"].as_array().unwrap() {
            assert!(entity["what"]["identifier"]["value"].is_string());
            // sev-1: a query or a name, not both; we have neither.
            assert!(entity.get("name").is_none() && entity.get("query").is_none());
            for detail in entity["detail"].as_array().into_iter().flatten() {
                assert!(detail["type"].is_string() && detail["valueString"].is_string());
            }
        }
    }

    /// What BALP 1.1.4 says of a disclosure at its source, element by element.
    ///
    /// PROMISE-8
    #[test]
    fn a_release_is_a_privacy_disclosure_as_balp_wants_it() {
        let event = event(RELEASE);
        assert_r4(&event);
        assert_eq!(event["meta"]["profile"][0], PROFILE);
        assert_eq!(event["type"]["system"], DCM);
        assert_eq!(event["type"]["code"], "110106");
        let disclose = |one: &&Json| one["system"] == LIFECYCLE && one["code"] == "disclose";
        assert_eq!(event["subtype"].as_array().unwrap().iter().filter(disclose).count(), 1);
        assert_eq!((event["action"].as_str(), event["outcome"].as_str()), (Some("R"), Some("0")));
        assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], "CLINTRCH");
        let agents = event["agent"].as_array().unwrap();
        for code in ["110153", "110152"] {
            let of_type = |agent: &&Json| agent["type"]["coding"][0]["code"] == code;
            let found: Vec<&Json> = agents.iter().filter(of_type).collect();
            assert_eq!(found.len(), 1, "{code}");
            assert!(found[0]["who"].is_object() && found[0]["network"]["address"].is_string());
        }
        assert_eq!(agents[0]["who"], event["source"]["observer"], "val-audit-source");
        let entities = event["entity"].as_array().unwrap();
        assert!(entities.len() >= 2);
        let patients: Vec<&Json> =
            entities.iter().filter(|entity| entity["type"]["code"] == "1").collect();
        assert_eq!(patients.len(), 1);
        assert_eq!(patients[0]["role"]["code"], "1");
        assert_eq!(patients[0]["role"]["system"], ROLE);
        assert_eq!(patients[0]["what"]["identifier"]["value"], "t");
    }

    #[test]
    fn what_did_not_leave_is_a_failure_and_no_disclosure_and_an_act_is_an_activity() {
        let suppressed = RELEASE
            .replace(
                r#""outcome":"release","reason":"permitted""#,
                r#""outcome":"suppress","reason":"missing""#,
            )
            .replace(r#""token":"t","#, "");
        let suppressed = event(&suppressed);
        assert_r4(&suppressed);
        assert_eq!(
            (&suppressed["outcome"], &suppressed["outcomeDesc"]),
            (&json!("4"), &json!("missing"))
        );
        assert!(suppressed.get("meta").is_none());
        assert_eq!(suppressed["entity"][0]["what"]["identifier"]["value"], "0a");
        let act = event(
            r#"{"number":8,"at":"2026-11-22T12:00:00Z","says":{"act":{"act":"start","who":"tidegate","with":{"version":"0.1.0"}}}}"#,
        );
        assert_r4(&act);
        assert_eq!(act["type"]["code"], "110100");
    }
}
