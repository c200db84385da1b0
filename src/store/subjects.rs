//! What is filed of a subject of whom something was said: its records, and those of everybody who is
//! one person with it.
//!
//! Promises: who the others are is read as it was written, or nothing is; more subjects, acts or
//! records than are looked through close for all of them.
//! Knows nothing of: what a record means.

use super::StoreError;
use super::family::{ActRow, Family};
use super::ledger::{self, Brought, Filed};
use super::reader::Reader;
use super::seal::Part;
use crate::admit::Digest;
use crate::consent::persons::Joint;
use crate::consent::{Alias, Epoch, Persons, Record, closes_between};
use crate::event::{Act, Subject};
use crate::phi::Phi;

/// What is filed under a subject of whom something was said, up to a message, and the bytes of it.
pub(super) fn read_group(
    reader: &mut Reader,
    subject: &Digest,
    as_of: Epoch,
) -> Result<(Filed, usize), StoreError> {
    let subject = std::slice::from_ref(subject);
    let mut family = Family::read_as_of(&reader.connection, subject, as_of)?;
    let persons = family.persons();
    let names = names(reader, &mut family)?;
    let mut epoch = family.rows.iter().map(|row| row.number).max().unwrap_or(0);
    let mut bytes = family.rows.iter().map(|row| row.sealed.len()).sum();
    let survivor = names.get(persons.survivor(0)).cloned().flatten();
    let others = || names.iter().skip(1).flatten().cloned().collect();
    let mut filed = Vec::with_capacity(family.members().len());
    let mut left = ledger::RECORDS_MAX;
    for member in family.members() {
        let of_member = ledger::records_of(reader, &Digest(*member), left, as_of)?;
        // PROMISE-5: what is not looked through closes.
        let Some(of_member) = of_member.filter(|_| !family.is_too_large) else {
            return Ok((Filed::too_much(epoch).known_as(survivor, others()), bytes));
        };
        left -= of_member.len();
        epoch = of_member.iter().map(|found| found.number).fold(epoch, u64::max);
        bytes += of_member.iter().map(|found| found.bytes).sum::<usize>();
        filed.push(of_member.into_iter().map(|it| (it.number, it.record)).collect());
    }
    let (own, aliases) = divide(&persons, &filed);
    let survivor = survivor.filter(|_| persons.survivor(0) != 0);
    Ok((Filed::of(epoch, own, aliases).known_as(survivor, others()), bytes))
}

/// Who the members are, by the acts that say so.
fn names(reader: &mut Reader, family: &mut Family) -> Result<Vec<Option<Subject>>, StoreError> {
    let mut names = vec![None; family.members().len()];
    for row in std::mem::take(&mut family.rows) {
        let pair = open(reader, &row)?;
        for (digest, subject) in [row.subject, row.other].into_iter().zip(pair) {
            let at = family.add(digest);
            if let Some(name) = names.get_mut(at) {
                *name = Some(subject);
            }
        }
        family.rows.push(row);
    }
    Ok(names)
}

fn open(reader: &mut Reader, row: &ActRow) -> Result<[Subject; 2], StoreError> {
    let corrupt = || StoreError::Corrupt { what: format!("an act of message {}", row.number) };
    let brought = Brought { number: row.number, at: row.at, feed: &row.feed };
    let side = if row.is_from { "from" } else { "into" };
    let clear = brought.of_act(row.act.name(), side, row.nth);
    let opened = reader.open_sealed(&clear, Part::Act, &row.sealed)?;
    let (pair, json) = opened.split_first_chunk::<32>().ok_or_else(corrupt)?;
    if pair[..] != [row.subject, row.other].concat() {
        return Err(corrupt());
    }
    let names: [[String; 2]; 2] = serde_json::from_slice(json).map_err(|_| corrupt())?;
    Ok(names.map(|[authority, value]| Subject { authority, value: Phi::new(value) }))
}

/// Records with the numbers of their messages, as they came.
type Numbered = Vec<(u64, Record)>;

