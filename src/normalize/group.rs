//! Which segments belong together: one group for each event.
//!
//! Promises: every segment behind the first patient is in exactly one group or in the patient
//! part shared by the groups of that patient; groups keep the order of the message.
//! Knows nothing of: the fields.
//!
//! The grammar is that of ORU_R01 (chapter 7.3.1), read leniently: PATIENT_RESULT repeats, an
//! order group begins at ORC or at an OBR that follows none, and OBX that come before any OBR
//! are a group of their own. CON repeats behind TXA (MDM_T02, chapter 9.5), and stands anywhere in
//! what senders make of ADT.

use std::ops::Range;

use crate::parse::hl7::Message;
use crate::parse::hl7::name::{CON, MRG, OBR, OBX, ORC, PID};

use crate::event::Tree;

use super::mapping::Per;
use super::{Refusal, Spot};

/// Most events of one message. The largest report in the corpus has 21 order groups; each
/// event repeats the patient, so the bound is also one on memory.
pub const GROUPS_MAX: usize = 1_000;

/// Most consents of one message. Each looks through all of the message around it, and no form says
/// a hundred things.
pub const CONSENTS_MAX: usize = 100;

/// The segments of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Where it stands, such as `obr2`, `con1` or `pid1`: a part of the event's ID for good.
    pub place: String,
    /// Positions of its segments: the head of the message, the patient, the group itself.
    pub ranges: Vec<Range<usize>>,
    /// The segment that it is about, where the others of that name are not its own.
    pub about: Option<usize>,
}

impl Group {
    /// A tree with about the room that this group's values take.
    pub(super) fn tree(&self, message: &Message<'_>) -> Tree {
        if self.about.is_some() {
            // What is around it is not its own.
            return Tree::new();
        }
        let segments = self.ranges.iter().flat_map(Clone::clone);
        let fields: usize = segments
            .filter_map(|at| message.segment(at))
            .map(|segment| segment.field_count())
            .sum();
        Tree::with_capacity(fields, fields * 12)
    }
}

/// Divides a message.
///
/// # Errors
/// [`Refusal::TooManyGroups`], or [`Refusal::Missing`] where there is no group at all.
pub fn groups(message: &Message<'_>, per: Per) -> Result<Vec<Group>, Refusal> {
    match per {
        Per::Message => message_groups(message),
        Per::Obr => order_groups(message),
        Per::Con => consent_groups(message),
        Per::Pid => person_groups(message),
    }
}

/// All of the message; each patient with what follows where it names several, though its structure has
/// one: nobody is to be known by the identifiers of another.
fn message_groups(message: &Message<'_>) -> Result<Vec<Group>, Refusal> {
    if message.segments().filter(|it| it.packed_name() == PID).nth(1).is_none() {
        let all = 0..message.len();
        return Ok(vec![Group { place: "pid1".to_owned(), ranges: vec![all], about: None }]);
    }
    let patients = patient_groups(message);
    if patients.len() > GROUPS_MAX { Err(Refusal::TooManyGroups) } else { Ok(patients) }
}

/// Each patient with what follows; all of the message where it names none.
pub(super) fn patient_groups(message: &Message<'_>) -> Vec<Group> {
    let starts = || message.segments().filter(|it| it.packed_name() == PID).map(|it| it.index());
    let ends = starts().skip(1).chain(std::iter::once(message.len()));
    let head = 0..starts().next().unwrap_or(message.len());
    let mut patients: Vec<Group> = (1..)
        .zip(starts().zip(ends))
        .map(|(number, (start, end)): (usize, _)| Group {
            place: format!("pid{number}"),
            ranges: vec![head.clone(), start..end],
            about: None,
        })
        .collect();
    if patients.is_empty() {
        patients.push(Group { place: "pid1".to_owned(), ranges: vec![head], about: None });
    }
    patients
}

/// Each patient with what follows. Where several MRG follow one (ADT_A45), one group for each of
/// them, with what stands before the first.
fn person_groups(message: &Message<'_>) -> Result<Vec<Group>, Refusal> {
    let is_merge = |at: &usize| message.segment(*at).is_some_and(|it| it.packed_name() == MRG);
    let mut groups: Vec<Group> = Vec::new();
    let mut merges = 0;
    for patient in patient_groups(message) {
        let own = patient.ranges.last().cloned().unwrap_or_default();
        let starts: Vec<usize> = own.clone().filter(is_merge).collect();
        let ends = starts.iter().skip(1).copied().chain(std::iter::once(own.end));
        let first = starts.first().copied().unwrap_or(own.end);
        if groups.len() + starts.len().max(1) > GROUPS_MAX {
            return Err(Refusal::TooManyGroups);
        }
        for (nth, (start, end)) in starts.iter().copied().zip(ends).enumerate() {
            merges += 1;
            let place = if nth == 0 { patient.place.clone() } else { format!("mrg{merges}") };
            let mut ranges = patient.ranges.clone();
            ranges.pop();
            ranges.extend([own.start..first, start..end]);
            groups.push(Group { place, ranges, about: None });
        }
        if starts.is_empty() {
            groups.push(patient);
        }
    }
    Ok(groups)
}

/// Each CON with its patient: the last one before it, else the first.
fn consent_groups(message: &Message<'_>) -> Result<Vec<Group>, Refusal> {
    let mut patients = patient_groups(message).into_iter().peekable();
    let mut groups: Vec<Group> = Vec::new();
    let mut patient = patients.next();
    for segment in message.segments() {
        let at = segment.index();
        let is_next = |next: &Group| next.ranges.last().is_some_and(|range| range.start == at);
        if let Some(next) = patients.next_if(is_next) {
            patient = Some(next);
        }
        let Some(patient) = patient.as_ref().filter(|_| segment.packed_name() == CON) else {
            continue;
        };
        if groups.len() >= CONSENTS_MAX {
            return Err(Refusal::TooManyGroups);
        }
        groups.push(Group {
            place: format!("con{}", groups.len() + 1),
            ranges: patient.ranges.clone(),
            about: Some(at),
        });
    }
    if groups.is_empty() {
        return Err(Refusal::Missing { spot: Spot { segment: "CON".to_owned(), field: 0 } });
    }
    Ok(groups)
}

/// A group that is being read.
struct Open {
    start: usize,
    place: String,
    /// Only ORC came so far; an OBR joins it.
    head_only: bool,
}

/// Reads segments in order and closes a group when the next one begins.
struct Grouping {
    groups: Vec<Group>,
    /// What stands before the first patient.
    head: Option<Range<usize>>,
    /// The current patient's own segments.
    patient: Range<usize>,
    open: Option<Open>,
    patients: usize,
    orders: usize,
    order_heads: usize,
}

fn order_groups(message: &Message<'_>) -> Result<Vec<Group>, Refusal> {
    let mut grouping = Grouping {
        groups: Vec::new(),
        head: None,
        patient: 0..0,
        open: None,
        patients: 0,
        orders: 0,
        order_heads: 0,
    };
    for segment in message.segments() {
        grouping.take(segment.packed_name(), segment.index())?;
    }
    grouping.close(message.len())?;
    if grouping.groups.is_empty() {
        return Err(Refusal::Missing { spot: Spot { segment: "OBR".to_owned(), field: 0 } });
    }
    Ok(grouping.groups)
}