/// The records of the first member, and those of everybody who is or was one person with it.
fn divide(persons: &Persons, filed: &[Numbered]) -> (Vec<Record>, Vec<Alias>) {
    let ways = persons.ways(0);
    let is_own = |member: usize| ways.iter().any(|way| way.to == member);
    let filed_of = |member: usize| filed.get(member).cloned().unwrap_or_default();
    // What closed for a member while it was one with another before goes on to, though they are one
    // again: to be merged lifts nothing.
    let of = |member: usize| {
        let mut records = filed_of(member);
        for parted in persons.parted() {
            let other = match parted.pair {
                [one, other] | [other, one] if one == member && is_own(other) => other,
                _ => continue,
            };
            let closes = |record: &Record| closes_between(record, parted.from, parted.until);
            records.extend(filed_of(other).into_iter().filter(|(_, record)| closes(record)));
        }
        records
    };
    // Of each way, which alias it leads to; the subject itself where it is none.
    let mut leads: Vec<Option<usize>> = Vec::with_capacity(ways.len());
    let mut own: Numbered = Vec::new();
    let mut aliases: Vec<(Numbered, &Joint, Option<usize>)> = Vec::new();
    for way in &ways {
        let joint = way.by.and_then(|(before, at)| Some((before, persons.joints().get(at)?)));
        let Some((before, joint)) = joint else {
            own.extend(of(way.to));
            leads.push(None);
            continue;
        };
        let before = leads.get(before).copied().flatten();
        if is_the_same(joint, filed) {
            match before.and_then(|at| aliases.get_mut(at)) {
                Some((records, _, _)) => records.extend(of(way.to)),
                None => own.extend(of(way.to)),
            }
            leads.push(before);
        } else {
            leads.push(Some(aliases.len()));
            aliases.push((of(way.to), joint, before));
        }
    }
    let mut aliases: Vec<Alias> = aliases
        .into_iter()
        .map(|(records, joint, with)| Alias {
            records: in_order(records),
            merged_at: joint.said.at,
            unmerged_at: None,
            with,
        })
        .collect();
    let mut seen = Vec::new();
    for parted in persons.parted() {
        let other = match parted.pair {
            [one, other] if is_own(one) && !is_own(other) => other,
            [other, one] if is_own(one) && !is_own(other) => other,
            _ => continue,
        };
        let was_one = (other, parted.from, parted.until);
        if !seen.contains(&was_one) {
            seen.push(was_one);
            aliases.push(Alias {
                records: in_order(filed_of(other)),
                merged_at: parted.from,
                unmerged_at: Some(parted.until),
                with: None,
            });
        }
    }
    (in_order(own), aliases)
}

/// Whether two share one state from the first: one is a new identifier of the other, and on one of
/// the two sides nobody had decided anything. Else the identifier was somebody's before, and what
/// two decided who were not known to be one is not mixed.
// PROMISE-5
fn is_the_same(joint: &Joint, filed: &[Numbered]) -> bool {
    let is_fresh = |side: &Vec<usize>| {
        let mut records = side.iter().filter_map(|member| filed.get(*member)).flatten();
        records.all(|(number, _)| *number >= joint.said.number)
    };
    joint.said.act == Act::Rekey && joint.sides.iter().any(is_fresh)
}