impl Grouping {
    fn take(&mut self, name: u32, at: usize) -> Result<(), Refusal> {
        let joins = self.open.as_ref().is_some_and(|open| open.head_only);
        match name {
            PID => {
                self.close(at)?;
                self.head.get_or_insert(0..at);
                self.patients += 1;
                self.patient = at..at + 1;
            }
            ORC if !joins => {
                self.order_heads += 1;
                self.begin(at, format!("orc{}", self.order_heads), true)?;
            }
            OBR => {
                self.orders += 1;
                let place = format!("obr{}", self.orders);
                match &mut self.open {
                    Some(open) if open.head_only => {
                        open.place = place;
                        open.head_only = false;
                    }
                    _ => self.begin(at, place, false)?,
                }
            }
            OBX => match &mut self.open {
                Some(open) => open.head_only = false,
                None => self.begin(at, format!("pid{}", self.patients.max(1)), false)?,
            },
            _ if self.open.is_none() && self.patients > 0 => self.patient.end = at + 1,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, at: usize, place: String, head_only: bool) -> Result<(), Refusal> {
        self.close(at)?;
        self.head.get_or_insert(0..at);
        self.open = Some(Open { start: at, place, head_only });
        Ok(())
    }

    /// Closes the open group before a position. ORC alone reports nothing.
    fn close(&mut self, end: usize) -> Result<(), Refusal> {
        let Some(open) = self.open.take().filter(|open| !open.head_only) else { return Ok(()) };
        if self.groups.len() >= GROUPS_MAX {
            return Err(Refusal::TooManyGroups);
        }
        let mut ranges: Vec<Range<usize>> = self.head.iter().cloned().collect();
        ranges.push(self.patient.clone());
        ranges.push(open.start..end);
        ranges.retain(|range| !range.is_empty());
        self.groups.push(Group { place: open.place, ranges, about: None });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::hl7::Charset;

    fn grouped(segments: &str) -> Vec<(String, String)> {
        grouped_per(Per::Obr, segments)
    }

    fn grouped_per(per: Per, segments: &str) -> Vec<(String, String)> {
        let text = format!("MSH|^~\\&|A|B|||2026||ORU^R01|1|P|2.5 {segments}").replace(' ', "\r");
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        let shown = |group: &Group| {
            let names: Vec<&str> = group
                .ranges
                .iter()
                .flat_map(Clone::clone)
                .filter_map(|index| message.segment(index))
                .map(|segment| segment.name())
                .collect();
            (group.place.clone(), names.join(" "))
        };
        groups(&message, per).unwrap().iter().map(shown).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(place, names)| ((*place).to_owned(), (*names).to_owned())).collect()
    }

    #[test]
    fn each_obr_is_a_group_with_its_orc_before_it() {
        assert_eq!(
            grouped("PID| PV1| ORC| OBR| OBX| NTE| OBX| OBR| OBX| ORC| OBR|"),
            pairs(&[
                ("obr1", "MSH PID PV1 ORC OBR OBX NTE OBX"),
                ("obr2", "MSH PID PV1 OBR OBX"),
                ("obr3", "MSH PID PV1 ORC OBR"),
            ])
        );
    }

    #[test]
    fn each_patient_has_groups_of_its_own() {
        assert_eq!(
            grouped("SFT| PID| OBR| OBX| PID| PD1| OBR| OBX|"),
            pairs(&[("obr1", "MSH SFT PID OBR OBX"), ("obr2", "MSH SFT PID PD1 OBR OBX")])
        );
    }

    #[test]
    fn observations_without_an_order_are_a_group() {
        assert_eq!(
            grouped("PID| OBX| OBX| ORC| ORC| OBR| OBX| ORC| OBX| ORC|"),
            pairs(&[
                ("pid1", "MSH PID OBX OBX"),
                ("obr1", "MSH PID ORC ORC OBR OBX"),
                ("orc2", "MSH PID ORC OBX"),
            ])
        );
        assert_eq!(grouped("OBR| OBX|"), pairs(&[("obr1", "MSH OBR OBX")]));
    }

    #[test]
    fn each_consent_is_a_group_of_the_patient_before_it() {
        assert_eq!(
            grouped_per(Per::Con, "PID| PV1| TXA| CON| CON| OBX|"),
            pairs(&[
                ("con1", "MSH PID PV1 TXA CON CON OBX"),
                ("con2", "MSH PID PV1 TXA CON CON OBX"),
            ])
        );
        assert_eq!(
            grouped_per(Per::Con, "CON| PID| PD1| CON| PID| CON|"),
            pairs(&[
                ("con1", "MSH CON PID PD1 CON"),
                ("con2", "MSH CON PID PD1 CON"),
                ("con3", "MSH CON PID CON"),
            ])
        );
        assert_eq!(grouped_per(Per::Con, "CON|"), pairs(&[("con1", "MSH CON")]));
    }

    #[test]
    fn each_patient_is_a_group_and_each_merge_of_one() {
        assert_eq!(
            grouped_per(Per::Pid, "EVN| PID| PD1| MRG| PV1| PID| MRG|"),
            pairs(&[("pid1", "MSH EVN PID PD1 MRG PV1"), ("pid2", "MSH EVN PID MRG")])
        );
        assert_eq!(
            grouped_per(Per::Pid, "PID| PD1| MRG| PV1| MRG| PV1| PID| MRG|"),
            pairs(&[
                ("pid1", "MSH PID PD1 MRG PV1"),
                ("mrg2", "MSH PID PD1 MRG PV1"),
                ("pid2", "MSH PID MRG"),
            ])
        );
        assert_eq!(
            grouped_per(Per::Pid, "PID| PV1| PID|"),
            pairs(&[("pid1", "MSH PID PV1"), ("pid2", "MSH PID")])
        );
    }

    #[test]
    fn a_message_of_several_patients_is_not_of_one() {
        assert_eq!(
            grouped_per(Per::Message, "EVN| PID| PV1| ZZZ|"),
            pairs(&[("pid1", "MSH EVN PID PV1 ZZZ")])
        );
        assert_eq!(grouped_per(Per::Message, "EVN|"), pairs(&[("pid1", "MSH EVN")]));
        assert_eq!(
            grouped_per(Per::Message, "EVN| PID| PV1| PID| PV1|"),
            pairs(&[("pid1", "MSH EVN PID PV1"), ("pid2", "MSH EVN PID PV1")])
        );
    }

    #[test]
    fn a_report_of_nothing_is_refused() {
        let message =
            Message::parse(b"MSH|^~\\&|||||||ORU^R01|1|P|2.5\rPID|1\rORC|RE", Charset::Utf8)
                .unwrap();
        let missing = Refusal::Missing { spot: Spot { segment: "OBR".to_owned(), field: 0 } };
        assert_eq!(groups(&message, Per::Obr), Err(missing));
    }

    /// PROMISE-11
    #[test]
    fn the_number_of_groups_is_bounded() {
        let text = format!("MSH|^~\\&|||||||ORU^R01|1|P|2.5{}", "\rOBR|".repeat(GROUPS_MAX + 1));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        assert_eq!(groups(&message, Per::Obr), Err(Refusal::TooManyGroups));
        let text = format!("MSH|^~\\&|||||||MDM^T02|1|P|2.5{}", "\rCON|".repeat(CONSENTS_MAX + 1));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        assert_eq!(groups(&message, Per::Con), Err(Refusal::TooManyGroups));
        for segment in ["\rPID|", "\rMRG|"] {
            let many = segment.repeat(GROUPS_MAX + 1);
            let text = format!("MSH|^~\\&|||||||ADT^A40|1|P|2.5\rPID|{many}");
            let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
            assert_eq!(groups(&message, Per::Pid), Err(Refusal::TooManyGroups));
        }
        let text = format!("MSH|^~\\&|||||||ADT^A08|1|P|2.5{}", "\rPID|".repeat(GROUPS_MAX + 1));
        let message = Message::parse(text.as_bytes(), Charset::Utf8).unwrap();
        assert_eq!(groups(&message, Per::Message), Err(Refusal::TooManyGroups));
    }
}