fn in_order(mut records: Numbered) -> Vec<Record> {
    records.sort_by_key(|(number, _)| *number);
    records.into_iter().map(|(_, record)| record).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admit::entry::{Acted, Given};
    use crate::consent::{Code, Missing, Naming, Policy, Question, Requirement, Unclear, ask};
    use crate::event::EventId;
    use crate::store::acts::{plan, write};
    use crate::store::family::{ACTS_MAX, MEMBERS_MAX, time};
    use crate::store::harness::{Harness, subject};

    #[derive(Default)]
    struct Store(Harness);

    /// Messages come a second after each other.
    fn at(number: u64) -> i64 {
        number.cast_signed() * 1_000
    }

    /// A permit or a deny for everything, decided when its message came.
    fn record(decision: &str, id: &str, number: u64) -> Record {
        let micros = at(number) * 1_000;
        let status = if decision == "deny" { "revoked" } else { "active" };
        let json = format!(
            r#"{{"key":{{"source":"adt","id":"{id}"}},
                 "decidedAt":["2026",{micros},{micros}],"recordedAt":{micros},
                 "origin":{{"feed":"adt","message":"m"}},
                 "says":{{"consent":{{"kind":"permission","decision":"{decision}",
                     "status":"{status}","purposes":"every",
                     "signer":{{"consenter":"absent","capacity":"unstated"}}}}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    impl Store {
        /// A message that says something of subjects; how many rows it gave.
        fn say(&mut self, said: &[(Act, &str, &str)]) -> Result<usize, Unclear> {
            let acted = |(act, from, into): &(Act, &str, &str)| Acted {
                act: *act,
                from: subject(from),
                into: subject(into),
            };
            let acts: Vec<Acted> = said.iter().map(acted).collect();
            let number = self.0.next();
            let Harness { connection, digests, sealer, .. } = &mut self.0;
            let plan = plan(connection, digests, &acts, number, at(number)).unwrap()?;
            let brought = Brought { number, at: at(number), feed: "adt" };
            write(connection, sealer, brought, &plan).unwrap();
            Ok(2 * plan.rows.len())
        }

        /// A message in which a subject decides.
        fn decide(&mut self, value: &str, decision: &str) {
            let number = self.0.next();
            let record = record(decision, &format!("k{number}"), number);
            let given = [Given { subject: subject(value), record }];
            let brought = Brought { number, at: at(number), feed: "adt" };
            self.0.file(brought, &given);
        }

        fn read(&self, value: &str) -> Result<Filed, StoreError> {
            let digest = self.0.digests.subject(&subject(value));
            ledger::read_from(&mut self.0.reader.lock().unwrap(), &digest).map(|(filed, _)| filed)
        }

        /// The answer to an opt-in.
        fn ask(&self, value: &str) -> Result<(), Code> {
            let filed = self.read(value).unwrap();
            let event = EventId("e".into());
            let opt_in =
                Requirement::OptIn { missing: Missing::Suppress, grantee: Naming::Anybody };
            let question = Question::new(&event, "r", "CLINTRCH", "c", &opt_in);
            let now = time(at(1_000_000));
            match ask(&question, &filed.ledger(), &Policy::default(), now) {
                Ok(_) => Ok(()),
                Err(refusal) => Err(refusal.code()),
            }
        }

        fn survivor(&self, value: &str) -> Option<String> {
            let filed = self.read(value).unwrap();
            filed.survivor().map(|subject| subject.value.expose().clone())
        }
    }

    use Act::{Link, Merge, Rekey, Unlink};

    /// PROMISE-5
    #[test]
    fn of_two_that_were_merged_the_more_restrictive_state_holds_until_one_decides_anew() {
        let mut store = Store::default();
        store.decide("a", "permit");
        store.decide("b", "deny");
        assert_eq!((store.ask("a"), store.ask("b")), (Ok(()), Err(Code::Revoked)));
        assert_eq!(store.say(&[(Merge, "b", "a")]), Ok(2));
        assert_eq!((store.ask("a"), store.ask("b")), (Err(Code::Revoked), Err(Code::Revoked)));
        assert_eq!((store.survivor("a"), store.survivor("b")), (None, Some("a".to_owned())));
        for (one, other) in [("a", "b"), ("b", "a")] {
            assert_eq!(store.read(one).unwrap().others(), [subject(other)]);
        }
        store.decide("b", "permit");
        assert_eq!((store.ask("a"), store.ask("b")), (Ok(()), Ok(())));
        assert_eq!(store.read("a").unwrap().ledger().epoch, Epoch(4), "the highest of both");
        store.say(&[(Merge, "c", "b")]).unwrap();
        assert_eq!(store.ask("a"), Err(Code::Missing), "who decided nothing permitted nothing");
        assert_eq!(store.read("a").unwrap().ledger().epoch, Epoch(5));
        assert_eq!(store.survivor("c"), Some("a".to_owned()));
    }

    /// PROMISE-5
    #[test]
    fn an_unmerge_restores_both_but_for_what_was_closed_in_between() {
        let mut store = Store::default();
        store.decide("a", "permit");
        store.decide("b", "deny");
        store.say(&[(Merge, "b", "a")]).unwrap();
        assert_eq!(store.say(&[(Unlink, "a", "b")]), Ok(2));
        assert_eq!((store.ask("a"), store.ask("b")), (Ok(()), Err(Code::Revoked)));
        assert_eq!((store.survivor("a"), store.survivor("b")), (None, None));
        assert_eq!(store.read("a").unwrap().others().len(), 1, "still fenced together");
        let mut store = Store::default();
        store.decide("a", "permit");
        store.decide("b", "permit");
        store.say(&[(Merge, "b", "a")]).unwrap();
        store.decide("b", "deny");
        store.say(&[(Unlink, "b", "a")]).unwrap();
        assert_eq!((store.ask("a"), store.ask("b")), (Err(Code::Revoked), Err(Code::Revoked)));
    }

    #[test]
    fn a_circle_is_refused_whole_and_nothing_is_written_twice() {
        let mut store = Store::default();
        assert_eq!(store.say(&[(Merge, "a", "b"), (Merge, "b", "c")]), Ok(4));
        assert_eq!(store.say(&[(Merge, "x", "y"), (Merge, "c", "a")]), Err(Unclear::Circle));
        assert_eq!(store.say(&[(Merge, "u", "v"), (Merge, "v", "u")]), Err(Unclear::Circle));
        assert_eq!(store.survivor("x"), None);
        assert_eq!(store.say(&[(Merge, "a", "c")]), Ok(0));
        assert_eq!(store.say(&[(Unlink, "a", "c")]), Err(Unclear::ByOthers));
        assert_eq!(store.say(&[(Link, "p", "q")]), Ok(2));
        assert_eq!(store.say(&[(Link, "p", "q")]), Ok(0));
        assert_eq!((store.survivor("p"), store.read("p").unwrap().others().len()), (None, 0));
        assert_eq!(store.say(&[(Unlink, "q", "p")]), Ok(2));
        assert_eq!(store.say(&[(Unlink, "q", "p")]), Ok(0));
        assert_eq!(store.say(&[(Link, "p", "q")]), Ok(2), "again");
        assert_eq!(store.say(&[(Act::Move, "p", "q")]), Ok(0));
    }

    #[test]
    fn a_new_identifier_has_the_records_of_the_old_one_at_once() {
        let mut store = Store::default();
        store.decide("old", "permit");
        store.say(&[(Rekey, "old", "new")]).unwrap();
        assert_eq!((store.ask("old"), store.ask("new")), (Ok(()), Ok(())));
        assert_eq!(store.survivor("old"), Some("new".to_owned()));
        store.decide("new", "deny");
        assert_eq!((store.ask("old"), store.ask("new")), (Err(Code::Revoked), Err(Code::Revoked)));
        store.say(&[(Rekey, "new", "old")]).unwrap();
        assert_eq!(store.survivor("new"), Some("old".to_owned()), "changed back");
        assert_eq!(store.ask("old"), Err(Code::Revoked));
    }

    /// PROMISE-5: who had the identifier before may have been somebody else.
    #[test]
    fn a_new_identifier_that_had_records_is_read_as_a_merge() {
        for first in ["deny", "permit"] {
            let mut store = Store::default();
            store.decide("new", first);
            store.decide("old", if first == "deny" { "permit" } else { "deny" });
            store.say(&[(Rekey, "old", "new")]).unwrap();
            assert_eq!(
                (store.ask("old"), store.ask("new")),
                (Err(Code::Revoked), Err(Code::Revoked))
            );
        }
        // Somebody else is merged with the new one already.
        let mut store = Store::default();
        store.decide("x", "deny");
        store.say(&[(Merge, "x", "new")]).unwrap();
        store.decide("old", "permit");
        store.say(&[(Rekey, "old", "new")]).unwrap();
        assert_eq!(store.ask("new"), Err(Code::Revoked), "the permit was before they were one");
    }

    /// PROMISE-5
    #[test]
    fn more_subjects_or_acts_than_may_be_one_person_close_everything() {
        let mut store = Store::default();
        store.decide("0", "permit");
        for number in 1..=MEMBERS_MAX {
            store.say(&[(Merge, &number.to_string(), "0")]).unwrap();
        }
        for value in ["0", "1", "64"] {
            assert_eq!(store.ask(value), Err(Code::Closed), "{value}");
        }
        assert_eq!(store.read("0").unwrap().others().len(), MEMBERS_MAX, "and all are known");
        let mut store = Store::default();
        for _ in 0..=ACTS_MAX / 2 {
            store.say(&[(Merge, "a", "b")]).unwrap();
            store.say(&[(Unlink, "a", "b")]).unwrap();
        }
        assert_eq!(store.ask("b"), Err(Code::Closed));
        let mut store = Store::default();
        store.say(&[(Merge, "a", "b")]).unwrap();
        for _ in 0..ledger::RECORDS_MAX / 2 {
            store.decide("a", "permit");
            store.decide("b", "permit");
        }
        assert_eq!(store.ask("a"), Ok(()));
        store.decide("a", "permit");
        assert_eq!((store.ask("a"), store.ask("b")), (Err(Code::Closed), Err(Code::Closed)));
    }

    /// PROMISE-5
    #[test]
    fn an_act_that_was_changed_is_an_error_and_never_an_answer() {
        for change in [
            "act = 'unlink'",
            "at = at + 1",
            "number = number + 5",
            "feed = 'lab'",
            "other = zeroblob(16)",
            "side = CASE side WHEN 'from' THEN 'into' ELSE 'from' END",
            "sealed = zeroblob(90)",
        ] {
            let mut store = Store::default();
            store.say(&[(Merge, "a", "b")]).unwrap();
            let change = format!("UPDATE acts SET {change}");
            for forbidden in [&change, "DELETE FROM acts"] {
                assert!(store.0.connection.execute(forbidden, []).is_err(), "{forbidden}");
            }
            store.0.connection.execute_batch("DROP TRIGGER acts_are_not_changed").unwrap();
            store.0.connection.execute(&change, []).unwrap();
            assert!(store.read("b").is_err() || store.read("a").is_err(), "{change}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Decide(usize, bool),
        Say(usize, usize, usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4_usize, any::<bool>()).prop_map(|(who, permits)| Step::Decide(who, permits)),
            (0..3_usize, 0..4_usize, 0..4_usize)
                .prop_map(|(act, from, into)| Step::Say(act, from, into)),
        ];
        proptest::collection::vec(step, 0..12)
    }

    const WHO: [&str; 4] = ["a", "b", "c", "d"];

    fn run(store: &mut Store, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Decide(who, permits) => {
                    store.decide(WHO[*who], if *permits { "permit" } else { "deny" });
                }
                Step::Say(act, from, into) => {
                    let act = [Merge, Rekey, Unlink][*act];
                    store.say(&[(act, WHO[*from], WHO[*into])]).ok();
                }
            }
        }
    }

    /// PROMISE-5
    #[test]
    fn what_closed_while_two_were_one_closes_when_they_are_one_again() {
        let mut store = Store::default();
        let steps = [
            Step::Say(0, 1, 2),
            Step::Decide(1, true),
            Step::Say(0, 3, 2),
            Step::Decide(3, false),
            Step::Decide(3, true),
            Step::Say(2, 1, 2),
        ];
        run(&mut store, &steps);
        assert!(store.ask("b").is_err());
        assert_eq!(store.say(&[(Merge, "c", "b")]), Ok(2));
        assert!(store.ask("b").is_err() && store.ask("c").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// PROMISE-5: all who are one person have one answer, whoever is asked for; it is a yes only
        /// where each was permitted, or somebody permitted when they were one.
        #[test]
        fn all_who_are_one_have_one_answer(steps in steps()) {
            let mut store = Store::default();
            run(&mut store, &steps);
            for value in WHO {
                let goes_by = store.survivor(value).unwrap_or_else(|| value.to_owned());
                prop_assert_eq!(store.survivor(&goes_by), None);
                prop_assert_eq!(store.ask(value).is_ok(), store.ask(&goes_by).is_ok(), "{}", value);
            }
        }

        /// PROMISE-5: a merge never opens, and an unmerge restores what was.
        #[test]
        fn a_merge_never_opens_and_an_unmerge_restores(
            steps in steps(), from in 0..4_usize, into in 0..4_usize
        ) {
            let mut store = Store::default();
            run(&mut store, &steps);
            let answers = |store: &Store| WHO.map(|value| store.ask(value).is_ok());
            let before = answers(&store);
            if store.say(&[(Merge, WHO[from], WHO[into])]) == Ok(2) {
                let merged = answers(&store);
                for (was, is) in before.into_iter().zip(merged) {
                    prop_assert!(was || !is);
                }
                store.say(&[(Unlink, WHO[from], WHO[into])]).unwrap();
                prop_assert_eq!(before, answers(&store));
            }
        }
    }
}
